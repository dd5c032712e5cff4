"""Several config files merged in order, tower overlays, references between keys, and former names."""

from __future__ import annotations

import argparse
import logging
import re

import pytest

from zsseg_d2.engine.checkpoints.sources import local_weights
from zsseg_d2.engine.config.packaged import config_root, find_config, find_configs, packaged_configs, packaged_towers
from zsseg_d2.engine.config.setup import setup_cfg
from zsseg_d2.engine.config.yaml_files import read_yaml
from zsseg_d2.engine.errors import CheckpointError, ConfigError

METHODS = [
    name for name in packaged_configs() if name.startswith("cityscapes/") and name != "cityscapes/auto_vocabulary.yaml"
]
CLIPS = {  # tower: (open_clip name, pre-training, width, masks that are empty at stride 32 keep the decoder's score)
    "r50": ("RN50-quickgelu", "openai", 1024, True),
    "r101": ("RN101-quickgelu", "openai", 512, True),
    "convnext_large": ("convnext_large_d_320", "laion2b_s29b_b131k_ft_soup", 768, False),
}
ONE_MODEL = (
    *("FCCLIP", "AnchoredFCCLIP", "ElasticFCCLIP", "FrozenQueriesFCCLIP", "LowRankFCCLIP", "MeanTeacherFCCLIP"),
)
FCCLIP = {"r50": "fcclip_cocopan_r50.pth", "r101": "fcclip_cocopan_r101.pth", "convnext_large": "fcclip_cocopan.pth"}


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, logger="zsseg_d2")
    return lambda: [record.getMessage() for record in caplog.records]


def setup(files, *opts):
    return setup_cfg(argparse.Namespace(config_file=files, opts=[str(o) for o in opts]), check=False)


def test_files_merge_in_order_and_options_over_them(tmp_path):
    (tmp_path / "a.yaml").write_text("SOLVER: {MAX_ITER: 1, BASE_LR: 0.5, GAMMA: 0.3}")
    (tmp_path / "b.yaml").write_text("SOLVER: {BASE_LR: 0.25, GAMMA: 0.2}")
    solver = setup([tmp_path / "a.yaml", tmp_path / "b.yaml"], "SOLVER.GAMMA", 0.1).SOLVER
    assert (solver.MAX_ITER, solver.BASE_LR, solver.GAMMA) == (1, 0.25, 0.1)
    assert setup([tmp_path / "b.yaml", tmp_path / "a.yaml"]).SOLVER.BASE_LR == 0.5


@pytest.mark.parametrize("tower", CLIPS)
@pytest.mark.parametrize("name", METHODS)
def test_a_former_name_gives_method_and_tower(name, tower, warnings):
    """As the files of former versions, one a method and tower, had it."""
    stem = name.removesuffix(".yaml")
    cfg = setup(f"configs/{stem}_{tower}.yaml")
    files = f"configs/{name}" + ("" if tower == "r50" else f" configs/towers/{tower}.yaml")
    assert any(message.endswith(f"use --config-file {files}") for message in warnings())
    assert setup(files.split()) == cfg
    clip = cfg.MODEL.FC_CLIP
    found = clip.CLIP_MODEL_NAME, clip.CLIP_PRETRAINED_WEIGHTS, clip.EMBED_DIM, clip.ENSEMBLE_ON_VALID_MASK
    assert found == CLIPS[tower]
    assert f"output/{stem}_{tower}" == cfg.OUTPUT_DIR
    start, z = f"weights/{FCCLIP[tower]}", cfg.ZSSEG
    weights = cfg.MODEL.WEIGHTS, z.MODEL_ONE.WEIGHTS, z.MODEL_TWO.WEIGHTS, z.DISTILLATION.TEACHER_WEIGHTS
    in_class = f"output/cityscapes/in_class_finetune_{tower}/model_final.pth"
    expected = {
        "CombinedFCCLIP": ("", start, start, ""),
        **dict.fromkeys(("NaiveIntersection", "InterpolatedFCCLIP"), ("", start, in_class, "")),
        "DistilledFCCLIP": (start, "", "", start),
        **dict.fromkeys(ONE_MODEL, (start, "", "", "")),
    }
    assert weights == expected[cfg.MODEL.META_ARCHITECTURE]


def test_a_former_name_of_several_files_is_not_one(warnings):
    two = [config_root() / "cityscapes/naive.yaml", config_root() / "towers/r101.yaml"]
    assert find_configs(["cityscapes/naive_r101.yaml"]) == two
    assert find_config("cityscapes/naive_r50.yaml") == two[0]
    with pytest.raises(ConfigError, match="name them in this order: .*naive.yaml .*r101.yaml"):
        find_config("cityscapes/naive_r101.yaml")
    assert find_config("cityscapes/suite_r50.yaml").name == "suite_r50.yaml"
    with pytest.raises(ConfigError, match="There is no config file"):
        find_config("minicity/zero_shot_r50.yaml")


