"""Configs of models of phrases: the packaged ones run, and every contradiction is told before any work."""

from __future__ import annotations

import json

import pytest
from detectron2.engine import default_argument_parser

from tests.tiny_referring import write_clip
from zsseg_d2.engine.checkpoints.leaks import check_weights_saw_no_labels
from zsseg_d2.engine.checkpoints.reading import read_checkpoint
from zsseg_d2.engine.config.setup import config_root, packaged_configs
from zsseg_d2.engine.config.validation import validate
from zsseg_d2.engine.config.yaml_files import read_yaml
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.engine.referring_task import CHOICES, is_referring
from zsseg_d2.engine.run import run_process
from zsseg_d2.registry import NamedRegistry

LARGE = {
    "ViT-B-32-quickgelu": "tiny_vit_deep32",
    "ViT-B-16-quickgelu": "tiny_vit_deep16",
    "RN50-quickgelu": "tiny_resnet",
}


@pytest.mark.parametrize("name", [n for n in packaged_configs() if n.startswith(("miniphrases/", "phrasecut/"))])
def test_packaged_configs_train_and_evaluate(phrase_data, tmp_path, name):
    clip = read_yaml(config_root() / name)["MODEL"]["FC_CLIP"]["CLIP_MODEL_NAME"]
    assert (clip in LARGE) == name.startswith("phrasecut/")
    opts = [
        "DATASETS.TRAIN",
        "('tiny_phrases_train',)",
        "DATASETS.TEST",
        "('tiny_phrases_test',)",
        "SOLVER.MAX_ITER",
        2,
    ]
    opts += ["SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu", "SEED", 5]
    opts += ["INPUT.PHRASE.SIZE", 64, "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", "", "OUTPUT_DIR", tmp_path / "out"]
    opts += ["MODEL.FC_CLIP.CLIP_MODEL_NAME", write_clip(tmp_path, LARGE[clip])] if clip in LARGE else []
    results = run_process(default_argument_parser().parse_args(["--config-file", name, *map(str, opts)]))
    found = json.loads((tmp_path / "out/inference/tiny_phrases_test/referring.json").read_text())
    assert found["mean_iou"] == pytest.approx(results["referring"]["mean_iou"]) and found["num_images"] == 3
    state = read_checkpoint(str(tmp_path / "out" / "model_final.pth"))["model"]
    assert any(key.startswith("decoder.") for key in state) and all(v.isfinite().all() for v in state.values())
    assert (tmp_path / "out/samples/strip.png").is_file() == name.startswith("miniphrases/")


def test_which_configs_are_of_phrases(phrase_config, make_config):
    assert is_referring(phrase_config()) and not is_referring(make_config())
    assert not is_referring(make_config("MODEL.META_ARCHITECTURE", "FCCLAP"))
    validate(phrase_config())
    validate(phrase_config(), eval_only=True)


@pytest.mark.parametrize("key", CHOICES)
def test_every_enumerated_key_is_checked(phrase_config, key):
    with pytest.raises(ConfigError, match=f"{key}=nonsense: choose one of"):
        validate(phrase_config(key, "nonsense"))
    choices = CHOICES[key]
    for value in choices.names() if isinstance(choices, NamedRegistry) else choices:
        validate(phrase_config(key, value))


