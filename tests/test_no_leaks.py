"""Labels of deleted classes reach nothing: changing all of them changes no bit of records, batches and losses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from tests.data.tiny_cityscapes import make_tiny_cityscapes
from tests.tiny import name_in_every_query, record_taught, tiny_config
from zsseg_d2.data.class_deletion.configurations import CONFIGURATIONS
from zsseg_d2.data.panoptic.cityscapes import CATEGORIES, register_cityscapes_panoptic
from zsseg_d2.data.panoptic.png import read_panoptic_png, write_panoptic_png
from zsseg_d2.engine import setup_cfg
from zsseg_d2.engine.config.setup import packaged_configs
from zsseg_d2.engine.training.loaders import build_train_loader, load_records
from zsseg_d2.engine.training.study import studied_items

CONFIGURATION = "004"  # person, rider, car and truck are deleted; bus, train, motorcycle and bicycle stay
DELETED = CONFIGURATIONS[CONFIGURATION]
WORLD = "leak_world"
REPLAY = ("ZSSEG.REPLAY.DATASET", WORLD)
TAUGHT = (
    "ZSSEG.PSEUDO_LABELS.MIN_VISIBLE",
    0.0,
    "ZSSEG.PSEUDO_LABELS.MIN_AREA",
    1,
    "ZSSEG.MEAN_TEACHER.ENSEMBLE",
    False,
)
METHODS = [
    ("FCCLIP",),
    ("FCCLIP", "ZSSEG.DELETED_PIXELS", "ignore"),
    ("FCCLIP", "ZSSEG.TRAINING_VOCABULARY", "kept"),
    ("FCCLIP", "INPUT.DATASET_MAPPER_NAME", "semantic"),
    ("FCCLIP", "INPUT.DATASET_MAPPER_NAME", "panoptic_lsj"),
    ("DistilledFCCLIP", "ZSSEG.DISTILLATION.MASK_WEIGHT", 1.0),
    ("DistilledFCCLIP", "ZSSEG.DISTILLATION.LOSS", "kl", "ZSSEG.DELETED_PIXELS", "ignore"),
    ("MeanTeacherFCCLIP", *TAUGHT),
    ("MeanTeacherFCCLIP", *TAUGHT, "ZSSEG.MEAN_TEACHER.STRENGTH", 0.0),
    ("FrozenQueriesFCCLIP",),
    ("FCCLIP", *REPLAY),
    ("DistilledFCCLIP", *REPLAY, "ZSSEG.DISTILLATION.MASK_WEIGHT", 1.0),
    ("MeanTeacherFCCLIP", *REPLAY, *TAUGHT),
    ("AnchoredFCCLIP",),
    ("ElasticFCCLIP", "ZSSEG.EWC.DATASET", WORLD),
    ("LowRankFCCLIP",),
    ("CombinedFCCLIP",),
    ("CombinedFCCLIP", "ZSSEG.FUSION.PAIRING", "hungarian", "ZSSEG.FUSION.NAME", "softmax_threshold"),
    ("CombinedFCCLIP", "ZSSEG.FUSION.MEAN_TEACHER", True, *TAUGHT),
]


def change_deleted_labels(root: Path, seed: int) -> int:
    """Give every pixel of a deleted or void segment another class, instance or outline; returns the pixels changed."""
    path = root / "gtFine" / "cityscapes_panoptic_train.json"
    content = json.loads(path.read_text())
    rng = np.random.default_rng(seed)
    changed = 0
    for annotation in content["annotations"]:
        png = root / "gtFine" / "cityscapes_panoptic_train" / annotation["file_name"]
        ids = read_panoptic_png(png)
        kept = [s for s in annotation["segments_info"] if s["category_id"] not in DELETED]
        free = ~np.isin(ids, [s["id"] for s in kept])
        blocks = rng.integers(0, 40, (ids.shape[0] // 5 + 1, ids.shape[1] // 7 + 1))
        blocks = blocks.repeat(5, 0).repeat(7, 1)[: ids.shape[0], : ids.shape[1]]
        new = np.where(blocks < 6, 0, np.array(DELETED)[blocks % len(DELETED)] * 1000 + 500 + blocks)
        changed += int((new != ids)[free].sum())
        ids = np.where(free, new, ids)
        write_panoptic_png(png, ids)
        segments = [
            {
                "id": int(i),
                "category_id": int(i) // 1000,
                "area": int((ids == i).sum()),
                "bbox": [0, 0, 9, 9],
                "iscrowd": 0,
            }
            for i in np.unique(ids[free])
            if i
        ]
        segments += kept
        annotation["segments_info"] = segments if seed % 2 else kept + segments[: -len(kept)]
    path.write_text(json.dumps(content))
    return changed


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    """Names of the same images with two truths about the deleted classes."""
    names = []
    for variant in ("told", "changed"):
        root = make_tiny_cityscapes(tmp_path_factory.mktemp(variant))
        if variant == "changed":
            assert change_deleted_labels(root, 3) > 1000
        names.append(f"leak_{variant}")
        register_cityscapes_panoptic(names[-1], root, "train", deleted=CONFIGURATION)
        # The same files stand for the set of the pre-training, too, which some methods read besides.
        register_cityscapes_panoptic(f"{WORLD}_{names[-1]}", root, "train", deleted=CONFIGURATION)
    yield names
    for name in (*names, *(f"{WORLD}_{name}" for name in names)):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def config(train: str, method):
    method = [f"{WORLD}_{train}" if word == WORLD else word for word in method]
    options = ("MODEL.META_ARCHITECTURE", *method, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 19, "SOLVER.IMS_PER_BATCH", 4)
    sizes = ("INPUT.MIN_SIZE_TRAIN", (40,), "INPUT.IMAGE_SIZE", 64, "INPUT.MIN_SCALE", 0.8, "INPUT.COLOR_AUG_SSD", True)
    return tiny_config(*options, *sizes, "DATALOADER.NUM_WORKERS", 0, "SEED", 7, train=train, test=train)


def study(cfg, model):
    """As at the start of a training."""
    wanted = model.study_of(cfg)
    if wanted is not None:
        model.use_study(model.study(studied_items(cfg, load_records([wanted.dataset]))))


def let_teacher_name(model):
    """Let a teacher, where there is one, name a deleted class in every query."""
    teacher = getattr(getattr(model, "model_one", model), "teacher", None)
    if teacher is not None:
        name_in_every_query(teacher, "car")


def batches_and_losses(train: str, method):
    cfg = config(train, method)
    batches = [batch for batch, _ in zip(build_train_loader(cfg), range(2))]
    torch.manual_seed(0)
    model = build_model(cfg).train()
    study(cfg, model)
    let_teacher_name(model)
    losses = []
    with pytest.MonkeyPatch.context() as patch:
        taught = record_taught(patch)
        for batch in batches:
            torch.manual_seed(1)
            losses.append({k: v.item() for k, v in model(batch).items()})
    teaches = "MeanTeacherFCCLIP" in method or "ZSSEG.FUSION.MEAN_TEACHER" in method
    assert (sum(taught) > len(taught) > 0) == teaches, "the teacher names more than one object an image"
    assert all(part.get("loss_distill_mask", 1) > 0 for part in losses)
    return batches, losses


@pytest.mark.parametrize("method", METHODS, ids=lambda m: "-".join(map(str, m)))
def test_changed_labels_of_deleted_classes_change_nothing(data_sets, method):
    (told, told_losses), (changed, changed_losses) = (batches_and_losses(name, method) for name in data_sets)
    assert told_losses == changed_losses and all(np.isfinite(list(part.values())).all() for part in told_losses)
    for one, two in zip(sum(told, []), sum(changed, [])):
        assert torch.equal(one["image"], two["image"])
        assert torch.equal(one["instances"].gt_classes, two["instances"].gt_classes)
        assert torch.equal(one["instances"].gt_masks, two["instances"].gt_masks)
        assert ("ignore" in one) == ("ignore" in two)
        assert "ignore" not in one or torch.equal(one["ignore"], two["ignore"])
        different = set(one) - {"file_name", "dataset_name", "image", "instances", "ignore"}
        assert all(one[key] == two[key] for key in different)


def test_the_change_is_seen_where_nothing_is_deleted(data_sets):
    """The test above can fail: with all labels, the two truths give other targets."""
    labels = []
    for name in data_sets:
        records = MetadataCatalog.get(name).load_complete_records()
        labels.append(sorted((r["image_id"], s["category_id"], s["area"]) for r in records for s in r["segments_info"]))
    assert labels[0] != labels[1]


def test_no_deleted_class_reaches_a_target(data_sets):
    gone = {k for k, c in enumerate(CATEGORIES) if c.id in DELETED}
    names = {CATEGORIES[k].name for k in gone}
    for name in data_sets:
        assert not gone & {s["category_id"] for r in DatasetCatalog.get(name) for s in r["segments_info"]}
        for method in METHODS:
            cfg = config(name, method)
            items = sum((batch for batch, _ in zip(build_train_loader(cfg), range(2))), [])
            assert not gone & set(torch.cat([i["instances"].gt_classes for i in items]).tolist())
        training = build_model(config(name, METHODS[2])).classes.training
        assert not names & {training.vocabulary.names[k] for k in training.kept}


@pytest.mark.parametrize("method", METHODS, ids=lambda m: "-".join(map(str, m)))
def test_a_label_of_a_deleted_class_is_refused(data_sets, method):
    cfg = config(data_sets[0], method)
    batch = next(iter(build_train_loader(cfg)))
    leaking = next(item for item in batch if len(item["instances"]))
    leaking["instances"].gt_classes[0] = 13
    with pytest.raises(ValueError, match="labels of classes that the dataset deletes: car"):
        model = build_model(cfg).train()
        study(cfg, model)
        model(batch)


@pytest.mark.parametrize("name", [n for n in packaged_configs() if n.startswith(("minicity/", "cityscapes/"))])
def test_only_the_upper_bound_is_trained_with_labels_of_deleted_classes(name):
    cfg = setup_cfg(argparse.Namespace(config_file=name, opts=[]), check=False)
    things = {k for k, c in enumerate(CATEGORIES) if c.isthing}
    for train in cfg.DATASETS.TRAIN:
        metadata = MetadataCatalog.get(train)
        told = things - {*metadata.deleted_contiguous_ids, *metadata.get("pseudo_label_contiguous_ids", ())}
        assert bool(told) == ("full_finetune" in name)
