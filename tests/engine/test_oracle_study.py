"""The oracle study as a program; given masks are named as a model names its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from tests.data.tiny_cityscapes import make_tiny_cityscapes
from tests.tiny import random_image, tiny_config
from zsseg_d2.cli.oracle_study import parse_arguments
from zsseg_d2.data.panoptic.cityscapes import register_cityscapes_panoptic
from zsseg_d2.engine.oracle_study import TrueMasks, run_oracle_study
from zsseg_d2.meta_arch.given_masks import name_masks, name_regions, on_cells, predicting_model, score_masks

OPTIONS = ["INPUT.MIN_SIZE_TEST", "64", "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"]
OPTIONS += ["DATASETS.TEST", "('study_val',)"]


@pytest.fixture(scope="module", autouse=True)
def data_sets(tmp_path_factory):
    root = make_tiny_cityscapes(tmp_path_factory.mktemp("study"), "val", images=3, size=(48, 80))
    register_cityscapes_panoptic("study_val", root, "val")
    yield
    DatasetCatalog.remove("study_val")
    MetadataCatalog.remove("study_val")


def tiny_model(*options):
    torch.manual_seed(0)
    return build_model(tiny_config(*options)).eval()


def test_a_mask_of_its_own_is_embedded_as_the_query_does():
    """Oracle: the queries of ``last``. Masks that two queries share would be either's."""
    model = tiny_model()
    ((_, images),) = model.padded_batches([{"image": random_image(64, 96)}])
    lateral, scales, projection = model.sem_seg_head.pixel_decoder.unprojected(model.clip_features(images))
    predictor = model.sem_seg_head.predictor
    queries = predictor.last(scales, lateral, projection)
    own = queries.mask_logits[0] > 0
    single = [k for k, m in enumerate(own) if m.any() and sum(torch.equal(m, other) for other in own) == 1]
    assert len(single) > 4
    found = predictor.embed_masks(scales, lateral, projection, own[single])
    torch.testing.assert_close(found, queries.class_embed[0, single], rtol=1e-3, atol=1e-4)
    flipped = predictor.embed_masks(scales, lateral, projection, own[single].flip(0))
    torch.testing.assert_close(flipped, found.flip(0))


def test_masks_on_cells_by_hand():
    """Half of a cell suffices, and a small mask keeps the cells that it covers most; beyond the image is nothing."""
    half, small = torch.zeros(2, 6, 8, dtype=torch.bool)
    half[:4, :6], small[5, 7] = True, True
    cells = on_cells(torch.stack((half, small)), (2, 3))
    assert cells.tolist() == [[[True, True, False], [False] * 3], [[False] * 3, [False, True, False]]]


def test_no_mask_is_named_void():
    model = tiny_model()
    with torch.no_grad():
        model.void_embedding.weight.copy_(torch.ones(1, 128))
    masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[0, :, :48], masks[1, :, 48:] = True, True
    names = name_masks(model, {"image": random_image(64, 96)}, masks)
    assert names.shape == (2,) and set(names.tolist()) <= {0, 1, 2, 3}


def test_regions_are_named_by_their_masks():
    """The class is the likeliest deleted one, the score its share among the deleted ones; each as if it were alone."""
    model, item = tiny_model(), {"image": random_image(64, 96)}
    regions = np.zeros((64, 96), np.int32)
    regions[:40, :30], regions[10:60, 50:90] = 1, 2
    masks = torch.stack([torch.from_numpy(regions == n) for n in (1, 2)])
    probabilities = score_masks(model, item, masks).exp().numpy()
    found = name_regions(model, item, regions, deleted=[1, 3], least=0.0)
    for (category, score), p in zip(found, probabilities):
        assert category == (1 if p[1] > p[3] else 3)
        assert score == pytest.approx(max(p[1], p[3]) / (p[1] + p[3]), rel=1e-5)
    alone = np.where(regions == 2, 1, 0).astype(np.int32)
    ((category, score),) = name_regions(model, item, alone, deleted=[1, 3], least=0.0)
    assert category == found[1][0] and score == pytest.approx(found[1][1], rel=1e-5)
    together = probabilities[:, [1, 3]].sum(1)
    least = float(together.mean())
    some = name_regions(model, item, regions, deleted=[1, 3], least=least)
    assert [s is None for s in some] == (together < least).tolist() and None in some
    assert name_regions(model, item, np.zeros((64, 96), np.int32), deleted=[1], least=0.0) == []
    assert name_regions(model, item, regions, deleted=[2], least=0.0) == [(2, pytest.approx(1.0))] * 2


