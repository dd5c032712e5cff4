"""Composites in the engine: loaders, keys, and their checks."""

from __future__ import annotations

import hashlib
from itertools import islice

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from tests.data.tiny_composites import write_parts, write_splits
from zsseg_d2.config import add_zsseg_config
from zsseg_d2.data import register_composites
from zsseg_d2.data.catalogs import remove_from_catalogs
from zsseg_d2.engine import composite_task
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.engine.training.loaders import LARGEST_PASS, SampleStream, build_test_loader, build_train_loader

NAMES = tuple(f"tiny_composites_{split}" for split in ("train", "val", "test"))


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    register_composites("tiny_composites", write_splits(tmp_path_factory.mktemp("tiny")))
    yield
    remove_from_catalogs(NAMES)


def config(*options):
    cfg = get_cfg()
    add_zsseg_config(cfg)
    fixed = ("INPUT.DATASET_MAPPER_NAME", "composites", "DATASETS.TRAIN", NAMES[:1], "DATASETS.TEST", NAMES[2:])
    more = ("INPUT.COMPOSITES.SIZE", 24, "SOLVER.IMS_PER_BATCH", 3, "SEED", 7, "DATALOADER.NUM_WORKERS", 0)
    cfg.merge_from_list([*fixed, *more, *options])
    return cfg


def digests(batches, count):
    keys = ("image", "background", "mask", "depth")
    items = [item for batch in islice(batches, count) for item in batch]
    return [hashlib.sha256(b"".join(item[key].numpy().tobytes() for key in keys)).hexdigest() for item in items]


def test_batches_are_the_same_with_any_number_of_workers_and_after_resuming(registered):
    plain = digests(iter(build_train_loader(config())), 5)
    assert digests(iter(build_train_loader(config("DATALOADER.NUM_WORKERS", 2))), 5) == plain
    assert len(set(plain)) == 15
    resumed = build_train_loader(config())
    resumed.start_iter = 2
    assert digests(iter(resumed), 3) == plain[6:]
    assert digests(iter(build_train_loader(config("SEED", 8))), 5) != plain


