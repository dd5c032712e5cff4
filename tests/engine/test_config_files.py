"""Finding, reading and merging config files, and every mistake that is told before any work."""

from __future__ import annotations

import argparse
import traceback

import open_clip
import pytest
import torch
import yaml
from detectron2.config import get_cfg

from zsseg_d2 import add_zsseg_config
from zsseg_d2.class_sets import ClassSets
from zsseg_d2.engine.config.setup import config_root, find_config, packaged_configs, setup_cfg
from zsseg_d2.engine.config.validation import CHOICES, validate
from zsseg_d2.engine.config.yaml_files import read_yaml
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.engine.run import check_resumed
from zsseg_d2.modeling.clip.loading import resolve_clip_name

OF_PHRASES = [name for name in packaged_configs() if name.startswith(("miniphrases/", "phrasecut/"))]
OF_COMPOSITES = [name for name in packaged_configs() if name.startswith("composites/")]
OF_CLASSES = [name for name in packaged_configs() if name not in OF_PHRASES + OF_COMPOSITES]
ARCHITECTURES = {  # by what a file's name begins with
    "auto_vocabulary": "AutoVocabularyFCCLIP",
    "combined": "CombinedFCCLIP",
    "distill": "DistilledFCCLIP",
    "ewc": "ElasticFCCLIP",
    "frozen_queries": "FrozenQueriesFCCLIP",
    "interpolated": "InterpolatedFCCLIP",
    "l2_sp": "AnchoredFCCLIP",
    "low_rank": "LowRankFCCLIP",
    "mean_teacher": "MeanTeacherFCCLIP",
    "naive": "NaiveIntersection",
}
NO_AMP = [] if torch.cuda.is_available() else ["SOLVER.AMP.ENABLED", "False"]


def setup(config_file="", *opts, **rest):
    return setup_cfg(argparse.Namespace(config_file=str(config_file), opts=[str(o) for o in opts], **rest))


@pytest.mark.parametrize("name", OF_CLASSES)
def test_every_packaged_config_merges_and_validates(name):
    untrained = any(word in name for word in ("zero_shot", "naive", "interpolated", "auto_vocabulary"))
    cfg = setup(name, *NO_AMP, eval_only=untrained)
    tower = "_r50" if name.startswith(("cityscapes/", "coco/")) else ""
    assert f"output/{name.removesuffix('.yaml')}{tower}" == cfg.OUTPUT_DIR and cfg.MODEL.MASK_FORMER.TEST.PANOPTIC_ON
    clip = cfg.SOLVER.CLIP_GRADIENTS
    assert (clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE) == (True, "full_model", 0.01, 2.0)
    assert bool(cfg.DATASETS.TRAIN) != untrained
    complete = ("full_finetune", "pretrain", "coco/")  # by name; every other training goes without the things' labels
    assert ("008" in "".join(cfg.DATASETS.TRAIN)) != (untrained or any(word in name for word in complete))
    method = name.split("/")[1]
    named = [architecture for start, architecture in ARCHITECTURES.items() if method.startswith(start)]
    assert (named or ["FCCLIP"]) == [cfg.MODEL.META_ARCHITECTURE]


@pytest.mark.parametrize("name", OF_COMPOSITES)
def test_every_packaged_config_of_composites_merges_and_validates(name):
    cfg = setup(name, *NO_AMP)
    assert setup(name, *NO_AMP, eval_only=True) == cfg
    assert f"output/{name.removesuffix('.yaml')}" == cfg.OUTPUT_DIR and cfg.MODEL.META_ARCHITECTURE == "MaskDepthUNet"
    data = cfg.DATASETS
    assert (data.TRAIN, data.TEST, data.FINAL_TEST) == (
        ("composites_train",),
        ("composites_val",),
        ("composites_test",),
    )
    assert cfg.INPUT.COMPOSITES.DISTURBANCE.ENABLED, "without it, subtracting the background solves the task"
    net = name.removeprefix("composites/").removesuffix(".yaml")
    nets = {"eva": "eva", "mini": "unet_small", "unet_small": "unet_small", "unet_large": "unet_large"}
    assert nets.get(net, "unet") == cfg.MODEL.COMPOSITES.NET and (cfg.SEED == 1) == (net == "mini")
    assert {"composite_alone": "composite", "grey": "grey"}.get(net, "pair") == cfg.MODEL.COMPOSITES.INPUT


