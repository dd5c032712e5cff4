"""Captions of drawn objects are true, and differ from captions that are not."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from zsseg_d2.data.synthetic import PRETRAINING
from zsseg_d2.data.synthetic.captions import _TEMPLATES, Caption, caption, phrase_caption
from zsseg_d2.data.synthetic.palette import COLOUR_NAMES
from zsseg_d2.data.synthetic.scene import SceneObject

CAR = SceneObject(
    index=1, kind="car", colour="red", size="small", box=(0, 0, 9, 9), area=81, is_thing=True, crowd=False, depth=9.0
)
SKY = replace(CAR, kind="sky", colour="blue", size="large", is_thing=False)
SYNONYMS = ("car", "automobile")
LEFT, RIGHT = "on the left", "on the right"


def captions(thing=CAR, count=400, seed=0) -> list[Caption]:
    rng = np.random.default_rng(seed)
    return [caption(thing, SYNONYMS, rng) for _ in range(count)]


def phrases(thing=CAR, place=0.5, count=400, seed=0) -> list[Caption]:
    rng = np.random.default_rng(seed)
    return [phrase_caption(thing, place, SYNONYMS, rng) for _ in range(count)]


def words(found: Caption) -> list[str]:
    """Of the text, without the sentence around."""
    return re.sub(r"[.]", "", found.text).split()


def test_captions_follow_from_the_random_numbers():
    """In this order: name, colour, size, template. The embedded ResNet CLIP was trained with them."""
    rng, expected = np.random.default_rng(0), []
    for _ in range(400):
        name = "car" if rng.random() < 0.5 else SYNONYMS[rng.integers(2)]
        colour = "red" if rng.random() < 0.4 else None
        size = "small" if rng.random() < 0.3 else None
        text = _TEMPLATES[rng.integers(7)].format(" ".join(filter(None, (size, colour, name))))
        expected.append(Caption(text, "car", colour, size))
    assert captions() == expected != captions(seed=1)
    assert phrases() == phrases() != phrases(seed=1)


@pytest.mark.parametrize("make", [captions, phrases])
def test_the_text_says_what_is_claimed_and_no_more(make):
    for found in make():
        text_words = words(found)
        assert (found.kind, found.colour in ("red", None), found.size in ("small", None)) == ("car", True, True)
        assert ("red" in text_words) == (found.colour == "red") and ("small" in text_words) == (found.size == "small")
        assert len({"car", "cars", "automobile", "automobiles"} & set(text_words)) == 1
        assert not (set(COLOUR_NAMES) - {"red"}) & set(text_words) and not {"large", "medium"} & set(text_words)
        assert found.fits(CAR)
    for key in ("colour", "size"):
        share = np.mean([getattr(found, key) is not None for found in make()])
        assert 0.2 < share < 0.5


def test_plain_captions_are_templates_without_positions():
    """Size before colour before name, one of the templates, the name itself in most of them."""
    expected = {
        template.format(" ".join(filter(None, (size, colour, name))))
        for template in _TEMPLATES
        for size in ("small", "")
        for colour in ("red", "")
        for name in SYNONYMS
    }
    found = captions(count=3000)
    assert {c.text for c in found} == expected and all(c.position is None for c in found)
    assert 0.68 < np.mean(["car" in words(c) for c in found]) < 0.82  # 1/2 + 1/2 · 1/2
    assert {c.text for c in captions(replace(CAR, colour=None))}.isdisjoint(t.text for t in found if t.colour)


@pytest.mark.parametrize(
    ("place", "position"),
    [(0.1, LEFT), (0.4, LEFT), (0.41, None), (0.5, None), (0.59, None), (0.6, RIGHT), (0.95, RIGHT)],
)
def test_positions_are_named_where_they_are_true(place, position):
    found = phrases(place=place)
    assert {c.position for c in found} == ({None, position} if position else {None})
    for c in found:
        assert (c.position or "nowhere") in c.text or c.position is None
        assert c.position is not None or not (LEFT in c.text or RIGHT in c.text)
        assert c.fits(CAR, place)
    if position:
        assert 0.2 < np.mean([c.position == position for c in found]) < 0.4


def test_phrases_are_worded_as_in_the_dataset():
    """ "small red car on the left", often without a sentence around; a plural of several."""
    texts = {c.text for c in phrases(place=0.1, count=4000)}
    assert {"car", "red car", "small red car on the left", "cars on the left", "small automobile"} <= texts
    bare = {t for t in texts if t.split()[0] in ("car", "cars", "red", "small", "automobile", "automobiles")}
    assert all(re.fullmatch(r"(small )?(red )?(car|automobile)s?( on the left)?", t) for t in bare)
    share = np.mean([c.text in bare for c in phrases(place=0.1, count=4000)])
    assert 0.55 < share < 0.65
    plural = [bool({"cars", "automobiles"} & set(words(c))) for c in phrases()]
    assert 0.1 < np.mean(plural) < 0.3
    crowd = phrases(replace(CAR, crowd=True))
    assert all({"cars", "automobiles"} & set(words(c)) for c in crowd)


def test_stuff_has_no_place_no_size_and_no_plural():
    rng = np.random.default_rng(0)
    found = [phrase_caption(SKY, 0.1, ("sky",), rng) for _ in range(300)]
    assert all(c.position is None and c.size is None and "sky" in words(c) and c.fits(SKY) for c in found)
    assert {c.colour for c in found} == {None, "blue"}


@pytest.mark.parametrize(
    ("claim", "place", "fits"),
    [
        ({}, 0.5, True),
        ({"kind": "bus"}, 0.5, False),
        ({"colour": "red"}, 0.5, True),
        ({"colour": "blue"}, 0.5, False),
        ({"size": "small"}, 0.5, True),
        ({"size": "large"}, 0.5, False),
        ({"position": LEFT}, 0.1, True),
        ({"position": LEFT}, 0.45, True),  # neither true nor false: no negative
        ({"position": LEFT}, 0.5, False),
        ({"position": LEFT}, 0.9, False),
        ({"position": RIGHT}, 0.9, True),
        ({"position": RIGHT}, 0.55, True),
        ({"position": RIGHT}, 0.5, False),
        ({"position": RIGHT}, 0.2, False),
        ({"colour": "red", "position": RIGHT}, 0.2, False),
        ({"colour": "blue", "position": LEFT}, 0.2, False),
    ],
)
def test_what_a_caption_fits(claim, place, fits):
    plain = {"kind": "car", "colour": None, "size": None, "position": None}
    assert Caption(text="", **{**plain, **claim}).fits(CAR, place) is fits


def test_a_claim_of_a_colour_fits_nothing_of_which_it_is_unknown():
    assert not Caption("", "car", "red", None).fits(replace(CAR, colour=None))
    assert Caption("", "car", None, None).fits(replace(CAR, colour=None))


def test_every_category_has_captions():
    rng = np.random.default_rng(0)
    for category in PRETRAINING.categories:
        thing = replace(CAR, kind=category.name)
        found = phrase_caption(thing, 0.2, category.synonyms, rng)
        assert found.fits(thing, 0.2) and found.kind == category.name
