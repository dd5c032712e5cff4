"""Parts of the page without its web server: views, tabs, storage, and the arguments of the program."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.auto_vocabulary.fake import BLUE, GREEN, RED
from tests.engine.test_auto_words import QUICK, array
from zsseg_d2.cli.page import parse_arguments
from zsseg_d2.engine import ConfigError
from zsseg_d2.engine.config.packaged import config_root
from zsseg_d2.engine.prediction.embedded import DRAWN_STREETS
from zsseg_d2.engine.prediction.phrase_segmentation import PhrasePrediction, segmentor_config
from zsseg_d2.engine.prediction.predictor import Predictor
from zsseg_d2.page import program
from zsseg_d2.page.found import LARGEST_VIEW, map_for_view, view_size
from zsseg_d2.page.phrase_tab import shown
from zsseg_d2.page.storage import Storage
from zsseg_d2.page.view import coded, view_html
from zsseg_d2.page.words_tab import WordsTab

STREET = Path(__file__).resolve().parents[2] / "docs" / "street.png"


@given(st.integers(1, 50_000), st.integers(1, 50_000))
def test_a_view_keeps_the_shape_within_a_pixel(height, width):
    small = view_size(height, width)
    assert min(small) >= 1 and max(small) <= LARGEST_VIEW
    scale = min(1.0, LARGEST_VIEW / max(height, width))
    assert abs(small[0] - height * scale) <= 1 and abs(small[1] - width * scale) <= 1


@given(st.integers(1, 3000), st.integers(1, 40))
def test_a_map_is_picked_at_the_middle_of_each_pixel(height, width):
    values = np.arange(height * width).reshape(height, width)
    found = map_for_view(values)
    rows, columns = found.shape
    for r in {0, rows // 2, rows - 1}:
        for c in {0, columns - 1}:
            assert found[r, c] == values[int((r + 0.5) * height / rows), int((c + 0.5) * width / columns)]


def test_codes_are_bytes_of_a_pixel():
    codes = np.array([[0, 1, 255], [256, 65536, 2**24 - 1]], np.int32)
    assert coded(codes).tolist() == [[[0, 0, 0], [1, 0, 0], [255, 0, 0]], [[0, 1, 0], [0, 0, 1], [255, 255, 255]]]


def test_overlapping_phrases_share_pixels():
    masks = [np.zeros((4, 4), bool) for _ in range(3)]
    masks[0][:2], masks[1][:, :2] = True, True
    found = shown(
        "a", np.zeros((4, 4, 3), np.uint8), [PhrasePrediction(f"p{k}", m * 0.9, m) for k, m in enumerate(masks)]
    )
    assert found.codes.tolist() == [[3, 3, 1, 1]] * 2 + [[2, 2, 0, 0]] * 2
    for mark, mask in zip(found.marks, masks):
        assert np.array_equal((found.codes & mark.bits) == mark.code, mask)
    assert view_html(found).count("<button") == 3 and "not found" in view_html(found)
    areas = [(p["phrase"], p["area"]) for p in found.content["phrases"]]
    assert areas == [("p0", 8), ("p1", 8), ("p2", 0)]


@pytest.fixture(scope="module")
def predictor():
    return Predictor(options=["MODEL.DEVICE", "cpu", "ZSSEG.TEXT_CACHE", ""])


def test_words_are_of_a_request_and_the_model_is_shared(predictor):
    own = predictor.words
    other = predictor.with_words("road, sky|heaven")
    assert other.words == ("road", "sky") and other.model is predictor.model and predictor.words == own
    assert np.array_equal(other.with_words(None)(STREET).panoptic, predictor(STREET).panoptic)


def test_words_of_strangers_name_no_file(predictor, tmp_path):
    (tmp_path / "words.txt").write_text("a secret\n")
    name = str(tmp_path / "words.txt")
    assert predictor.with_words(name).words == ("a secret",)
    assert predictor.with_words(name, files=False).words == (name,)
    tab = WordsTab(predictor, "")
    labels = {mark.label for mark in tab.find(STREET, f"sky\n{name}\nroad").marks}
    assert labels <= {"sky", "road", name} and "road" in labels
    with pytest.raises(ConfigError, match="at most 2,000"):
        tab.find(STREET, ",".join(f"w{k}" for k in range(2001)))


def test_words_may_be_those_of_the_image(tmp_path):
    Image.fromarray(array(RED, GREEN, BLUE)).save(tmp_path / "stripes.png")
    predictor = Predictor(options=QUICK)
    tab = WordsTab(predictor, "")
    labels = {mark.label for mark in tab.find(tmp_path / "stripes.png", "auto, cone").marks}
    assert labels <= {"car", "sky", "tree", "road", "cone"} and not predictor.auto
    finder = predictor._finder
    tab.find(tmp_path / "stripes.png", "auto")
    assert finder is not None and predictor._finder is finder, "the captioner is read once"


def test_a_storage_holds_its_own_files_alone(tmp_path):
    (tmp_path / "files").mkdir()
    storage = Storage(tmp_path / "files", limit=10)
    (tmp_path / "secret").write_text("x")
    inside = storage.new_file("a.png")
    inside.write_bytes(b"123456")
    (storage.root / "link").symlink_to(tmp_path / "secret")
    assert storage.holds(inside)
    for other in (tmp_path / "secret", storage.root / "link", storage.root / ".." / "secret", storage.root, "", "\0"):
        assert not storage.holds(other)
    os.utime(inside, (1, 1))
    newer = storage.new_file("b.png")
    newer.write_bytes(b"1234")
    storage.make_room(0)
    assert inside.exists() and newer.exists()
    storage.make_room(1)
    assert not inside.exists() and newer.exists() and (tmp_path / "secret").exists()


def test_folders_of_killed_pages_are_removed(tmp_path):
    code = (
        "import sys, time\nfrom zsseg_d2.folder_lock import writing\n"
        "with writing(sys.argv[1], 'the page'):\n    print('locked', flush=True)\n    time.sleep(600)\n"
    )
    old, running, young = (tmp_path / f"zsseg_d2_page_{name}" for name in ("old", "running", "young"))
    for folder in (old, running, young):
        (folder / "files").mkdir(parents=True)
    words = [sys.executable, "-c", code, str(running)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "locked\n"
            for folder, age in ((old, 3600), (running, 3600), (young, 0)):
                os.utime(folder, (time.time() - age,) * 2)
            program.remove_orphans(tmp_path)
            assert not old.exists() and running.exists() and young.exists()
        finally:
            process.kill()


def arguments(*words: str) -> argparse.Namespace:
    return parse_arguments([*words, "--device", "cpu"], "page")


def test_a_config_belongs_to_the_tab_of_its_model(monkeypatch):
    built = []
    for name in ("words", "auto", "phrase"):
        monkeypatch.setitem(program._TABS, name, lambda given, options, name=name: built.append((name, given, options)))
    cpu = ["MODEL.DEVICE", "cpu"]
    program.build_tabs(arguments())
    assert [name for name, *_ in built] == ["words", "auto", "phrase"]
    built.clear()
    program.build_tabs(arguments("--config-file=miniphrases/unet_vit.yaml"))
    assert built == [("words", [], cpu), ("auto", [], cpu), ("phrase", ["miniphrases/unet_vit.yaml"], cpu)]
    with pytest.raises(ConfigError, match=r"--tab words: .* Fix: add --tab phrase"):
        program.build_tabs(arguments("--tab", "words", "--config-file=miniphrases/unet_vit.yaml"))


def test_the_embedded_models_name_files_and_commands_for_photographs(monkeypatch):
    monkeypatch.setattr("zsseg_d2.engine.prediction.predictor._model", lambda cfg: None)
    monkeypatch.setattr(program.phrase_segmentation, "build_segmentor", lambda cfg: None)
    program._predictor.cache_clear()
    words, phrase = program.build_tabs(arguments("--tab", "words", "--tab", "phrase"))
    program._predictor.cache_clear()  # it has no model
    assert words.about == DRAWN_STREETS and "fcclip_cocopan.pth ('Model Zoo' of https://" in words.about
    assert "model.safetensors of https://" in phrase.about
    for about, weights in ((words.about, "weights/fcclip_cocopan.pth"), (phrase.about, "model.safetensors")):
        command = shlex.split(about[about.index("--config-file") :].split(" (docs")[0])
        args = parse_arguments(command, "page")
        assert weights == segmentor_config(args.config_file, [*args.opts, "MODEL.DEVICE", "cpu"]).MODEL.WEIGHTS


def test_the_tab_of_words_has_the_model_of_any_config(predictor, tmp_path):
    state = predictor.model.state_dict()
    state["void_embedding.weight"] = -state["void_embedding.weight"]
    torch.save({"model": state}, tmp_path / "other.pth")
    config = tmp_path / "other.yaml"
    config.write_text(
        f"_BASE_: {config_root() / 'minicity/zero_shot.yaml'}\nINPUT: {{MIN_SIZE_TEST: 96}}\n"
        f"MODEL: {{WEIGHTS: {tmp_path / 'other.pth'}}}\nZSSEG: {{TEXT_CACHE: ''}}\n"
    )
    (tab,) = program.build_tabs(arguments("--tab", "words", "--config-file", str(config)))
    found, expected = tab.find(STREET, ""), Predictor(config, device="cpu")(STREET)
    assert [(m.label, m.score) for m in found.marks] == [(s.label, s.score) for s in expected.segments]
    assert len(found.marks) > 2 and np.array_equal(found.codes, map_for_view(expected.panoptic))
    assert not np.array_equal(expected.panoptic, predictor(STREET).panoptic), "another model"
    for change in (["MODEL.WEIGHTS", predictor.cfg.MODEL.WEIGHTS], ["INPUT.MIN_SIZE_TEST", "128"]):
        other = Predictor(config, options=change, device="cpu")(STREET)
        assert not np.array_equal(other.panoptic, expected.panoptic), "both the weights and the keys count"
    assert tab.about == "Model: FCCLIP with the weights `other.pth`."


def test_a_missing_gradio_is_told(monkeypatch):
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=re.escape("Fix: pip install 'zsseg_d2[page]'")):
        program.run_page(arguments())


@pytest.mark.parametrize(
    "words", [("--port", "0"), ("--port", "65536"), ("--max-upload", "0"), ("--max-upload", "inf")]
)
def test_wrong_arguments_are_told(words, capsys):
    with pytest.raises(SystemExit):
        arguments(*words)
    assert "is not" in capsys.readouterr().err
