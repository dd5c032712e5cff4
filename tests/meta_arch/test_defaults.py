"""FC-CLIP's published numbers as defaults: of the config, of the classes that are built without one, of its solver."""

from __future__ import annotations

import argparse
import inspect
import math
from functools import reduce

import pytest
from detectron2.config import get_cfg

from zsseg_d2 import add_zsseg_config
from zsseg_d2.data.panoptic.mapper import PanopticMapper
from zsseg_d2.engine import setup_cfg
from zsseg_d2.meta_arch.fcclip import FCCLIP
from zsseg_d2.meta_arch.results import ResultSettings
from zsseg_d2.modeling.fcclip.criterion import SetCriterion
from zsseg_d2.modeling.fcclip.ensemble import ScoringSettings
from zsseg_d2.modeling.fcclip.layers import sine_position
from zsseg_d2.modeling.fcclip.matcher import pair_queries
from zsseg_d2.modeling.fcclip.pixel_decoder import MSDeformAttnPixelDecoder
from zsseg_d2.modeling.fcclip.query_decoder import MaskedAttentionDecoder
from zsseg_d2.modeling.postprocessing import panoptic_inference
from zsseg_d2.vocabulary import PROMPT_TEMPLATES

FORMER, HEAD, CLIP = "MODEL.MASK_FORMER.", "MODEL.SEM_SEG_HEAD.", "MODEL.FC_CLIP."

CONFIG = {
    FORMER + "DEEP_SUPERVISION": True,
    FORMER + "NO_OBJECT_WEIGHT": 0.1,
    FORMER + "CLASS_WEIGHT": 2.0,
    FORMER + "DICE_WEIGHT": 5.0,
    FORMER + "MASK_WEIGHT": 5.0,
    FORMER + "NHEADS": 8,
    FORMER + "DROPOUT": 0.0,
    FORMER + "DIM_FEEDFORWARD": 2048,
    FORMER + "DEC_LAYERS": 10,
    FORMER + "PRE_NORM": False,
    FORMER + "HIDDEN_DIM": 256,
    FORMER + "NUM_OBJECT_QUERIES": 250,
    FORMER + "SIZE_DIVISIBILITY": 32,
    FORMER + "TRAIN_NUM_POINTS": 12544,
    FORMER + "OVERSAMPLE_RATIO": 3.0,
    FORMER + "IMPORTANCE_SAMPLE_RATIO": 0.75,
    FORMER + "TEST.OBJECT_MASK_THRESHOLD": 0.0,
    FORMER + "TEST.OVERLAP_THRESHOLD": 0.8,
    HEAD + "NUM_CLASSES": 0,  # as many as the training vocabulary has: 133 without another one
    HEAD + "CONVS_DIM": 256,
    HEAD + "MASK_DIM": 256,
    HEAD + "NORM": "GN",
    HEAD + "TRANSFORMER_ENC_LAYERS": 6,
    HEAD + "TRANSFORMER_ENC_DIM_FEEDFORWARD": 1024,
    HEAD + "DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS": 4,
    HEAD + "DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": 8,
    CLIP + "CLIP_MODEL_NAME": "convnext_large_d_320",
    CLIP + "CLIP_PRETRAINED_WEIGHTS": "laion2b_s29b_b131k_ft_soup",
    CLIP + "EMBED_DIM": 768,
    CLIP + "GEOMETRIC_ENSEMBLE_ALPHA": 0.4,
    CLIP + "GEOMETRIC_ENSEMBLE_BETA": 0.8,
    CLIP + "ENSEMBLE_ON_VALID_MASK": False,
    "MODEL.PIXEL_MEAN": [122.7709383, 116.7460125, 104.09373615],
    "MODEL.PIXEL_STD": [68.5005327, 66.6321579, 70.32316305],
    "INPUT.FORMAT": "RGB",
    "INPUT.IMAGE_SIZE": 1024,
    "INPUT.MIN_SCALE": 0.1,
    "INPUT.MAX_SCALE": 2.0,
    "SOLVER.OPTIMIZER": "ADAMW",
    "SOLVER.WEIGHT_DECAY_EMBED": 0.0,
    "SOLVER.BACKBONE_MULTIPLIER": 0.1,
}

# Of FC-CLIP's training on COCO, and its test size on Cityscapes.
SOLVER = {
    "SOLVER.BASE_LR": 1e-4,
    "SOLVER.WEIGHT_DECAY": 0.05,
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,
    "SOLVER.WEIGHT_DECAY_EMBED": 0.0,
    "SOLVER.CLIP_GRADIENTS.ENABLED": True,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model",
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 0.01,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": 2.0,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.MAX_ITER": 368750,
    "SOLVER.STEPS": (327778, 355092),
    "SOLVER.WARMUP_FACTOR": 1.0,
    "SOLVER.WARMUP_ITERS": 10,
    "INPUT.DATASET_MAPPER_NAME": "panoptic_lsj",  # FC-CLIP's "coco_panoptic_lsj", which is accepted, too
    "INPUT.IMAGE_SIZE": 1024,
    "INPUT.MIN_SCALE": 0.1,
    "INPUT.MAX_SCALE": 2.0,
}

