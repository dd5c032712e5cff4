"""Captions of sets of cells: true, within the vocabulary, and with nouns that name nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from zsseg_d2.data.synthetic import PRETRAINING, SceneObject
from zsseg_d2.data.synthetic.palette import COLOUR_NAMES
from zsseg_d2.data.synthetic.set_captions import Part, caption_words, set_caption

NAMES = {c.name: c.synonyms for c in PRETRAINING.categories} | {"pole": ("pole", "poles"), "rider": ("rider",)}
THINGS = [c.name for c in PRETRAINING.categories if c.isthing] + ["rider"]


def thing(kind: str, **more) -> SceneObject:
    plain = SceneObject(1, kind, None, "medium", (0, 0, 9, 9), 500, kind in THINGS, False, 10.0)
    return replace(plain, **more)


def drawn(parts: list[Part], place: float = 0.5, count: int = 300, **more) -> set[str]:
    rng = np.random.default_rng(0)
    return {set_caption(parts, NAMES, place, rng, **more) for _ in range(count)}


def names(text: str, kind: str) -> bool:
    irregular = {"person": ("men", "women")}.get(kind, ())
    return any(f" {name}" in f" {text}" for name in (*NAMES[kind], *irregular))


def test_every_caption_is_within_the_vocabulary():
    words = set(caption_words(NAMES, THINGS, COLOUR_NAMES))
    rng = np.random.default_rng(1)
    for _ in range(3000):
        kinds = [str(k) for k in rng.choice(list(NAMES), size=int(rng.integers(1, 4)))]
        parts = [
            Part(
                thing(
                    kind,
                    crowd=bool(rng.random() < 0.2),
                    colour=str(rng.choice(COLOUR_NAMES)),
                    depth=float(rng.uniform(2, 50)),
                ),
                float(rng.uniform(0.1, 1)),
            )
            for kind in kinds
        ]
        text = set_caption(parts, NAMES, float(rng.random()), rng)
        assert set(text.split()) <= words, text
        assert text == text.lower() and 1 <= len(text.split()) <= 20


@pytest.mark.parametrize("kind", sorted(NAMES))
def test_the_main_kind_is_named(kind):
    for text in drawn([Part(thing(kind), 1.0)], count=60):
        assert names(text, kind), text


def test_the_second_kind_is_named_from_its_share_on():
    car, road = thing("car"), thing("road", depth=5.0)
    assert all(names(t, "road") for t in drawn([Part(car, 0.7), Part(road, 0.3)], second=0.3))
    assert not any(names(t, "road") or "street" in t for t in drawn([Part(car, 0.7), Part(road, 0.29)], second=0.3))
    assert "a car on a road" in drawn([Part(car, 0.5), Part(road, 0.5)], count=2000)


def test_relations_are_true():
    near, far = thing("car", depth=4.0), thing("building", depth=20.0)
    texts = drawn([Part(near, 0.6), Part(far, 0.4)])
    assert any("in front of" in t for t in texts) and not any("behind" in t for t in texts)
    assert any("behind" in t for t in drawn([Part(far, 0.6), Part(near, 0.4)]))
    assert all(" in " in t.replace("there is", "") for t in drawn([Part(thing("kite"), 0.6), Part(thing("sky"), 0.4)]))


def test_colors_sizes_and_sides_are_true():
    texts = drawn([Part(thing("car", colour="red", size="large"), 1.0)], place=0.1)
    assert any("red car" in t for t in texts) and any("large" in t for t in texts)
    assert not any(w in t.split() for t in texts for w in ("blue", "small", "right"))
    assert any("left side" in t for t in texts)
    several = [Part(thing("car", colour="red"), 0.5), Part(thing("car", colour="blue"), 0.5)]
    assert {t for t in drawn(several) if names(t, "car")} == {t for t in drawn(several) if "cars" in t.split()}
    assert not any("red" in t.split() for t in drawn(several))


def test_numbers():
    assert all("people" in t or "men" in t for t in drawn([Part(thing("person", crowd=True), 1.0)]))
    alone = drawn([Part(thing("person"), 1.0)])
    assert not any(w in t.split() for t in alone for w in ("people", "men", "women"))
    assert not any(w in f" {t}" for t in drawn([Part(thing("sheep"), 1.0)]) for w in ("sheeps",))
