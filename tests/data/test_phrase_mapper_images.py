"""Images with all their phrases as tensors: one image tensor, drawn tasks, crops that hide tasks, repeated draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.data.tiny_phrasecut import H, W, make_tiny_phrasecut, task
from zsseg_d2.data import load_phrasecut
from zsseg_d2.data.phrasecut.phrase_mapper import PhraseMapper
from zsseg_d2.data.phrasecut.prompts import prompt_templates
from zsseg_d2.data.seeding import SeededByImage, numpy_seed


def by_image(tmp_path, **options) -> dict:
    """The record of one image with four tasks: small squares at both ends, a bar, and nothing."""
    squares = [[[[x, 2], [x + 4, 2], [x + 4, 6], [x, 6]]] for x in (1, 24)]
    tasks = [task(1, 10, "left one", [squares[0]]), task(1, 11, "right one", [squares[1]])]
    tasks += [task(1, 12, "bar", [[[[0, 10], [29, 10], [29, 12], [0, 12]]]]), task(1, 13, "nothing", [[[[5, 5]]]])]
    (record,) = load_phrasecut(make_tiny_phrasecut(tmp_path, test=tasks), "test", by_image=True)
    return {**record, **options}


def test_phrases_of_an_image_share_its_tensor(tmp_path):
    record = by_image(tmp_path, dataset_name="tiny")
    items = PhraseMapper(40)(record)
    assert [item["phrase"] for item in items] == ["left one", "right one", "bar", "nothing"]
    assert [item["task_id"] for item in items] == ["1__10", "1__11", "1__12", "1__13"]
    assert len({id(item["image"]) for item in items}) == 1 and len({id(item["mask"]) for item in items}) == 4
    assert all((item["height"], item["width"], item["dataset_name"]) == (H, W, "tiny") for item in items)
    assert not any("tasks" in item for item in items)
    for item, alone in zip(items, load_phrasecut(tmp_path / "VGPhraseCut_v0", "test")):
        single = PhraseMapper(40)(alone)
        assert torch.equal(item["image"], single["image"]) and torch.equal(item["mask"], single["mask"])
        assert item["polygons"].mask(H, W).sum() == single["polygons"].mask(H, W).sum()


def test_some_tasks_of_an_image_are_drawn(tmp_path):
    """No task twice in a sample; over many samples all pairs, in all orders."""
    record, mapper = by_image(tmp_path), PhraseMapper(24, per_image=2)
    np.random.seed(0)
    drawn = {tuple(item["phrase"] for item in mapper(record)) for _ in range(300)}
    phrases = {"left one", "right one", "bar", "nothing"}
    assert drawn == {(a, b) for a in phrases for b in phrases if a != b}
    assert len(PhraseMapper(24, per_image=4)(record)) == len(PhraseMapper(24, per_image=9)(record)) == 4
    assert [item["phrase"] for item in PhraseMapper(24, per_image=1)(record)][0] in phrases
    assert isinstance(PhraseMapper(24, per_image=2)(load_phrasecut(tmp_path / "VGPhraseCut_v0", "test")[0]), dict)


def test_a_crop_leaves_out_what_it_hides(tmp_path):
    """Of 30 columns the square has 20: with one end's square wholly seen, the other end's is at most in part."""
    record, mapper = by_image(tmp_path), PhraseMapper(H, crop=True, min_visible=1.0)
    np.random.seed(0)
    for first, hidden in (("left one", "right one"), ("right one", "left one")):
        tasks = sorted(record["tasks"], key=lambda t: t["phrase"] != first)
        for _ in range(20):
            items = mapper({**record, "tasks": tasks})
            assert [item["phrase"] for item in items] == [first, "nothing"]  # of the bar, 20 of 30 columns
            assert items[0]["mask"].sum() == 25 and len({id(item["image"]) for item in items}) == 1
        shown = [item["phrase"] for item in PhraseMapper(H, crop=True, min_visible=0.6)({**record, "tasks": tasks})]
        assert shown == [first, "bar", "nothing"] and hidden not in shown
    # All are seen in the same square: columns of the bar and of the first square agree.
    tasks = sorted(record["tasks"], key=lambda t: t["phrase"] != "bar")
    starts = set()
    for _ in range(60):
        items = {
            item["phrase"]: item for item in PhraseMapper(H, crop=True, min_visible=0.2)({**record, "tasks": tasks})
        }
        assert items["bar"]["mask"][10:13].all() and not items["bar"]["mask"][13:].any()
        if "left one" in items and items["left one"]["mask"].sum() == 25:
            starts.add(1 - int(items["left one"]["mask"].numpy().any(0).argmax()))
            assert "right one" not in items or items["right one"]["mask"].sum() < 25
    assert starts <= {0, 1} and starts


def test_draws_follow_from_a_seed_and_leave_those_of_others_alone(tmp_path):
    record = by_image(tmp_path)
    mapper = PhraseMapper(24, per_image=2, templates=prompt_templates("shuffle+"))

    def prompts(mapper, *seed) -> list[str]:
        with numpy_seed(*seed):
            return [item["prompt"] for item in mapper(record)]

    assert prompts(mapper, 3, 7) == prompts(mapper, 3, 7)
    assert len({tuple(prompts(mapper, 3, k)) for k in range(20)}) > 10 and prompts(mapper, 7, 3) != prompts(
        mapper, 3, 7
    )
    seeded = SeededByImage(mapper)
    np.random.seed(5)
    expected = np.random.RandomState(5).rand(2)
    first = [item["prompt"] for item in seeded(record)]
    assert np.random.rand() == expected[0]
    assert [item["prompt"] for item in seeded(record)] == first and np.random.rand() == expected[1]
    others = [[item["prompt"] for item in seeded({**record, "image_id": k})] for k in range(2, 12)]
    assert any(found != first for found in others)
    with pytest.raises(RuntimeError), numpy_seed(1):
        raise RuntimeError
    np.random.seed(5)
    with numpy_seed(1):
        np.random.rand()
    assert np.random.rand() == expected[0]
