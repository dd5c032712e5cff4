"""The cost of each method's step can be measured; how long it takes is the benchmark's to say, not a test's."""

from __future__ import annotations

import argparse
import json

import pytest

from tests.tiny import record_taught
from zsseg_d2.cli import benchmark_methods as tool


@pytest.mark.parametrize(
    ("options", "methods"),
    [([], ["mean teacher", "EWC"]), (["--inference"], ["per-image interpolation"])],
)
def test_methods_are_measured_against_a_single_model(options, methods, capsys):
    words = [*options, "--methods", *methods, "--json", "--repeat", "2", "--batch", "1"]
    tool.main([*words, "--height", "64", "--width", "64", "MODEL.DEVICE", "cpu"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(report["methods"]) == ["single model", *methods] and report["size"] == [1, 3, 64, 64]
    for name, row in report["methods"].items():
        assert 0 < row["spread"][0] <= row["seconds"] <= row["spread"][1] and row["ratio"] > 0
        assert row["memory_gb"] > 0 and (row["ratio"] == row["memory_ratio"] == 1) == (name == "single model")


def test_unknown_methods_and_keys_are_refused(capsys):
    with pytest.raises(SystemExit):
        tool.main(["--methods", "magic", "--"])
    assert "invalid choice: 'magic'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="Unknown config key"):
        tool.main(["MODEL.MAGIC", "1"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--inference", "--methods", "replay"], "--methods: 'replay' infers as a single model does; choose from"),
        (["--methods", "naive intersection"], "--methods: 'naive intersection' has no training step; choose from"),
    ],
)
def test_a_method_that_cannot_be_timed_so_is_refused(words, told, capsys):
    with pytest.raises(SystemExit):
        tool.parse_arguments([*words, "--"])
    assert told in capsys.readouterr().err


def test_a_training_that_deletes_nothing_teaches_nothing():
    words = ["--config-file", "configs/minicity/full_finetune.yaml", "--methods", "mean teacher"]
    with pytest.raises(SystemExit, match="mean teacher: DATASETS.TRAIN=.* deletes no class"):
        tool.main(words)


def test_all_methods_of_a_kind_are_the_default():
    assert tool.parse_arguments([]).methods == list(tool.METHODS)
    assert tool.parse_arguments(["--inference"]).methods == list(tool.INFERENCE)


def test_what_a_teacher_teaches_is_timed(monkeypatch):
    """Of random weights on noise, too, a mean teacher makes targets in every image."""
    found = record_taught(monkeypatch)
    args = argparse.Namespace(config_file=["minicity/in_class_finetune.yaml"], opts=[], inference=False)
    args.height, args.width, args.batch = 64, 96, 2
    tool.make_work("mean teacher", args)()
    assert len(found) == 2 and min(found) > 0