ARGUMENTS = {
    SetCriterion: {
        "class_weight": 2.0,
        "mask_weight": 5.0,
        "dice_weight": 5.0,
        "no_object_weight": 0.1,
        "num_points": 12544,
        "oversample_ratio": 3.0,
        "importance_sample_ratio": 0.75,
    },
    MaskedAttentionDecoder: {
        "dim": 256,
        "mask_dim": 256,
        "embed_dim": 768,
        "queries": 250,
        "layers": 9,
        "heads": 8,
        "feedforward": 2048,
    },
    MSDeformAttnPixelDecoder: {"dim": 256, "mask_dim": 256, "layers": 6, "heads": 8, "points": 4, "feedforward": 1024},
    ScoringSettings: {
        "ensemble": True,
        "alpha": 0.4,
        "beta": 0.8,
        "on_valid_mask": False,
        "void_rule": True,
        "void_suppression": 0.0,
    },
    ResultSettings: {"object_mask_threshold": 0.0, "overlap_threshold": 0.8, "max_instances": 100},
    FCCLIP: {"size_divisibility": 32, "deep_supervision": True},
    panoptic_inference: {"object_mask_threshold": 0.0, "overlap_threshold": 0.8},
    pair_queries: {"class_weight": 2.0, "mask_weight": 5.0, "dice_weight": 5.0},
    sine_position: {"temperature": 10000.0},
}


def value_of(cfg, key: str):
    return reduce(lambda node, part: node[part], key.split("."), cfg)


@pytest.mark.parametrize("key", CONFIG)
def test_a_config_without_a_file_is_fcclips(key):
    cfg = get_cfg()
    add_zsseg_config(cfg)
    assert value_of(cfg, key) == CONFIG[key]


@pytest.fixture(scope="module")
def coco():
    opts = ["SOLVER.AMP.ENABLED", "False", "MODEL.DEVICE", "cpu"]
    return setup_cfg(argparse.Namespace(config_file="coco/fcclip.yaml", opts=opts, eval_only=False))


@pytest.mark.parametrize("key", SOLVER)
def test_training_on_coco_is_fcclips(coco, key):
    assert value_of(coco, key) == SOLVER[key]


def test_jitter_on_coco_is_fcclips(coco):
    """By 0.1 to 2.0 of 1024 pixels, then a crop of 1024; the model, not the mapper, pads what is smaller."""
    flip, resize, crop = PanopticMapper.from_config(coco, training=True)["augmentations"]
    assert (flip.prob, flip.horizontal, flip.vertical) == (0.5, True, False)
    assert (resize.min_scale, resize.max_scale, resize.target_height, resize.target_width) == (0.1, 2.0, 1024, 1024)
    assert (crop.crop_type, tuple(crop.crop_size)) == ("absolute", (1024, 1024))


def test_the_test_size_of_cityscapes_is_fcclips():
    opts = ["MODEL.DEVICE", "cpu"]
    cfg = setup_cfg(argparse.Namespace(config_file="cityscapes/zero_shot.yaml", opts=opts, eval_only=True))
    assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (1024, 2560)


@pytest.mark.parametrize("function", ARGUMENTS, ids=lambda f: f.__name__)
def test_arguments_that_are_not_given_are_fcclips(function):
    parameters = inspect.signature(function.__init__ if inspect.isclass(function) else function).parameters
    defaults = {name: parameters[name].default for name in ARGUMENTS[function]}
    assert defaults == ARGUMENTS[function]


def test_the_templates_are_fcclips():
    assert list(PROMPT_TEMPLATES) == [
        "a photo of a {}.",
        "This is a photo of a {}",
        "There is a {} in the scene",
        "There is the {} in the scene",
        "a photo of a {} in the scene",
        *(f"a photo of a {size} {{}}." for size in ("small", "medium", "large")),
        *(f"This is a photo of a {size} {{}}." for size in ("small", "medium", "large")),
        *(f"There is a {size} {{}} in the scene." for size in ("small", "medium", "large")),
    ]


def test_the_scale_of_class_logits_starts_at_one_over_0_07():
    decoder = MaskedAttentionDecoder(dim=16, mask_dim=4, embed_dim=4, queries=2, layers=1, heads=2, feedforward=8)
    assert decoder.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
