"""The real model at a real size: it runs on a CPU, in memory that a laptop has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


PROGRAM = """
import argparse, json
from zsseg_d2.engine.benchmark import measure
from zsseg_d2.engine.benchmark.rows import make_form
from zsseg_d2.process import keep_freed_memory

keep_freed_memory()  # as the programs do
args = argparse.Namespace(config_file=[], opts=[], batch=1, device="cpu")
infer = make_form("inference-512", "fast", args)
with measure._Operations() as counter:
    ids, segments = infer()["panoptic_seg"]
found = {"size": list(ids.shape), "segments": len(segments), "operations": counter.total}
print(json.dumps({**found, "memory_gb": measure.memory_gb("VmHWM")}))
"""


def test_r50_zero_shot_at_512_by_1024_in_less_than_3_gb():
    """In a process of its own, whose peak memory is that of the model."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["size"] == [512, 1024] and found["segments"] > 0 and found["operations"] > 2e11
    assert 0.5 < found["memory_gb"] < 3
