"""What other programs rely on: the entry points, FC-CLIP's YAML files, packaged files, refusals of unsafe input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager

import zsseg_d2
from zsseg_d2 import files

ROOT = Path(__file__).resolve().parents[1]

# The keys of FC-CLIP's released YAML files.
FCCLIP_YAML = """
MODEL:
  META_ARCHITECTURE: "FCCLIP"
  BACKBONE: {FREEZE_AT: 0, NAME: "CLIP"}
  WEIGHTS: ""
  PIXEL_MEAN: [122.7709383, 116.7460125, 104.09373615]
  PIXEL_STD: [68.5005327, 66.6321579, 70.32316305]
  FC_CLIP:
    CLIP_MODEL_NAME: "RN50"
    CLIP_PRETRAINED_WEIGHTS: ""
    EMBED_DIM: 1024
    GEOMETRIC_ENSEMBLE_ALPHA: 0.4
    GEOMETRIC_ENSEMBLE_BETA: 0.8
    ENSEMBLE_ON_VALID_MASK: True
  RESNETS: {DEPTH: 50, STEM_TYPE: "basic", STEM_OUT_CHANNELS: 64, STRIDE_IN_1X1: False, RES5_MULTI_GRID: [1, 1, 1]}
  SEM_SEG_HEAD:
    NAME: "FCCLIPHead"
    IN_FEATURES: ["res2", "res3", "res4", "res5"]
    IGNORE_VALUE: 255
    NUM_CLASSES: 133
    LOSS_WEIGHT: 1.0
    CONVS_DIM: 256
    MASK_DIM: 256
    NORM: "GN"
    PIXEL_DECODER_NAME: "MSDeformAttnPixelDecoder"
    DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES: ["res3", "res4", "res5"]
    COMMON_STRIDE: 4
    TRANSFORMER_ENC_LAYERS: 6
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: "MultiScaleExtendedMaskTransformerDecoder"
    TRANSFORMER_IN_FEATURE: "multi_scale_pixel_decoder"
    DEEP_SUPERVISION: True
    NO_OBJECT_WEIGHT: 0.1
    NUM_OBJECT_QUERIES: 250
    NHEADS: 8
    DROPOUT: 0.0
    DIM_FEEDFORWARD: 2048
    ENC_LAYERS: 0
    PRE_NORM: False
    ENFORCE_INPUT_PROJ: False
    SIZE_DIVISIBILITY: 32
    DEC_LAYERS: 10
    TEST: {SEMANTIC_ON: True, INSTANCE_ON: True, PANOPTIC_ON: True, OVERLAP_THRESHOLD: 0.8, OBJECT_MASK_THRESHOLD: 0.0}
DATASETS: {TRAIN: ["openvocab_coco_2017_train_panoptic_with_sem_seg"], TEST: ["openvocab_cityscapes_fine_panoptic_val"]}
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
INPUT:
  IMAGE_SIZE: 1024
  MIN_SCALE: 0.1
  MAX_SCALE: 2.0
  FORMAT: "RGB"
  DATASET_MAPPER_NAME: "coco_panoptic_lsj"
TEST: {EVAL_PERIOD: 5000}
DATALOADER: {FILTER_EMPTY_ANNOTATIONS: True, NUM_WORKERS: 4}
VERSION: 2
"""


def test_a_yaml_written_for_fcclip_merges_and_builds(tmp_path):
    (tmp_path / "fcclip.yaml").write_text(FCCLIP_YAML)
    cfg = get_cfg()
    zsseg_d2.add_zsseg_config(cfg)
    cfg.merge_from_file(str(tmp_path / "fcclip.yaml"), allow_unsafe=False)
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    assert type(model).__name__ == "FCCLIP"
    assert model.sem_seg_head.predictor.query_feat.weight.shape == (250, 256)


def test_public_names_have_types(tmp_path):
    """What editors and type checkers see."""
    revealed = ("zsseg_d2.Predictor", "zsseg_d2.Predictor().words", "zsseg_d2.Predictor()('a.png').segments[0].label")
    told = ("-> zsseg_d2.engine.prediction.predictor.Predictor", "tuple[str, ...]", "str")
    quick = "[mypy]\nignore_missing_imports = True\nfollow_imports = skip\n[mypy-zsseg_d2.*]\nfollow_imports = silent\n"
    (tmp_path / "mypy.ini").write_text(quick)  # torch alone takes a minute
    lines = ["import zsseg_d2", *(f"reveal_type({word})" for word in (*revealed, "zsseg_d2.load"))]
    (tmp_path / "names.py").write_text("\n".join(lines))
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "names.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    if "No module named mypy" in checked.stderr:
        pytest.skip("mypy is not installed: make lint")
    types = [line.partition("Revealed type is ")[2].strip('"') for line in checked.stdout.splitlines()]
    assert checked.returncode == 0, checked.stdout
    assert types[0].endswith(told[0]) and types[1:4] == [*told[1:], "def ()"], checked.stdout
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        _ = zsseg_d2.Predicter


def test_packaged_files_are_found_by_their_scheme():
    path = f"{files.PREFIX}vocabularies/cityscapes.yaml"
    assert PathManager.isfile(path) and PathManager.open(path).read().startswith("#")
    assert not PathManager.isfile(f"{files.PREFIX}vocabularies/none.yaml")
    with pytest.raises(ValueError, match="leads out"):
        PathManager.get_local_path(f"{files.PREFIX}../setup.py")
    with pytest.raises(ValueError, match="cannot be written"):
        PathManager.open(path, "w")


def test_a_missing_compiled_operator_says_so():
    import detectron2._C as extension

    if not hasattr(extension, "__file__"):
        with pytest.raises(RuntimeError, match="nms_rotated"):
            extension.nms_rotated()


def test_every_config_key_has_a_comment():
    """The config file is the reference: a key without its meaning is not documented anywhere."""
    lines = (ROOT / "zsseg_d2" / "config.py").read_text().splitlines()
    for before, line in zip(["", *lines], lines):
        code = line.strip()
        plain = code.startswith(("cfg.", "m.", "f.", "z.", "h.")) and " = " in code and "CN()" not in code
        known = code.startswith(
            ("h.NAME", "h.PIXEL_DECODER_NAME", "h.DEFORMABLE_TRANSFORMER_ENCODER_IN", "h.NORM", "h.IN_F")
        )
        inherited = code.startswith(("cfg.MODEL.", "cfg.INPUT.FORMAT"))
        assert not plain or known or inherited or "#" in code or before.strip().startswith("#"), code