@pytest.mark.parametrize("name", OF_PHRASES)
def test_every_packaged_config_of_phrases_merges_and_validates(name):
    family, method = name.removesuffix(".yaml").split("/")
    cfg = setup(name, *NO_AMP)
    assert setup(name, *NO_AMP, eval_only=True) == cfg
    assert f"output/{family}/{method}" == cfg.OUTPUT_DIR and cfg.MODEL.META_ARCHITECTURE == "ReferringSegmentor"
    assert ((f"{family}_train",), (f"{family}_test",)) == (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
    clip = cfg.SOLVER.CLIP_GRADIENTS
    assert (clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE) == (True, "full_model", 1.0, 2.0)
    decoder = "unet" if method.startswith("unet_") else method.removeprefix("clipseg_")
    assert {"rd64": "rd64-refined"}.get(decoder, decoder) == cfg.MODEL.REFERRING.DECODER
    assert cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME.startswith(("RN50", "mini_rn")) == ("rn50" in method)
    assert cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS and not cfg.MODEL.WEIGHTS, "CLIP is trained, the decoder is not"
    assert clip_embedding(cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME) == cfg.MODEL.FC_CLIP.EMBED_DIM


def clip_embedding(name: str) -> int:
    """E, by open_clip's own configs."""
    return open_clip.get_model_config(resolve_clip_name(name))["embed_dim"]


@pytest.mark.parametrize("name", packaged_configs())
def test_every_packaged_config_says_command_time_and_score(name):
    text = (config_root() / name).read_text()
    assert f"python tools/train_net.py --config-file configs/{name}" in text
    assert "# Time:" in text and "# Score:" in text


@pytest.mark.parametrize("name", packaged_configs())
def test_packaged_configs_say_only_what_differs_from_their_bases(name):
    path = config_root() / name
    below: dict = {}
    own = yaml.safe_load(path.read_text())
    bases = own.pop("_BASE_")
    for base in [bases] if isinstance(bases, str) else bases:
        _merge(below, read_yaml(path.parent / base))
    assert not _repeated(own, below)


def _merge(below, above):
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value


def _repeated(own, below, prefix=""):
    found = []
    for key, value in own.items():
        if isinstance(value, dict):
            found += _repeated(value, below.get(key, {}), f"{prefix}{key}.")
        elif key in below and below[key] == value:
            found.append(prefix + key)
    return found


def test_configs_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("minicity/zero_shot.yaml", "configs/minicity/zero_shot.yaml"):
        assert find_config(name) == config_root() / "minicity" / "zero_shot.yaml"
    (tmp_path / "minicity").mkdir()
    (tmp_path / "minicity" / "zero_shot.yaml").write_text("SEED: 5\nMODEL: {MASK_FORMER: {TEST: {PANOPTIC_ON: true}}}")
    assert setup("minicity/zero_shot.yaml", "DATASETS.TEST", "('minicity_panoptic_val',)", eval_only=True).SEED == 5
    with pytest.raises(ConfigError, match="Did you mean minicity/zero_shot.yaml"):
        find_config("minicity/zeroshot.yaml")
    with pytest.raises(ConfigError, match="Packaged: .*minicity/zero_shot.yaml"):
        find_config("/nowhere/x")


def test_bases_merge_in_order_and_below_the_file(tmp_path):
    (tmp_path / "a.yaml").write_text("SOLVER: {MAX_ITER: 1, BASE_LR: 0.5, GAMMA: 0.3}")
    (tmp_path / "b.yaml").write_text("SOLVER: {BASE_LR: 0.25}")
    (tmp_path / "c.yaml").write_text("_BASE_: [a.yaml, b.yaml]\nSOLVER: {MAX_ITER: 7}")
    assert read_yaml(tmp_path / "c.yaml") == {"SOLVER": {"MAX_ITER": 7, "BASE_LR": 0.25, "GAMMA": 0.3}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("_BASE_: none.yaml", "none.yaml' does not exist"),
        ("_BASE_: x.yaml", "circular _BASE_"),
        ("SOLVER: [", "not valid YAML"),
        ("- 1", "expected config keys"),
        ("SOLVER: {MAX_ITRE: 3}", "SOLVER.MAX_ITRE'. Did you mean SOLVER.MAX_ITER"),
        ("SOLVER: {MAX_ITER: many}", "MAX_ITER"),
        ("SOLVER: 3", "SOLVER"),
        ("SEED: !!python/object/apply:os.system ['touch ran']", "not valid YAML"),
        ('SEED: !!python/object/apply:eval [\'__import__("os").mkdir("ran")\']', "asks to run Python"),
        ("SEED: !!python/object/apply:eval ['[int(x * 9) for x in range(10**9)]']", "asks to run Python"),
    ],
)
def test_bad_files_are_told(tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=told.replace("[", r"\[")):
        setup(tmp_path / "x.yaml")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text", ["root: x\nuser: secret: x", "a: !secret 1", "a: *secret", 'a: "secret \\q"', "[secret"]
)
def test_a_base_that_is_no_config_is_not_quoted(tmp_path, text):
    """A file of passwords, say, that somebody else's config names."""
    (tmp_path / "passwords").write_text(text)
    (tmp_path / "x.yaml").write_text("_BASE_: passwords")
    with pytest.raises(ConfigError, match=r"passwords: is not valid YAML \(line [123]") as error:
        setup(tmp_path / "x.yaml")
    assert "secret" not in "".join(traceback.format_exception(error.value))


