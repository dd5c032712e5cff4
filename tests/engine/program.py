"""``tools/train_net.py`` for the tiny task: ``python -m tests.engine.program FOLDER [options of train_net]``."""

from __future__ import annotations

import sys
from pathlib import Path

import zsseg_d2  # noqa: F401  (stands in for the compiled part of detectron2)
from tests.engine import tiny_task
from zsseg_d2.cli.train_net import build_parser
from zsseg_d2.engine import run

FOLDER = Path(sys.argv[1])
for name, count in (("train", 5), ("val", 3)):
    tiny_task.register(f"tiny_engine_{name}", FOLDER / name, count)  # also in the processes that this one starts

if __name__ == "__main__":
    run(build_parser().parse_args(sys.argv[2:]))
