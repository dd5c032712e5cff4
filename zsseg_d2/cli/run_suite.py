"""Run all methods of a suite file over its seeds, and write the table and the plots that compare them.

    python tools/run_suite.py configs/minicity/suite.yaml
    python tools/run_suite.py configs/minicity/suite.yaml --seeds 1 --only in_class naive SOLVER.MAX_ITER 20
    python tools/run_suite.py configs/minicity/suite.yaml --list | --dry-run | --report

After Ctrl-C or a failed run, the same command continues: finished runs are not run again, interrupted trainings resume.
Runs whose settings changed, and those that build on them, are run again; what they replace moves to old/ in the suite's
folder, and comes back with its settings. Results: results.md, results.json and plots/ in that folder.
"""

from __future__ import annotations

from collections.abc import Sequence

from zsseg_d2.cli.scripts import scripts_folder


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a suite, and return the exit status."""
    from zsseg_d2 import experiments

    return experiments.main(argv, tools=scripts_folder(), description=__doc__ or "")