def test_a_file_written_for_fc_clip_merges(tmp_path):
    """Keys, unsafe-looking size lists and names as in Mask2Former's and FC-CLIP's own files."""
    (tmp_path / "x.yaml").write_text(
        """
MODEL:
  META_ARCHITECTURE: "FCCLIP"
  BACKBONE: {NAME: "CLIP", FREEZE_AT: 0}
  RESNETS: {DEPTH: 50, STEM_TYPE: "basic", STRIDE_IN_1X1: False, OUT_FEATURES: ["res2", "res3", "res4", "res5"]}
  SEM_SEG_HEAD: {NAME: "FCCLIPHead", IGNORE_VALUE: 255, NUM_CLASSES: 133, LOSS_WEIGHT: 1.0, COMMON_STRIDE: 4}
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: "MultiScaleExtendedMaskTransformerDecoder"
    TRANSFORMER_IN_FEATURE: "multi_scale_pixel_decoder"
    TEST: {SEMANTIC_ON: True, INSTANCE_ON: True, PANOPTIC_ON: True, OVERLAP_THRESHOLD: 0.8}
  FC_CLIP: {CLIP_MODEL_NAME: "RN50", CLIP_PRETRAINED_WEIGHTS: "openai", EMBED_DIM: 1024, ENSEMBLE_ON_VALID_MASK: True}
DATASETS:
  TRAIN: ()
  TEST: ("openvocab_cityscapes_fine_panoptic_val",)
SOLVER:
  LR_SCHEDULER_NAME: "WarmupPolyLR"
  OPTIMIZER: "ADAMW"
  CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: "full_model", CLIP_VALUE: 0.01, NORM_TYPE: 2.0}
INPUT:
  MIN_SIZE_TRAIN: !!python/object/apply:eval ["[int(x * 0.1 * 640) for x in range(5, 21)]"]
  MIN_SIZE_TRAIN_SAMPLING: "choice"
  CROP:
    ENABLED: True
    TYPE: "absolute"
    SIZE: (640, 640)
    SINGLE_CATEGORY_MAX_AREA: 1.0
  SIZE_DIVISIBILITY: 640
  DATASET_MAPPER_NAME: "mask_former_panoptic"
VERSION: 2
"""
    )
    cfg = setup(tmp_path / "x.yaml", eval_only=True)
    assert list(cfg.INPUT.MIN_SIZE_TRAIN) == [int(x * 0.1 * 640) for x in range(5, 21)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["SOLVER.MAX_ITER"], "KEY VALUE pairs"),
        (["SOLVER.MAX_ITR", "4"], "'SOLVER.MAX_ITR'. Did you mean SOLVER.MAX_ITER"),
        (["--eval-only", "4"], "stand before KEY VALUE"),
        (["SOLVER.MAX_ITER", "four"], "MAX_ITER"),
        (["SOLVER", "4"], "Unknown config key 'SOLVER'"),
    ],
)
def test_bad_options_are_told(options, told):
    with pytest.raises(ConfigError, match=told):
        setup("minicity/full_finetune.yaml", *options)


