"""The table of config keys: complete, true against the code, ranges, and values that nothing reads."""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path

import pytest
from detectron2.config import get_cfg

import zsseg_d2
from tests.faults import config_values
from zsseg_d2 import add_zsseg_config
from zsseg_d2.engine.config import keys
from zsseg_d2.engine.config.references import leaves
from zsseg_d2.engine.config.setup import setup_cfg
from zsseg_d2.engine.errors import ConfigError

PACKAGE = Path(zsseg_d2.__file__).parent
NOT_READING = {"config.py", "engine/config/keys.py"}


def defaults() -> dict[str, object]:
    cfg = get_cfg()
    add_zsseg_config(cfg)
    return dict(leaves(cfg))


def setup(*options, config="minicity/full_finetune.yaml", **more):
    always = ("MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", "False")
    return setup_cfg(argparse.Namespace(config_file=config, opts=[*always, *map(str, options)], **more))


def below(key: str, nodes) -> bool:
    return any(key.startswith(f"{node}.") for node in nodes)


def test_every_key_is_in_the_table_once():
    all_keys = set(defaults())
    read, unread = set(keys.KEYS), {k for k in all_keys if below(k, keys.UNREAD_NODES)} | set(keys.UNREAD)
    assert read | unread == all_keys
    assert not read & unread


def test_the_defaults_are_accepted():
    for key, value in defaults().items():
        if key in keys.KEYS:
            assert keys.KEYS[key].kind.problem(value) is None, key


@pytest.mark.parametrize("key", [k for k, entry in keys.KEYS.items() if entry.reader not in ("detectron2", "configs")])
def test_the_reader_of_a_key_reads_it(key):
    source = (PACKAGE / keys.KEYS[key].reader).read_text(encoding="utf-8")
    assert re.search(rf"\b{key.rsplit('.', 1)[-1]}\b", source)


def test_nothing_reads_the_other_keys():
    read = {key.rsplit(".", 1)[-1] for key in keys.KEYS}
    sources = {p.relative_to(PACKAGE).as_posix(): p.read_text(encoding="utf-8") for p in PACKAGE.rglob("*.py")}
    for key in defaults():
        last = key.rsplit(".", 1)[-1]
        if key not in keys.KEYS and last not in read:
            pattern = re.compile(rf"\b[a-z_.A-Z]*(cfg|settings|head|former|solver|test|aug)\b[\w.]*\.{last}\b")
            found = [name for name, source in sources.items() if name not in NOT_READING and pattern.search(source)]
            assert not found, f"{key} is read in {found}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", 5.0),
        ("MODEL.FC_CLIP.GEOMETRIC_ENSEMBLE_ALPHA", 7.0),
        ("MODEL.FC_CLIP.GEOMETRIC_ENSEMBLE_BETA", -0.1),
        ("MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO", 2.0),
        ("MODEL.MASK_FORMER.OVERSAMPLE_RATIO", 0.5),
        ("MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 0),
        ("MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", 0),
        ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", -1.0),
        ("SOLVER.WEIGHT_DECAY", "None"),
        ("SOLVER.STEPS", "(20, 10)"),
        ("INPUT.MIN_SIZE_TRAIN", "()"),
        ("INPUT.MIN_SIZE_TEST", 10**12),
        ("INPUT.CROP.SIZE", "[1]"),
        ("MODEL.PIXEL_STD", "[1.0, 0.0, 1.0]"),
        ("MODEL.DEVICE", "None"),
        ("DATALOADER.NUM_WORKERS", -1),
        ("TEST.DETECTIONS_PER_IMAGE", -5),
        ("SEED", -7),
        ("OUTPUT_DIR", ""),
        ("ZSSEG.FUSION.SCALE", 0.0),
        ("MODEL.MASK_FORMER.HIDDEN_DIM", 100),
        ("INPUT.MIN_SCALE", 3.0),
    ],
)
def test_values_out_of_range_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"^{key}={re.escape(str(value))}: it must "):
        setup(key, value)


def test_measures_need_what_they_score():
    for value, told in (
        ("['PQ']", "ZSSEG.MEASURES=PQ: choose one of mIoU, AP"),
        ("['AP']", "ZSSEG.MEASURES=AP: .* Fix: MODEL.MASK_FORMER.TEST.INSTANCE_ON True"),
    ):
        with pytest.raises(ConfigError, match=told):
            setup("ZSSEG.MEASURES", value)
    on = ("MODEL.MASK_FORMER.TEST.INSTANCE_ON", True, "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", True)
    assert setup("ZSSEG.MEASURES", "['AP', 'mIoU']", *on).ZSSEG.MEASURES == ["AP", "mIoU"]


