"""Run all methods of a suite over several seeds, and compare them: the same as ``zsseg-d2 run-suite``; see --help."""

import os
from pathlib import Path

from _console import run

if __name__ == "__main__":
    os.environ.setdefault("DETECTRON2_DATASETS", str(Path(__file__).resolve().parents[1] / "datasets"))
    run("run-suite")
