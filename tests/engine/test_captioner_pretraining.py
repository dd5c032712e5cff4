"""Training of the embedded captioner: sets of cells and what they show by hand, batches, and the same seed twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from zsseg_d2.auto_vocabulary.mini_captioner import END, PAD, START, CaptionDecoder, load_decoder, packaged_clip
from zsseg_d2.cli.pretrain_mini_captioner import main
from zsseg_d2.data.synthetic import SceneObject
from zsseg_d2.data.synthetic.palette import COLOUR_NAMES
from zsseg_d2.data.synthetic.set_captions import caption_words
from zsseg_d2.engine.training.captioner_pretraining import View, draw_batch, draw_set, parts_of

NAMES = {"pole": ("pole",), "building": ("building",), "car": ("car", "cars")}


def thing(kind: str) -> SceneObject:
    return SceneObject(1, kind, None, "medium", (0, 0, 1, 1), 200, kind == "car", False, 5.0)


@pytest.fixture
def view() -> View:
    """A building of 4 x 8 cells; a pole over its third column; two cars of 4 cells each below it."""
    inside = torch.zeros(4, 8, 8, dtype=torch.bool)
    inside[0, :4], inside[1, :4, 2] = True, True
    inside[2, 6:, :2], inside[3, 6:, 4:6] = True, True
    cells = torch.arange(64.0).view(8, 8, 1).expand(8, 8, 16).half()
    labels = torch.arange(8)[:, None].expand(8, 8) // 4
    return View(cells, inside, [thing(k) for k in ("building", "pole", "car", "car")], [labels])


def shares(view: View, inside: torch.Tensor) -> list[tuple[str, float]]:
    return [(part.thing.kind, round(part.share, 6)) for part in parts_of(view, inside)]


def test_what_a_set_shows_by_hand(view):
    # The pole's own cells are the building's too, but the set has all of the pole and an eighth of the building.
    assert shares(view, view.inside[1]) == [("building", round(1 + 0.3 * 4 / 32, 6)), ("pole", 1.3)]
    assert shares(view, view.inside[0]) == [("building", 1.3), ("pole", round(4 / 32 + 0.3, 6))]
    # Both cars are one kind: it has 6 of the 6 cells, and 6 of its 8 cells are there, 4 of one car and 2 of the other.
    part = view.inside[2] | (view.inside[3] & (torch.arange(8)[:, None] == 6))
    total = 1 + 0.3 * 6 / 8
    assert shares(view, part) == [("car", round(total * 4 / 6, 6)), ("car", round(total * 2 / 6, 6))]
    empty = torch.zeros(8, 8, dtype=torch.bool)
    empty[5, 5] = True
    assert shares(view, empty) == []


def test_sets_of_every_form(view):
    rng = np.random.default_rng(0)
    drawn = [draw_set(view, rng) for _ in range(400)]
    assert all(s.dtype == torch.bool and s.shape == (8, 8) and bool(s.any()) for s in drawn)
    seen = {tuple(s.flatten().tolist()) for s in drawn}
    for expected in (*view.inside, view.inside[2] | view.inside[3], view.clusterings[0] == 0, view.clusterings[0] == 1):
        assert tuple(expected.flatten().tolist()) in seen


def test_batches(view):
    words = (START, END, PAD, *caption_words(NAMES, ["car"], COLOUR_NAMES))
    decoder = CaptionDecoder(words, 16, width=16, layers=1)
    cells, padding, tokens = draw_batch([view], decoder, NAMES, 40, 0.25, np.random.default_rng(0))
    assert cells.shape == (40, padding.shape[1], 16) and padding.shape[1] <= 32 and len(tokens) == 40
    assert not padding.all(1).any() and (cells[padding] == 0).all()
    assert (tokens[:, 0] == 0).all() and ((tokens == 1).sum(1) == 1).all()
    for row, text in zip(padding, tokens):
        assert row.tolist() == sorted(row.tolist())  # padding last
        said = " ".join(words[t] for t in text)
        assert any(name in said for name in NAMES)
    # Cells of the view keep their embeddings, whatever their order.
    assert set(cells[~padding][:, 0].tolist()) <= set(range(64))


def test_the_same_seed_gives_the_same_file(tmp_path):
    """The whole program, small: it learns, and its bytes do not depend on the number of processes."""
    files = []
    for workers in ("1", "2"):
        path = tmp_path / workers / "captioner.safetensors"
        sizes = ("--scenes", "2", "--views", "3", "--steps", "4", "--batch", "8", "--num-workers", workers)
        assert not main(["--output", str(path), *sizes])
        files.append(path.read_bytes())
    assert files[0] == files[1]
    decoder = load_decoder(path)
    assert decoder.cell_width == packaged_clip().width and "car" in decoder.words
    assert not torch.equal(decoder.cell_std, torch.ones(decoder.cell_width))


def test_views_of_other_objects_change_captions(view):
    """Breaking the link between cells and objects would go unnoticed if captions did not follow the objects."""
    words = (START, END, PAD, *caption_words(NAMES, ["car"], COLOUR_NAMES))
    decoder = CaptionDecoder(words, 16, width=16, layers=1)
    only_cars = replace(view, inside=view.inside[2:], objects=view.objects[2:])
    _, _, tokens = draw_batch([only_cars], decoder, NAMES, 30, 0.25, np.random.default_rng(0))
    said = {words[t] for row in tokens.tolist() for t in row}
    assert said & {"car", "cars"} and not said & {"pole", "building"}