def test_a_base_may_have_a_former_name(tmp_path):
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {config_root()}/cityscapes/zero_shot_r101.yaml\nSEED: 5")
    assert read_yaml(tmp_path / "mine.yaml")["MODEL"]["FC_CLIP"]["CLIP_MODEL_NAME"] == "RN101-quickgelu"
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {config_root()}/_clip_mini.yaml")
    assert setup(tmp_path / "mine.yaml").MODEL.FC_CLIP.CLIP_MODEL_NAME == "mini_rn"


@pytest.mark.parametrize("tower", packaged_towers())
def test_every_tower_names_itself_and_its_weights(tower):
    cfg = setup(["cityscapes/full_finetune.yaml", tower])
    stem = tower.removeprefix("towers/").removesuffix(".yaml")
    assert stem == cfg.ZSSEG.TOWER.NAME and f"output/cityscapes/full_finetune_{stem}" == cfg.OUTPUT_DIR
    assert cfg.ZSSEG.TOWER.WEIGHTS == cfg.MODEL.WEIGHTS != ""
    assert f"configs/{tower}" in (config_root() / tower).read_text()


def test_a_tower_on_a_config_of_the_mini_model_gives_the_full_model_and_a_folder_of_its_own():
    cfg, mini = setup(["minicity/full_finetune.yaml", "towers/r50.yaml"]), setup("minicity/full_finetune.yaml")
    full = setup("cityscapes/full_finetune.yaml")
    assert (mini.OUTPUT_DIR, cfg.OUTPUT_DIR) == ("output/minicity/full_finetune", "output/minicity/full_finetune_r50")
    for node in (cfg, full):  # these two are of the data and the recipe
        node.defrost()
        node.MODEL.MASK_FORMER.TRAIN_NUM_POINTS = 0
    assert cfg.MODEL == full.MODEL != mini.MODEL
    assert cfg.INPUT == mini.INPUT and cfg.ZSSEG.PRETRAINING_VOCABULARY == "coco_panoptic"


def test_an_output_folder_that_is_given_stays():
    given = setup(["minicity/zero_shot.yaml", "towers/r50.yaml"], "OUTPUT_DIR", "output/mine").OUTPUT_DIR
    assert given == "output/mine"


def test_references_take_the_last_value(tmp_path):
    (tmp_path / "x.yaml").write_text("OUTPUT_DIR: output/${ZSSEG.TOWER.NAME}_${SEED}\nZSSEG: {TOWER: {NAME: a}}")
    assert setup(tmp_path / "x.yaml", "ZSSEG.TOWER.NAME", "b", "SEED", 3).OUTPUT_DIR == "output/b_3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OUTPUT_DIR: x_${ZSSEG.TOWER.NAMES}", "OUTPUT_DIR: unknown config key .*Did you mean ZSSEG.TOWER.NAME"),
        ("OUTPUT_DIR: x_${OUTPUT_DIR}", "OUTPUT_DIR: .*is a reference itself"),
    ],
)
def test_bad_references_are_refused(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        setup(tmp_path / "x.yaml")


def test_former_keys_work_in_files_and_options(tmp_path, warnings):
    (tmp_path / "x.yaml").write_text("ZSSEG: {PICTURES: 3}")
    assert setup(tmp_path / "x.yaml").ZSSEG.VIS_IMAGES == 3
    assert setup("", "ZSSEG.PICTURES", 4).ZSSEG.VIS_IMAGES == 4
    assert warnings() == ["The config key ZSSEG.PICTURES is now ZSSEG.VIS_IMAGES."] * 2
    (tmp_path / "x.yaml").write_text("ZSSEG: {VIS_IMAGES: 5, PICTURES: 3}")
    assert setup(tmp_path / "x.yaml").ZSSEG.VIS_IMAGES == 5


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("output/cityscapes/in_class_finetune_r101/model_final.pth", ["cityscapes/in_class_finetune", "towers/r101"]),
        ("output/minicity/in_class_finetune/model_final.pth", ["minicity/in_class_finetune"]),
        ("output/minicity/in_class_finetune_r50/model_final.pth", ["minicity/in_class_finetune", "towers/r50"]),
    ],
)
def test_missing_weights_name_the_training_that_makes_them(path, files):
    command = "python tools/train_net.py --config-file " + " ".join(f"configs/{name}.yaml" for name in files)
    with pytest.raises(CheckpointError, match=f"`{re.escape(command)}`"):
        local_weights(path)
    with pytest.raises(CheckpointError, match="Model Zoo"):
        local_weights("output/cityscapes/nothing_r101/model_final.pth")