@pytest.fixture
def said(caplog, monkeypatch):
    monkeypatch.setattr(keys, "_told", set())
    caplog.set_level(logging.INFO, "zsseg_d2.engine.config.keys")
    return caplog


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TEST.AUG.ENABLED", True),
        ("MODEL.SEM_SEG_HEAD.NORM", "BN"),
        ("MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res5"]),
        ("MODEL.MASK_FORMER.DROPOUT", 0.3),
        ("SOLVER.BIAS_LR_FACTOR", 2.0),
        ("DATALOADER.FILTER_EMPTY_ANNOTATIONS", False),
        ("MODEL.SWIN.EMBED_DIM", 128),
    ],
)
def test_a_value_without_effect_is_told_once(said, key, value):
    setup(key, value)
    setup(key, value)
    told = [record for record in said.records if record.levelno == logging.WARNING]
    assert len(told) == 1 and told[0].getMessage().endswith(f"so they change nothing: {key}={value}")


@pytest.mark.parametrize(
    "config", ["minicity/zero_shot.yaml", "cityscapes/zero_shot.yaml", "miniphrases/unet_vit.yaml"]
)
def test_packaged_configs_set_nothing_in_vain(said, config):
    setup(config=config, eval_only=True)
    assert not said.records


SEMANTIC_SETS = {
    "a847": "openvocab_ade20k_full_sem_seg_val",
    "pc59": "openvocab_pascal_ctx59_sem_seg_val",
    "pc459": "openvocab_pascal_ctx459_sem_seg_val",
    "pas20": "openvocab_pascal20_sem_seg_val",
    "pas21": "openvocab_pascal21_sem_seg_val",
}

# FC-CLIP's own files: names, nesting and awkward lines as published; the base has IN_FEATURES twice.
FCCLIP_FILES = {
    "Base-COCO-PanopticSegmentation.yaml": """
MODEL:
  BACKBONE: {FREEZE_AT: 0, NAME: "build_resnet_backbone"}
  WEIGHTS: "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  RESNETS:
    DEPTH: 50
    STEM_TYPE: "basic"
    STEM_OUT_CHANNELS: 64
    STRIDE_IN_1X1: False
    OUT_FEATURES: ["res2", "res3", "res4", "res5"]
    RES5_MULTI_GRID: [1, 1, 1]
DATASETS:
  TRAIN: ("coco_2017_train_panoptic",)
  TEST: ("coco_2017_val_panoptic_with_sem_seg",)
SOLVER:
  IMS_PER_BATCH: 16
  BASE_LR: 0.0001
  STEPS: (327778, 355092)
  MAX_ITER: 368750
  WARMUP_FACTOR: 1.0
  WARMUP_ITERS: 10
  WEIGHT_DECAY: 0.05
  OPTIMIZER: "ADAMW"
  BACKBONE_MULTIPLIER: 0.1
  CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: "full_model", CLIP_VALUE: 0.01, NORM_TYPE: 2.0}
  AMP: {ENABLED: True}
INPUT: {IMAGE_SIZE: 1024, MIN_SCALE: 0.1, MAX_SCALE: 2.0, FORMAT: "RGB", DATASET_MAPPER_NAME: "coco_panoptic_lsj"}
TEST: {EVAL_PERIOD: 5000}
DATALOADER: {FILTER_EMPTY_ANNOTATIONS: True, NUM_WORKERS: 4}
VERSION: 2
""",
    "maskformer2_R50_bs16_50ep.yaml": """
_BASE_: Base-COCO-PanopticSegmentation.yaml
MODEL:
  META_ARCHITECTURE: "MaskFormer"
  SEM_SEG_HEAD:
    NAME: "MaskFormerHead"
    IN_FEATURES: ["res2", "res3", "res4", "res5"]
    IGNORE_VALUE: 255
    NUM_CLASSES: 133
    LOSS_WEIGHT: 1.0
    CONVS_DIM: 256
    MASK_DIM: 256
    NORM: "GN"
    # pixel decoder
    PIXEL_DECODER_NAME: "MSDeformAttnPixelDecoder"
    IN_FEATURES: ["res2", "res3", "res4", "res5"]
    DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES: ["res3", "res4", "res5"]
    COMMON_STRIDE: 4
    TRANSFORMER_ENC_LAYERS: 6
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: "MultiScaleExtendedMaskTransformerDecoder"
    TRANSFORMER_IN_FEATURE: "multi_scale_pixel_decoder"
    NUM_OBJECT_QUERIES: 100
    DROPOUT: 0.0
    ENC_LAYERS: 0
    DEC_LAYERS: 10  # 9 decoder layers, add one for the loss on learnable query
    TEST: {SEMANTIC_ON: True, INSTANCE_ON: True, PANOPTIC_ON: True, OVERLAP_THRESHOLD: 0.8, OBJECT_MASK_THRESHOLD: 0.8}
""",
    "fcclip/fcclip_convnext_large_eval_ade20k.yaml": """
_BASE_: ../maskformer2_R50_bs16_50ep.yaml
MODEL:
  META_ARCHITECTURE: "FCCLIP"
  SEM_SEG_HEAD:
    NAME: "FCCLIPHead"
  # backbone part.
  BACKBONE:
    NAME: "CLIP"
  WEIGHTS: ""
  PIXEL_MEAN: [122.7709383, 116.7460125, 104.09373615]
  PIXEL_STD: [68.5005327, 66.6321579, 70.32316305]
  FC_CLIP:
    CLIP_MODEL_NAME: "convnext_large_d_320"
    CLIP_PRETRAINED_WEIGHTS: "laion2b_s29b_b131k_ft_soup"
    EMBED_DIM: 768
    GEOMETRIC_ENSEMBLE_ALPHA: 0.4
    GEOMETRIC_ENSEMBLE_BETA: 0.8
    ENSEMBLE_ON_VALID_MASK: False
  MASK_FORMER:
    NUM_OBJECT_QUERIES: 250
    TEST: {SEMANTIC_ON: True, INSTANCE_ON: True, PANOPTIC_ON: True, OBJECT_MASK_THRESHOLD: 0.0}
DATASETS:
  TRAIN: ("openvocab_coco_2017_train_panoptic_with_sem_seg",)
  TEST: ("openvocab_ade20k_panoptic_val",)
""",
    "fcclip/fcclip_convnext_large_eval_cityscapes.yaml": """
_BASE_: ./fcclip_convnext_large_eval_ade20k.yaml
INPUT: {MIN_SIZE_TEST: 1024, MAX_SIZE_TEST: 2560}
DATASETS:
  TEST: ("openvocab_cityscapes_fine_panoptic_val",)
""",
    "fcclip/fcclip_convnext_large_eval_coco.yaml": """
_BASE_: ./fcclip_convnext_large_eval_ade20k.yaml
DATASETS:
  TEST: ("openvocab_coco_2017_val_panoptic_with_sem_seg",)
""",
    "fcclip/fcclip_convnext_large_eval_mapillary_vistas.yaml": """
_BASE_: ./fcclip_convnext_large_eval_ade20k.yaml
MODEL: {MASK_FORMER: {TEST: {INSTANCE_ON: False}}}
INPUT: {MIN_SIZE_TEST: 1024, MAX_SIZE_TEST: 2560}
DATASETS:
  TEST: ("openvocab_mapillary_vistas_panoptic_val",)
""",
    **{
        f"fcclip/fcclip_convnext_large_eval_{name}.yaml": f"""_BASE_: ./fcclip_convnext_large_eval_ade20k.yaml

MODEL:
  MASK_FORMER:
    TEST:
      PANOPTIC_ON: False
      INSTANCE_ON: False

DATASETS:
  TEST: ("{dataset}",)"""
        for name, dataset in SEMANTIC_SETS.items()
    },
    "fcclip/fcclip_convnext_large_eval_ade20k_r50.yaml": """
_BASE_: ./fcclip_convnext_large_eval_ade20k.yaml
MODEL:
  FC_CLIP: {CLIP_MODEL_NAME: "RN50", CLIP_PRETRAINED_WEIGHTS: "openai", EMBED_DIM: 1024, ENSEMBLE_ON_VALID_MASK: True}
""",
}


