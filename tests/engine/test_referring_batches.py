"""Batches of phrases: several of an image share its tensor, whatever process reads it, and CLIP sees it once."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from zsseg_d2.engine.referring_task import tasks_of
from zsseg_d2.engine.training.loaders import build_test_loader, build_train_loader, load_records
from zsseg_d2.engine.training.trainer import Trainer


def same(one, two) -> bool:
    keys = ("image", "mask")
    return all(
        x["task_id"] == y["task_id"] and x["prompt"] == y["prompt"] and all(torch.equal(x[k], y[k]) for k in keys)
        for first, second in zip(one, two, strict=True)
        for x, y in zip(first, second, strict=True)
    )


def test_batches_of_several_phrases_an_image(phrase_config):
    def batches(*options, start=0, count=4):
        loader = build_train_loader(phrase_config("INPUT.PHRASE.CROP", False, *options))
        loader.start_iter = start
        return list(islice(loader, count))

    plain = batches()
    for batch in plain:
        assert [len({item["image_id"] for item in batch}), len({id(item["image"]) for item in batch})] == [2, 2]
        assert len(batch) == 6 and len({item["task_id"] for item in batch}) == 6
    assert same(plain, batches("DATALOADER.NUM_WORKERS", 2)) and same(plain[2:], batches(start=2, count=2))
    assert not same(plain, batches("SEED", 4))
    single = batches("INPUT.PHRASE.PER_IMAGE", 1)
    assert all(len(batch) == 2 for batch in single)
    for batch in batches("DATALOADER.NUM_WORKERS", 1):
        assert len({id(item["image"]) for item in batch}) == 2, "an image stays one tensor on its way from a worker"


@pytest.mark.parametrize("workers", [0, 2])
def test_clip_sees_a_test_image_once(phrase_config, workers):
    cfg = phrase_config("DATALOADER.NUM_WORKERS", workers)
    model, seen = Trainer.build_model(cfg).eval(), []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    records = load_records(["tiny_phrases_test"])
    found = []
    for batch in build_test_loader(cfg, "tiny_phrases_test"):
        assert len({item["image_id"] for item in batch}) == 1 and len({id(item["image"]) for item in batch}) == 1
        with torch.no_grad():
            model(batch)
        found += [item["task_id"] for item in batch]
    assert seen == [1, 1, 1] and sorted(found) == sorted(record["task_id"] for record in records)


def test_records_of_images_are_taken_apart():
    """As of a data set registered with one record an image; those of tasks stay as they are."""
    tasks = [{"image_id": 1, "task_id": "1__1"}, {"image_id": 1, "task_id": "1__2"}]
    assert tasks_of([{"image_id": 1, "tasks": [{"task_id": "1__1"}, {"task_id": "1__2"}]}]) == tasks_of(tasks) == tasks
