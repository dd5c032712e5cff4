"""The cost of each method's step can be measured; how long it takes is the benchmark's to say, not a test's."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "benchmark_methods.py"
_SPEC = importlib.util.spec_from_file_location("benchmark_methods_tool", _SCRIPT)
tool = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tool)


def test_every_method_is_measured_beside_a_single_model(capsys, monkeypatch):
    monkeypatch.setattr(tool, "_peak", lambda words, method: {"single model": 1.0}.get(method, 1.5))
    tool.main(["--json", "--repeat", "2", "--batch", "1", "--height", "64", "--width", "64", "MODEL.DEVICE", "cpu"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(report["methods"]) == list(tool.METHODS) and report["size"] == [1, 3, 64, 64]
    for name, row in report["methods"].items():
        assert 0 < row["spread"][0] <= row["seconds"] <= row["spread"][1] and row["ratio"] > 0
        assert row["memory_ratio"] == (1.0 if name == "single model" else 1.5)


def test_unknown_methods_and_keys_are_refused(capsys):
    with pytest.raises(SystemExit):
        tool.main(["--methods", "magic", "--"])
    assert "invalid choice: 'magic'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="Unknown config key"):
        tool.main(["MODEL.MAGIC", "1"])
