"""The tab without words: what it finds, what a visitor adds, and a page that has no captioner."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from tests.auto_vocabulary.fake import BLUE, GRAY, GREEN, RED
from tests.engine.test_auto_words import QUICK, array
from zsseg_d2.cli.page import parse_arguments
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.engine.prediction.predictor import Predictor
from zsseg_d2.page import program
from zsseg_d2.page.auto_tab import AutoTab


@pytest.fixture(scope="module")
def tab():
    return AutoTab(Predictor(words="auto", options=QUICK), "about")


@pytest.fixture
def image(tmp_path):
    Image.fromarray(array(RED, GREEN, BLUE)).save(tmp_path / "stripes.png")
    return tmp_path / "stripes.png"


def test_words_are_found_and_told_in_the_json(tab, image):
    found = tab.find(image, "")
    words = json.loads(json.dumps(found.content["words"]))
    assert [w["name"] for w in words] == ["car", "sky", "tree", "road"]
    assert words[0]["origins"][0]["caption"] == "a photo of a car"
    assert {mark.label for mark in found.marks} <= {"car", "sky", "tree", "road"}
    assert [c["name"] for c in found.content["categories"]] == ["car", "sky", "tree", "road"]


def test_a_visitor_adds_words_and_leaves_some_out(tab, image):
    found = tab.find(image, "cone\n-sky, - road")
    assert [w["name"] for w in found.content["words"]] == ["cone", "car", "tree"]
    assert [c["id"] for c in tab.find(image, "").content["categories"]] == [1, 2, 3, 4], "visitors share no ids"


def test_text_names_no_file(tab, image, tmp_path):
    (tmp_path / "secret.txt").write_text("password\n")
    found = tab.find(image, str(tmp_path / "secret.txt"))
    assert all("password" not in word["name"] for word in found.content["words"])


@pytest.mark.parametrize(
    ("text", "problem"), [("-", "names no word"), (",".join(f"w{k}" for k in range(2001)), "2,001 names")]
)
def test_wrong_texts_are_one_sentence(tab, image, text, problem):
    with pytest.raises(ConfigError, match=problem):
        tab.find(image, text)


def test_an_image_without_words_is_one_sentence(tab, tmp_path):
    Image.fromarray(array(GRAY)).save(tmp_path / "gray.png")
    with pytest.raises(ConfigError, match="names anything. Fix: add words"):
        tab.find(tmp_path / "gray.png", "")


def test_a_page_without_a_captioner_has_the_other_tabs(monkeypatch, capsys):
    monkeypatch.setitem(program._TABS, "phrase", lambda given, options: "phrase")
    program._predictor.cache_clear()
    blip = (
        "MODEL.DEVICE",
        "cpu",
        "MODEL.AUTO_VOCABULARY.CAPTIONER",
        "blip",
        "MODEL.AUTO_VOCABULARY.CAPTIONER_WEIGHTS",
        "no",
    )
    tabs = program.build_tabs(parse_arguments([*blip]))
    assert [getattr(tab, "name", tab) for tab in tabs] == ["words", "phrase"]
    assert "the tab without words is left out. MODEL.AUTO_VOCABULARY.CAPTIONER_WEIGHTS=no" in capsys.readouterr().err
    with pytest.raises((ConfigError, OSError), match="CAPTIONER_WEIGHTS=no"):
        program.build_tabs(parse_arguments(["--tab", "auto", *blip]))
    program._predictor.cache_clear()


def test_two_tabs_share_a_model(monkeypatch):
    monkeypatch.setitem(program._TABS, "phrase", lambda given, options: "phrase")
    program._predictor.cache_clear()
    words, auto, _ = program.build_tabs(parse_arguments([*map(str, QUICK)]))
    assert words.predictor.model is auto.predictor.model and auto.predictor.auto and not words.predictor.auto
    program._predictor.cache_clear()
