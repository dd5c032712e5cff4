"""The real model at a real size: it runs on a CPU, in memory that a laptop has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_r50_zero_shot_at_512_by_1024_in_less_than_4_gb():
    command = [sys.executable, "tools/benchmark.py", "--config-file", "configs/cityscapes/zero_shot_r50.yaml", "--repeat", "1"]
    command += ["--height", "512", "--width", "1024", "--json", "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["map_size"] == [512, 1024] and report["queries"] == 250 and report["segments"] > 0
    assert report["peak_memory_gb"] < 4