def test_evaluation_is_the_same_each_time_and_spread_over_the_set(registered):
    cfg = config("INPUT.COMPOSITES.TEST_IMAGES", 12)
    first, second = (list(build_test_loader(c, NAMES[2])) for c in (cfg, config(*cfg_words(cfg), "SEED", 3)))
    assert digests(iter(first), 12) == digests(iter(second), 12)
    numbers = [batch[0]["image_id"] for batch in first]
    assert numbers == sorted(set(numbers)) and len(numbers) == 12
    assert [number // 40 for number in numbers] == list(range(12)), "one of each twelfth of 480"


def cfg_words(cfg):
    return ("INPUT.COMPOSITES.TEST_IMAGES", cfg.INPUT.COMPOSITES.TEST_IMAGES)


@pytest.mark.parametrize(("size", "count", "expected"), [(5, 0, 5), (5, 9, 5), (400_000, 400, 400)])
def test_numbers_of_an_evaluation(size, count, expected):
    found = composite_task.test_indices(size, count)
    assert len(found) == expected == len(set(found.tolist())) and found.min() >= 0 and found.max() < size


def test_clean_pairs_keep_the_background(registered):
    for enabled in (True, False):
        cfg = config("INPUT.COMPOSITES.TEST_IMAGES", 2, "INPUT.COMPOSITES.DISTURBANCE.ENABLED", enabled)
        item = next(iter(build_test_loader(cfg, NAMES[2])))[0]
        outside = ~item["mask"].numpy()
        same = (item["image"].numpy() == item["background"].numpy()).all(axis=0)
        assert (same[outside].mean() > 0.8) == (not enabled)


def test_every_key_reaches_the_composer(registered):
    prefix = "INPUT.COMPOSITES."
    words = {"SIZE": 40, "SCALE": [0.2, 0.3], "POSITIONS": "grid", "PER_PAIR": 7, "GRID_STEP": 3, "OVERHANG": 0.2}
    words |= {"FLIPS": False, "SEED": 11}
    options = [word for key, value in words.items() for word in (prefix + key, value)]
    found = composite_task.composer(config(*options), NAMES[0]).settings
    expected = [40, (0.2, 0.3), "grid", 7, 3, 0.2, False, 11]
    assert list(vars(found).values()) == expected
    pairs = {
        "DISTURBANCE.SHIFT": 5,
        "DISTURBANCE.EXPOSURE": 0.3,
        "DISTURBANCE.NOISE": 9.0,
        "DISTURBANCE.JPEG": [30, 40],
    }
    pairs |= {"AUGMENT.CROP": 0.5, "AUGMENT.MIRROR": 0.25}
    _, mapper = composite_task.training_samples(config(*[w for k, v in pairs.items() for w in (prefix + k, v)]))
    assert list(vars(mapper.disturbance).values()) == [5, 0.3, 9.0, (30, 40)]
    assert list(vars(mapper.augmentation).values()) == [0.5, 0.25]
    _, mapper = composite_task.test_samples(config(), NAMES[2])
    assert list(vars(mapper.mapper.augmentation).values()) == [1.0, 0.0], "none in an evaluation"


def test_folders_of_ones_own_are_divided(registered, tmp_path):
    root = write_parts(tmp_path, foregrounds=6, backgrounds=6)
    words = [w for key in ("FOREGROUNDS", "BACKGROUNDS") for w in (f"INPUT.COMPOSITES.{key}", str(root / key.lower()))]
    found = [composite_task.composer(config(*words), name) for name in NAMES]
    fronts = [p.image.name for made in found for p in made.parts.foregrounds]
    assert sorted(fronts) == [f"f{k}.png" for k in range(6)] and all(len(made.parts.backgrounds) for made in found)
    assert found[0].depth_kind == "none"
    words += [
        w
        for key in ("FOREGROUND_DEPTH", "BACKGROUND_DEPTH")
        for w in (f"INPUT.COMPOSITES.{key}", str(root / key.lower()))
    ]
    keys = ("INPUT.COMPOSITES.DEPTH_KIND", "relative", "INPUT.COMPOSITES.DEPTH_NEAR_IS", "large")
    relative = composite_task.composer(config(*words, *keys), NAMES[0])
    assert relative.depth_kind == "relative" and relative[0].depth.max() <= 1
    metric = composite_task.composer(config(*words, "INPUT.COMPOSITES.DEPTH_UNIT", 0.5), NAMES[0])
    made = metric[0]
    number = int(metric.parts.foregrounds[made.choice.foreground].image.stem[1:])
    assert metric.depth_kind == "metric" and (made.depth[made.mask] == (3 + number) * 128).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("DATASETS.TEST", ("openvocab_minicity_val",)), "'openvocab_minicity_val' is not a dataset of composites"),
        (("INPUT.COMPOSITES.FOREGROUNDS", "x"), "INPUT.COMPOSITES.BACKGROUNDS is empty"),
        (("INPUT.COMPOSITES.SCALE", [0.5, 0.4]), "INPUT.COMPOSITES.SCALE"),
        (("INPUT.COMPOSITES.DISTURBANCE.JPEG", [90, 80]), "INPUT.COMPOSITES.DISTURBANCE.JPEG"),
    ],
)
def test_wrong_keys_are_named(registered, options, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        composite_task.check_composites(config(*options), eval_only=False)


def test_the_embedded_sets_are_registered_and_not_listed():
    for split in ("train", "val", "test"):
        assert f"composites_{split}" in DatasetCatalog.list()
        assert MetadataCatalog.get(f"composites_{split}").evaluator_type == "zsseg_composites"


def test_orders_too_long_for_the_memory_are_drawn_one_by_one():
    size = LARGEST_PASS + 1
    first = list(islice(SampleStream(size, 3), 50))
    assert [position for position, _ in first] == list(range(50))
    assert list(islice(SampleStream(size, 3, start=20), 30)) == first[20:]
    numbers = np.array([number for _, number in first])
    assert len(set(numbers.tolist())) == 50 and 0.3 < numbers.mean() / size < 0.7