@pytest.fixture
def fcclip_files(tmp_path):
    for name, text in FCCLIP_FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path / "fcclip"


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("ade20k", "openvocab_ade20k_panoptic_val"),
        ("ade20k_r50", "openvocab_ade20k_panoptic_val"),
        ("cityscapes", "openvocab_cityscapes_fine_panoptic_val"),
        ("coco", "openvocab_coco_2017_val_panoptic_with_sem_seg"),
        ("mapillary_vistas", "openvocab_mapillary_vistas_panoptic_val"),
        *SEMANTIC_SETS.items(),
    ],
)
def test_files_of_fcclip_merge_without_a_flood(fcclip_files, said, name, dataset):
    path = str(fcclip_files / f"fcclip_convnext_large_eval_{name}.yaml")
    cfg = setup_cfg(argparse.Namespace(config_file=path, opts=["MODEL.DEVICE", "cpu"], eval_only=True))
    assert ((dataset,), 250) == (cfg.DATASETS.TEST, cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES)
    assert cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES == ["res2", "res3", "res4", "res5"]
    assert len([r for r in said.records if r.name.endswith("config.keys")]) == 1
    assert "'IN_FEATURES' is given twice; the last value counts." in said.text
    assert not [r for r in said.records if r.levelno >= logging.WARNING and r.name.endswith("config.keys")]


@pytest.mark.parametrize("number", range(len(config_values.ODD_FILES)))
def test_odd_files_are_accepted_or_refused(number, tmp_path):
    assert config_values.outcome("case.yaml", [], config_values.ODD_FILES[number], tmp_path) in ("accepted", "refused")


def test_odd_values_are_accepted_or_refused(tmp_path):
    """The short form of ``python -m tests.faults.config_values``."""
    first = len(config_values.ODD_FILES)
    for config, options, content in list(config_values.cases(first + 120, seed=1))[first:]:
        found = config_values.outcome(config, options, content, tmp_path)
        assert found in ("accepted", "refused"), (config, options, content, found)