def test_one_prompt_is_used_at_test_time(phrase_config):
    assert CHOICES["INPUT.PHRASE.PROMPTS_TEST"] == ("plain", "fixed")
    with pytest.raises(ConfigError, match=r"PROMPTS_TEST=shuffle\+: choose one of plain, fixed"):
        validate(phrase_config("INPUT.PHRASE.PROMPTS_TEST", "shuffle+"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("INPUT.DATASET_MAPPER_NAME", "panoptic"),
            "DATASET_MAPPER_NAME=panoptic: .*Fix: INPUT.DATASET_MAPPER_NAME phrase",
        ),
        (("INPUT.PHRASE.SIZE", 0), "INPUT.PHRASE.SIZE=0: it must be positive"),
        (("INPUT.PHRASE.PER_IMAGE", 0), "INPUT.PHRASE.PER_IMAGE=.*: it must be positive"),
        (("INPUT.PHRASE.MIN_VISIBLE", 1.5), "INPUT.PHRASE.MIN_VISIBLE=1.5: it must be in .0, 1"),
        (("INPUT.PHRASE.NEGATIVE_PROBABILITY", -0.1), "INPUT.PHRASE.NEGATIVE_PROBABILITY=-0.1: it must be in"),
        (("MODEL.REFERRING.TEXT_SHARE", 2.0), "MODEL.REFERRING.TEXT_SHARE=2.0: it must be in"),
        (("MODEL.REFERRING.DROPOUT", float("nan")), "MODEL.REFERRING.DROPOUT=nan: it must be in"),
        (("MODEL.REFERRING.FOCAL_ALPHA", -0.5), "FOCAL_ALPHA=-0.5: it must be in .0, 1., or -1"),
        (("MODEL.REFERRING.FOCAL_ALPHA", 1.01), "FOCAL_ALPHA=1.01"),
        (("MODEL.REFERRING.FOCAL_GAMMA", 0.5), "FOCAL_GAMMA=0.5: it must be at least 1, or 0"),
        (("MODEL.REFERRING.FOCAL_GAMMA", -1.0), "FOCAL_GAMMA=-1.0"),
        (("MODEL.REFERRING.LOSS", "bce+dise"), "MODEL.REFERRING.LOSS='bce\\+dise': cannot read 'dise'"),
        (("MODEL.REFERRING.LOSS", ""), "MODEL.REFERRING.LOSS='': cannot read ''"),
        (("MODEL.REFERRING.LOSS", "-1*bce"), r"MODEL.REFERRING.LOSS='-1\*bce'"),
        (("MODEL.REFERRING.THRESHOLD", 0.555), "MODEL.REFERRING.THRESHOLD: .*0.555 is not one of them"),
        (("MODEL.REFERRING.THRESHOLD", 1.0), "MODEL.REFERRING.THRESHOLD: "),
        (("DATASETS.TRAIN", ("tiny_engine_train",)), "'tiny_engine_train' is .* of classes, .* needs one of phrases"),
        (("DATASETS.TEST", ("tiny_phrases_val", "tiny_engine_val")), "'tiny_engine_val' is a dataset of classes"),
        (
            ("ZSSEG.SAMPLES.PERIOD", 2, "DATASETS.TEST", ()),
            "SAMPLES.PERIOD=2: it visualizes test samples, but DATASETS.TEST is empty",
        ),
        (("ZSSEG.SAMPLES.PERIOD", 2, "ZSSEG.SAMPLES.COUNT", 0), "SAMPLES.PERIOD=2: .*COUNT is 0"),
        (("SOLVER.IMS_PER_BATCH", 0), "IMS_PER_BATCH=.*: it must be positive"),
    ],
)
def test_contradictions_are_told(phrase_config, tiny_data, options, told):
    with pytest.raises(ConfigError, match=told):
        validate(phrase_config(*options))


@pytest.mark.parametrize(
    "options",
    [
        ("MODEL.REFERRING.FOCAL_ALPHA", 0.0),
        ("MODEL.REFERRING.FOCAL_ALPHA", -1.0),
        ("MODEL.REFERRING.FOCAL_GAMMA", 0.0),
        ("MODEL.REFERRING.THRESHOLD", 0.29),
        ("MODEL.REFERRING.LOSS", "0.5*bce + 2*focal+dice"),
        ("MODEL.REFERRING.TEXT_SHARE", 1.0),
    ],
)
def test_limits_are_allowed(phrase_config, options):
    validate(phrase_config(*options))


def test_an_evaluation_does_not_ask_about_training(phrase_config, tiny_data):
    validate(phrase_config("DATASETS.TRAIN", ("tiny_engine_train",)), eval_only=True)
    validate(phrase_config("ZSSEG.SAMPLES.PERIOD", 2, "ZSSEG.SAMPLES.COUNT", 0), eval_only=True)
    with pytest.raises(ConfigError, match="'tiny_engine_val' is a dataset of classes"):
        validate(phrase_config("DATASETS.TEST", ("tiny_engine_val",)), eval_only=True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("INPUT.DATASET_MAPPER_NAME", "phrase"),
            "DATASET_MAPPER_NAME=phrase: it needs MODEL.META_ARCHITECTURE ReferringSegmentor",
        ),
        (("DATASETS.TRAIN", ("tiny_phrases_train",)), "'tiny_phrases_train' is .* of phrases, .* needs one of classes"),
        (("DATASETS.TEST", ("tiny_phrases_val",)), "'tiny_phrases_val' is a dataset of phrases"),
        (("ZSSEG.SAMPLES.PERIOD", 5), "ZSSEG.SAMPLES.PERIOD=5: it is for phrases"),
    ],
)
def test_models_of_classes_have_nothing_to_do_with_phrases(make_config, phrase_data, options, told):
    with pytest.raises(ConfigError, match=told):
        validate(make_config(*options))


def test_the_number_of_classes_does_not_matter_to_phrases(phrase_config):
    check_weights_saw_no_labels(phrase_config("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 19), eval_only=False)
