"""The real model at a real size: it runs on a CPU, in memory that a laptop has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_r50_zero_shot_at_512_by_1024_in_less_than_3_gb():
    command = [sys.executable, "tools/benchmark.py", "--rows", "inference-512", "--no-plain", "--repeat", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["rows"]["inference-512"]
    assert row["map_size"] == [512, 1024] and row["segments"] > 0
    assert row["operations"] > 2e11 and row["limit_seconds"] > 0
    assert row["memory_gb"] < 3 and row["seconds"] > 0
