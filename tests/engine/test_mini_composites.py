"""The embedded net of composites is made by one command."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.tiny_composites import options, write_parts
from zsseg_d2.cli import train_mini_composites


def test_one_command_trains_exports_and_records(tmp_path, capsys):
    parts, output = write_parts(tmp_path / "parts"), tmp_path / "weights" / "mini.safetensors"
    output.parent.mkdir()
    record = output.parent / "provenance.json"
    record.write_text("{}")
    words = ["--output", str(output), *options(parts, tmp_path / "out")]
    train_mini_composites.main(words)
    first = output.read_bytes()
    trained = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)["model"]
    written = load_file(output)
    assert trained.keys() == written.keys() and len(written) > 60
    assert all(torch.equal(written[name], value.half()) for name, value in trained.items())
    steps = json.loads(record.read_text())
    own = steps[hashlib.sha256(first).hexdigest()]
    assert own["program"] == "export_weights"
    assert steps[own["parents"][0]]["datasets"] == [{"name": "composites_train", "classes": [], "labeled": []}]

    (tmp_path / "out" / "model_final.pth").touch()
    before = (tmp_path / "out" / "model_final.pth").stat().st_mtime_ns
    train_mini_composites.main(words)  # nothing is left to train
    assert output.read_bytes() == first and (tmp_path / "out" / "model_final.pth").stat().st_mtime_ns == before


def test_an_output_of_another_kind_is_told_before_the_training(tmp_path):
    with pytest.raises(SystemExit, match="must end in .safetensors"):
        train_mini_composites.main(["--output", str(tmp_path / "mini.pth"), "OUTPUT_DIR", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
