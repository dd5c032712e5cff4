"""Batches depend on the seed and the iteration, on nothing else."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.utils import comm
from hypothesis import given
from hypothesis import strategies as st

from zsseg_d2.data import DatasetError
from zsseg_d2.engine.training.loaders import (
    SampleStream,
    build_test_loader,
    build_train_loader,
    load_records,
    places_of_process,
)

from . import tiny_task


def batches(cfg, count, start=0):
    loader = build_train_loader(cfg)
    loader.start_iter = start
    return list(islice(loader, count))


def same(a, b) -> bool:
    return all(
        x["image_id"] == y["image_id"]
        and torch.equal(x["image"], y["image"])
        and torch.equal(x["instances"].gt_masks, y["instances"].gt_masks)
        for first, second in zip(a, b, strict=True)
        for x, y in zip(first, second, strict=True)
    )


def test_workers_change_nothing_and_seeds_do(make_config):
    plain = batches(make_config(), 4)
    assert all(len(batch) == 2 for batch in plain)
    assert same(plain, batches(make_config(), 4))
    assert same(plain, batches(make_config("DATALOADER.NUM_WORKERS", 2), 4))
    assert same(plain, batches(make_config("DATALOADER.ASPECT_RATIO_GROUPING", False), 4))
    assert not same(plain, batches(make_config("SEED", 4), 4))


def test_a_later_start_gives_the_later_batches(make_config):
    cfg = make_config("DATALOADER.NUM_WORKERS", 1)
    assert same(batches(cfg, 6)[4:], batches(cfg, 2, start=4))


def test_augmentation_differs_from_pass_to_pass(make_config):
    items = [item for batch in batches(make_config(), 15) for item in batch]
    images = {item["image"].numpy().tobytes() for item in items if item["image_id"] == "image_0"}
    assert len(images) == 6  # 30 samples of 5 records


def test_the_random_numbers_of_others_are_left_alone(make_config):
    np.random.seed(0)
    torch.manual_seed(0)
    expected = np.random.RandomState(0).rand(), torch.rand(1, generator=torch.Generator().manual_seed(0))
    batches(make_config(), 2)
    assert np.random.rand() == expected[0] and torch.rand(1) == expected[1]


def test_each_pass_sees_each_record_once_in_a_new_order():
    stream = [index for _, index in islice(SampleStream(7, seed=1), 21)]
    passes = [stream[k : k + 7] for k in (0, 7, 14)]
    assert all(sorted(p) == list(range(7)) for p in passes) and passes[0] != passes[1]
    assert [i for _, i in islice(SampleStream(7, seed=1, start=10), 11)] == stream[10:]


def test_processes_share_a_batch(monkeypatch):
    whole = list(islice(SampleStream(5, seed=1), 12))
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_world_size", lambda: 2)
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        places = places_of_process(4)
        parts.append(list(islice(SampleStream(5, seed=1, batch_size=4, places=places, start=1), 4)))
    assert parts == [whole[4::2], whole[5::2]]
    with pytest.raises(ValueError, match="A batch of 3 cannot be shared by 2 processes"):
        places_of_process(3)


def numbers(is_wide, batch_size, count, **rest):
    """The positions of `count` batches."""
    stream = SampleStream(len(is_wide), 1, batch_size=batch_size, is_wide=is_wide.__getitem__, **rest)
    places = rest.get("places", range(batch_size))
    found = [position for position, _ in islice(stream, count * len(places))]
    return [found[k * len(places) : (k + 1) * len(places)] for k in range(count)]


@given(
    is_wide=st.lists(st.booleans(), min_size=1, max_size=9),
    batch_size=st.integers(1, 6),
    start=st.integers(0, 12),
    processes=st.integers(1, 3),
)
def test_groups_are_those_of_detectron2(is_wide, batch_size, start, processes):
    """... for the whole stream, whatever the first batch and the number of processes."""
    batch_size *= processes
    samples = [
        {"position": position, "width": 1 + is_wide[index], "height": 1 + (not is_wide[index])}
        for position, index in islice(SampleStream(len(is_wide), 1), 20 * batch_size)
    ]
    expected = [[s["position"] for s in batch] for batch in AspectRatioGroupedDataset(samples, batch_size)]
    expected = expected[start : start + 5]
    for rank in range(processes):
        places = range(rank, batch_size, processes)
        mine = numbers(is_wide, batch_size, len(expected), start=start, places=places)
        assert mine == [batch[rank::processes] for batch in expected]


@pytest.fixture(params=["sizes known", "sizes read"])
def mixed_shapes(request, tmp_path):
    """A dataset of three wide and two high images; those of semantic datasets are of unknown size."""
    name = tiny_task.register("tiny_engine_mixed", tmp_path, 5, high=(1, 4))
    if request.param == "sizes read":
        for record in DatasetCatalog.get(name):
            del record["height"], record["width"]
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_batches_of_mixed_shapes_depend_on_seed_and_iteration_alone(mixed_shapes, make_config, monkeypatch):
    cfg = make_config("DATASETS.TRAIN", (mixed_shapes,), "SOLVER.IMS_PER_BATCH", 4)
    whole = batches(cfg, 7)
    shapes = [{item["width"] > item["height"] for item in batch} for batch in whole]
    assert all(len(kinds) == 1 for kinds in shapes) and {True} in shapes and {False} in shapes
    assert same(whole[3:], batches(cfg, 4, start=3))
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        assert same([batch[rank::2] for batch in whole], batches(cfg, 7))


def test_shapes_are_mixed_without_grouping(mixed_shapes, make_config):
    cfg = make_config("DATASETS.TRAIN", (mixed_shapes,), "DATALOADER.ASPECT_RATIO_GROUPING", False)
    assert any(len({item["width"] > item["height"] for item in batch}) == 2 for batch in batches(cfg, 5))


def test_test_loader_gives_all_images_one_by_one(make_config):
    items = list(build_test_loader(make_config(), "tiny_engine_val"))
    assert [item["image_id"] for (item,) in items] == ["image_0", "image_1", "image_2"]
    assert items[0][0]["dataset_name"] == "tiny_engine_val" and "instances" not in items[0][0]


def test_an_empty_data_set_is_an_error():
    DatasetCatalog.register("tiny_engine_empty", list)
    try:
        with pytest.raises(DatasetError, match="'tiny_engine_empty' is empty"):
            load_records(["tiny_engine_empty"])
    finally:
        DatasetCatalog.remove("tiny_engine_empty")
