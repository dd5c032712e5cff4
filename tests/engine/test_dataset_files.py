"""Dataset files in configs and on the command line: where paths start, what adds up, and the number of classes."""

from __future__ import annotations

import argparse

import pytest
import yaml
from detectron2.data import DatasetCatalog

from tests.data.tiny_garden import YAML
from zsseg_d2.cli import make_pseudo_labels, predict, run_suite, train_net, wise_ft
from zsseg_d2.engine.config.packaged import config_root
from zsseg_d2.engine.config.setup import setup_cfg
from zsseg_d2.engine.errors import ConfigError

pytestmark = pytest.mark.usefixtures("only_old_families")


def setup(config, *options, **more):
    always = ("MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", "False")
    return setup_cfg(argparse.Namespace(config_file=config, opts=[*always, *options], **more))


def config_file(path, base, files):
    path.parent.mkdir(exist_ok=True)
    datasets = {"FILES": files, "TRAIN": ["garden_train"], "TEST": ["garden_val"]}
    path.write_text(yaml.safe_dump({"_BASE_": base, "DATASETS": datasets}))
    return str(path)


def test_paths_are_relative_to_the_config_and_add_up(tmp_path, garden, monkeypatch):
    for name in ("second", "third"):
        (garden.parent / f"{name}.yaml").write_text(YAML.replace("name: garden", f"name: {name}"))
    monkeypatch.chdir(tmp_path / "garden")
    below = config_file(
        tmp_path / "below" / "base.yaml", str(config_root() / "minicity/full_finetune.yaml"), "../garden/second.yaml"
    )
    above = config_file(tmp_path / "above.yaml", below, ["garden/garden.yaml", str(garden)])
    cfg = setup(above, "DATASETS.FILES", "['third.yaml', 'garden.yaml']")
    names = ("second", "garden", "third")
    assert [str(garden.parent / f"{name}.yaml") for name in names] == cfg.DATASETS.FILES
    assert {f"{name}_val" for name in names} <= set(DatasetCatalog.list())
    assert cfg.DATASETS.FILES[:2] == setup([below, above]).DATASETS.FILES
    (garden.parent / "fourth.yaml").write_text(YAML.replace("name: garden", "name: fourth"))
    other = tmp_path / "other.yaml"
    other.write_text("DATASETS: {FILES: [garden/fourth.yaml]}")
    assert [*cfg.DATASETS.FILES[:2], str(garden.parent / "fourth.yaml")] == setup([above, str(other)]).DATASETS.FILES
    written = tmp_path / "config.yaml"
    written.write_text(cfg.dump())
    monkeypatch.chdir("/")
    assert setup(str(written)).DATASETS.FILES == cfg.DATASETS.FILES


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (train_net, ["--config-file", "minicity/zero_shot.yaml"]),
        (make_pseudo_labels, ["--config-file", "minicity/zero_shot.yaml", "--configuration", "x"]),
        (wise_ft, ["--config-file", "minicity/zero_shot.yaml", "--zero-shot", "a", "--fine-tuned", "b"]),
        (run_suite, ["minicity/suite.yaml"]),
        (predict, ["a.png", "--output", "found", "--config-file", "minicity/zero_shot.yaml"]),
    ],
)
def test_dataset_on_the_command_line(program, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = program.parse_arguments([*words, "--dataset", "a.yaml", "b.yml", "--dataset", "/c.yaml", "SEED", "3"])
    options = args.options if program is run_suite else args.opts
    pairs = dict(zip(options[::2], options[1::2]))
    assert len(options) == 4 and pairs.pop("SEED") == "3"
    assert pairs == {"DATASETS.FILES": str([str(tmp_path / "a.yaml"), str(tmp_path / "b.yml"), "/c.yaml"])}
    assert program is run_suite or args.config_file == ["minicity/zero_shot.yaml"]
    assert program is not predict or args.images == ["a.png"]


@pytest.mark.parametrize(
    ("config", "options", "count"),
    [
        ("minicity/zero_shot.yaml", (), 38),  # of the pre-training
        ("minicity/full_finetune.yaml", (), 19),
        ("cityscapes/zero_shot.yaml", (), 133),
        ("minicity/full_finetune.yaml", ("DATASETS.TRAIN", "('garden_train_no_vehicles',)"), 7),
        (
            "minicity/full_finetune.yaml",
            ("DATASETS.TRAIN", "()", "DATASETS.TEST", "('garden_val',)", "ZSSEG.SEEN_CLASSES", "pretraining"),
            38,
        ),
    ],
)
def test_the_number_of_classes_follows_from_the_data(garden, config, options, count):
    cfg = setup(config, "DATASETS.FILES", str(garden), *options, eval_only=True)
    assert count == cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    same = setup(
        config, "DATASETS.FILES", str(garden), *options, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", str(count), eval_only=True
    )
    assert count == same.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    with pytest.raises(ConfigError, match=f"NUM_CLASSES is 20, but .* has {count} classes. Fix: leave the key out"):
        setup(config, "DATASETS.FILES", str(garden), *options, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "20", eval_only=True)


def test_mistakes(garden, tmp_path):
    copy = garden.with_name("copy.yaml")
    copy.write_text(YAML)
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    for value, told in (
        (str(tmp_path / "no.yaml"), r"DATASETS.FILES: .*no.yaml: there is no such dataset file"),
        ("[3]", r"DATASETS.FILES=\[3\]: it must be a list of names"),
        ("{}", "^DATASETS"),
        (r"'a\x00b.yaml'", "it must be a list of names of YAML files"),
        ("'~nobody-of-this-name/a.yaml'", "~nobody-of-this-name/a.yaml: there is no such dataset file"),
        (str(loop), "loop.yaml"),
        (str([str(garden), str(copy)]), "is registered already by .*garden.yaml"),
    ):
        with pytest.raises(ConfigError, match=told) as stop:
            setup("minicity/zero_shot.yaml", "DATASETS.FILES", value, eval_only=True)
        assert "\n" not in str(stop.value)