def test_regions_of_a_larger_annotation_are_named_on_the_image():
    model, item = tiny_model(), {"image": random_image(64, 96)}
    regions = np.zeros((64, 96), np.int32)
    regions[:40, :32] = 1
    twice = regions.repeat(2, 0).repeat(2, 1)
    assert name_regions(model, item, twice, deleted=[0, 1, 2, 3], least=0.0) == name_regions(
        model, item, regions, deleted=[0, 1, 2, 3], least=0.0
    )
    twice[127, 191] = 2  # a quarter of one pixel of the image
    share = torch.zeros(64, 96)
    share[63, 95] = 0.25
    p = score_masks(model, item, [share]).exp()[0]
    _, (category, score) = name_regions(model, item, twice, deleted=[0, 1], least=0.0)
    assert category == int(p[:2].argmax()) and score == pytest.approx(float(p[:2].max() / p[:2].sum()), rel=1e-5)


TAUGHT = ("MODEL.META_ARCHITECTURE", "CombinedFCCLIP", "ZSSEG.FUSION.MEAN_TEACHER", True)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("MODEL.META_ARCHITECTURE", "AnchoredFCCLIP"), ""),
        (("MODEL.META_ARCHITECTURE", "MeanTeacherFCCLIP"), "teacher"),
        (("MODEL.META_ARCHITECTURE", "MeanTeacherFCCLIP", "ZSSEG.MEAN_TEACHER.PREDICTION", "student"), ""),
        (("MODEL.META_ARCHITECTURE", "CombinedFCCLIP", "ZSSEG.FUSION.PREDICTION", "two"), "model_two"),
        (("MODEL.META_ARCHITECTURE", "CombinedFCCLIP"), None),
        ((*TAUGHT, "ZSSEG.FUSION.PREDICTION", "one"), "model_one.teacher"),
        ((*TAUGHT, "ZSSEG.FUSION.PREDICTION", "one", "ZSSEG.MEAN_TEACHER.PREDICTION", "student"), "model_one"),
        ((*TAUGHT, "ZSSEG.FUSION.PREDICTION", "two"), "model_two"),
        (("MODEL.META_ARCHITECTURE", "FrozenQueriesFCCLIP"), None),
        (("MODEL.META_ARCHITECTURE", "NaiveIntersection"), None),
    ],
)
def test_which_model_names_masks(options, part):
    model = tiny_model(*options)
    assert predicting_model(model) is (None if part is None else model.get_submodule(part))


def test_a_study_of_the_embedded_model(tmp_path):
    config = ["--config-file", "minicity/zero_shot.yaml", *OPTIONS, "OUTPUT_DIR", str(tmp_path)]
    shown = run_oracle_study(parse_arguments(config))
    found = json.loads((tmp_path / "oracle_study.json").read_text())["datasets"]["study_val"]
    assert list(found) == ["panoptic_seg", "true_classes", "true_masks"]
    for line, task in zip(shown.splitlines()[3:], found):
        assert line.split()[-3:] == [f"{found[task][key]:.2f}" for key in ("PQ", "PQ_in", "PQ_out")]
    folder = tmp_path / "inference" / "study_val"
    classes = json.loads((folder / "true_masks.json").read_text())["per_class"].values()
    right = [row for row in classes if row["tp"]]
    assert right and all(row["SQ"] == pytest.approx(100) or not row["isthing"] for row in right), "masks are true"
    again = json.loads((folder / "panoptic_quality.json").read_text())
    assert again["All"]["PQ"] == found["panoptic_seg"]["PQ"]


def test_a_model_that_names_all_masks_right_has_all_quality(tmp_path, monkeypatch):
    """The maps themselves cost nothing: PQ is 100 where the classes are the annotated ones."""
    truth: list[int] = []
    monkeypatch.setattr("zsseg_d2.engine.oracle_study.name_masks", lambda *_: torch.tensor(truth))
    study = TrueMasks(None, "study_val")
    for image_id, record in study.records.items():
        truth[:] = [s["category_id"] for s in record["segments_info"] if not s["iscrowd"]]
        item = {"image_id": image_id, "image": torch.zeros(3, 64, 107), "height": 48, "width": 80}
        ((ids, segments),) = [result["panoptic_seg"] for result in study([item])]
        assert sorted(s["category_id"] for s in segments) == sorted(truth)
        assert sorted((ids == s["id"]).sum().item() for s in segments) == sorted(
            s["area"] for s in record["segments_info"] if not s["iscrowd"]
        )