@pytest.mark.parametrize("key", CHOICES)
def test_every_enumerated_key_is_checked(make_config, key):
    with pytest.raises(ConfigError, match=f"{key}=nonsense: choose one of"):
        validate(make_config(key, "nonsense"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("MODEL.META_ARCHITECTURE", "FCCLAP"), "Did you mean FCCLIP"),
        (("SOLVER.IMS_PER_BATCH", 0), "IMS_PER_BATCH=.*: it must be positive"),
        (("SOLVER.IMS_PER_BATCH", -2), "IMS_PER_BATCH=.*: it must be positive"),
        (("SOLVER.MAX_ITER", 0), "MAX_ITER=.*: it must be positive"),
        (("INPUT.MIN_SIZE_TEST", 0), "MIN_SIZE_TEST=.*: it must be positive"),
        (("DATASETS.TRAIN", ("tiny_engine_trian",)), "Did you mean tiny_engine_train"),
        (("DATASETS.TEST", ("tiny_engine_vall",)), "Did you mean tiny_engine_val"),
        (("DATASETS.TRAIN", ()), "DATASETS.TRAIN is empty"),
        (("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 133), "NUM_CLASSES is 133.*has 4 classes"),
        (("ZSSEG.VOCABULARY", "cityscapes"), "has 19 classes, but 'tiny_engine_val' has 4"),
        (("ZSSEG.VOCABULARY", "nowhere"), "No vocabulary 'nowhere'"),
        (("ZSSEG.PRETRAINING_VOCABULARY", "nowhere"), "No vocabulary 'nowhere'"),
        (("ZSSEG.OUT_CLASSES", ["cat"]), "OUT_CLASSES=.*There is no class 'cat'"),
        (("MODEL.DEVICE", "abacus"), "MODEL.DEVICE=abacus: "),
        (("SOLVER.AMP.ENABLED", True), "AMP.ENABLED=True: it needs CUDA"),
    ],
)
def test_contradictions_are_told(make_config, options, told):
    with pytest.raises(ConfigError, match=told):
        validate(make_config(*options))


def test_a_cuda_device_that_is_not_there(make_config):
    device = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigError, match="CUDA device"):
        validate(make_config("MODEL.DEVICE", device))


def test_a_batch_is_shared_equally(make_config):
    validate(make_config(), world_size=2)
    with pytest.raises(ConfigError, match="3 processes cannot share"):
        validate(make_config(), world_size=3)


def test_evaluation_asks_for_test_sets_only(make_config):
    validate(make_config("SOLVER.IMS_PER_BATCH", 0), eval_only=True)
    with pytest.raises(ConfigError, match="DATASETS.TEST is empty"):
        validate(make_config("DATASETS.TEST", ()), eval_only=True)


def test_the_device_is_chosen_automatically():
    cfg = get_cfg()
    add_zsseg_config(cfg)
    assert ("cuda" if torch.cuda.is_available() else "cpu") == cfg.MODEL.DEVICE


def test_out_classes(make_config):
    def out_classes(cfg, dataset):
        return ClassSets.from_config(cfg).requested_out(dataset)

    assert out_classes(make_config(), "tiny_engine_val") is None
    assert out_classes(make_config("DATASETS.TRAIN", ("tiny_engine_deleted",)), "tiny_engine_val") == (3,)
    for listed, expected in ((["person"], (2,)), ([26], (3,)), (["26", "sky"], (1, 3)), (["none"], ())):
        assert out_classes(make_config("ZSSEG.OUT_CLASSES", listed), "tiny_engine_val") == expected


def test_training_sets_must_agree():
    sets = '("minicity_panoptic_train", "{}")'
    for other, message in (
        ("minicity_panoptic_train_008", "classes that are deleted"),
        ("minicity_panoptic_train_pseudo_labels_008", "classes that have pseudo-labels"),
        ("miniworld_panoptic_train", "their classes"),
    ):
        with pytest.raises(ConfigError, match=message):
            setup("minicity/full_finetune.yaml", "DATASETS.TRAIN", sets.format(other))


def test_evaluation_needs_panoptic_maps():
    with pytest.raises(ConfigError, match="PANOPTIC_ON True"):
        setup("minicity/zero_shot.yaml", "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "False", eval_only=True)


def test_resuming_with_other_labels_is_refused(tmp_path):
    before = setup("minicity/in_class_finetune.yaml", "DATASETS.TRAIN", '("minicity_panoptic_train_003",)')
    (tmp_path / "config.yaml").write_text(before.dump())
    check_resumed(before, tmp_path / "config.yaml")
    check_resumed(before, tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"DATASETS.TRAIN was .*003.* and is .*008"):
        check_resumed(setup("minicity/in_class_finetune.yaml"), tmp_path / "config.yaml")


def test_of_duplicate_keys_the_last_counts_and_a_warning_names_it(tmp_path, caplog):
    (tmp_path / "twice.yaml").write_text("ZSSEG: {PICTURES: 1}\nSEED: 3\nZSSEG: {SAVE_PREDICTIONS: true}\n")
    assert read_yaml(tmp_path / "twice.yaml") == {"SEED": 3, "ZSSEG": {"SAVE_PREDICTIONS": True}}
    assert f"{tmp_path / 'twice.yaml'}, line 3: 'ZSSEG' is given twice; the last value counts." in caplog.text
