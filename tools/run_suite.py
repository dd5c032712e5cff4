"""Run all methods of a suite file over its seeds, and write the table and the plots that compare them.

    python tools/run_suite.py configs/minicity/suite.yaml
    python tools/run_suite.py configs/minicity/suite.yaml --seeds 1 --only in_class naive --output output/try SOLVER.MAX_ITER 20
    python tools/run_suite.py configs/minicity/suite.yaml --list | --dry-run | --report
    python tools/run_suite.py configs/minicity/suite.yaml --executor slurm

Stopped by Ctrl-C or by a failed run, the same command goes on: finished runs are not run again, interrupted trainings
resume. Runs whose settings changed, and those that build on them, are run again; what they replace moves to old/ in the
suite's folder, and comes back with its settings. Results: results.md, results.json and plots/ in that folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the source tree beside this file, installed or not
os.environ.setdefault("DETECTRON2_DATASETS", str(ROOT / "datasets"))

import zsseg_d2  # noqa: E402, F401  (before Detectron2, which it makes importable)
from zsseg_d2 import experiments  # noqa: E402

if __name__ == "__main__":
    sys.exit(experiments.main(tools=Path(__file__).resolve().parent, description=__doc__))
