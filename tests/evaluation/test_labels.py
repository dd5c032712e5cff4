"""Labels of any script have letters, not boxes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from zsseg_d2.evaluation import labels
from zsseg_d2.evaluation.labels import label
from zsseg_d2.evaluation.referring.phrase_visualization import panel

BOX = "\U000f0000"  # no font has it


def drawn(text: str, font) -> bytes:
    image = Image.new("L", (60, 40))
    ImageDraw.Draw(image).text((5, 5), text, 255, font)
    return image.tobytes()


@pytest.mark.parametrize("text", ["éèçäöüß", "ñáłż", "дорога", "αβγ", "سيا", "a ≥ 1 · ½ –"])
def test_letters_are_shown(text):
    shown, font = label(text, 24)
    assert shown == text
    assert all(drawn(c, font) not in (drawn(BOX, font), drawn(" ", font)) for c in text if c != " ")


def test_scripts_without_a_font_are_escaped(monkeypatch):
    monkeypatch.setattr(labels, "_installed_fonts", lambda: iter(()))
    assert label("汽车 car é", 20).text == r"\u6c7d\u8f66 car é"
    whole = np.asarray(panel(np.zeros((40, 60, 3), np.uint8), "汽车" * 20, 120))
    assert whole.shape[1] == 120 and whole.shape[0] > 80 + 3 * 11, "long words are wrapped"


def test_an_installed_font_with_all_letters_is_taken(monkeypatch, tmp_path):
    have = {"/fonts/a.ttf": frozenset(map(ord, "汽")), "/fonts/b.ttf": frozenset(map(ord, "汽车 car"))}
    real = labels._letters
    monkeypatch.setattr(labels, "_letters", lambda path: have.get(path) or real(path))
    monkeypatch.setattr(labels, "_installed_fonts", lambda: iter(have))
    monkeypatch.setattr(labels.ImageFont, "truetype", lambda path, size: (path, size))
    assert label("汽车 car", 20) == ("汽车 car", ("/fonts/b.ttf", 20))
    assert label("car", 20).font[0].endswith("DejaVuSans.ttf")
    monkeypatch.undo()
    (tmp_path / "a.ttf").write_bytes(b"no font")
    assert labels._letters(str(tmp_path / "a.ttf")) == frozenset()
