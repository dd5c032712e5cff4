"""Run all methods of a suite file over its seeds, and write the table and the plots that compare them.

    python tools/run_suite.py configs/minicity/suite.yaml
    python tools/run_suite.py configs/minicity/suite.yaml --seeds 1 --only in_class naive SOLVER.MAX_ITER 20
    python tools/run_suite.py configs/minicity/suite.yaml --list | --dry-run | --report

After Ctrl-C or a failed run, the same command continues: finished runs are not run again, interrupted trainings resume.
Runs whose settings changed, and those that build on them, are run again; what they replace moves to old/ in the suite's
folder, and comes back with its settings. Results: results.md, results.json and plots/ in that folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zsseg_d2.cli.arguments import ArgumentParser, dataset_options
from zsseg_d2.cli.program import program
from zsseg_d2.cli.scripts import scripts_folder


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line.

    Returns:
        ``suite``, ``only``, ``seeds`` (whole numbers or None), ``jobs``, ``output``, ``overwrite``, ``dry_run``,
        ``report``, ``list``, ``executor``, ``profile``, ``options`` (the KEY VALUE words), ``for_snakemake``, and what
        every program has.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    words, for_snakemake = words[:end], words[end + 1 :]
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("suite", help="a suite file, or its name among the packaged ones, such as minicity/suite.yaml")
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="config options for every run")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these runs, and those that they need")
    parser.add_dataset_argument()
    parser.add_argument("--seeds", nargs="+", metavar="N", help="in place of the suite file's")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="runs at the same time; default: one a GPU, or as cores and memory allow; on a cluster, all",
    )
    parser.add_argument("--output", help="folder of all results, in place of the suite file's")
    overwrite = "do the chosen runs again, finished or not, and replace what they made elsewhere (pseudo-labels)"
    parser.add_argument("--overwrite", action="store_true", help=overwrite)
    parser.add_argument(
        "--tool",
        dest="tools",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a Python program of your own that the suite file calls NAME; may be repeated",
    )
    parser.add_argument(
        "--executor", metavar="NAME", help="of Snakemake, such as slurm: where jobs run (docs/clusters.md)"
    )
    parser.add_argument("--profile", metavar="NAME", help="of Snakemake: settings of a cluster, from a file")
    snakemake = "Words after -- are Snakemake's, such as -- --default-resources slurm_account=me runtime=120"
    parser.epilog = f"{snakemake}\n{parser.epilog}"
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="print the commands that are left to do")
    what.add_argument("--list", action="store_true", help="print the runs and how far they are")
    what.add_argument("--report", action="store_true", help="only write tables and plots, from what is there")
    # Options of an executor, such as --slurm-account=me, may also be given without --.
    executor = next((after for word, after in zip(words, words[1:]) if word == "--executor"), None)
    own = [word for word in words if not (executor and word.startswith(f"--{executor}-") and "=" in word)]
    args = parser.parse_intermixed_args(own)
    args.for_snakemake = [*(word for word in words if word not in own), *for_snakemake]
    # `--only a b SOLVER.MAX_ITER 3`: config keys are in capitals, names of runs and seeds are not.
    for name in ("only", "seeds"):
        listed = getattr(args, name) or []
        key = next((word for word in listed if word.split(".")[0].isupper()), None)
        names = listed if key is None else listed[: listed.index(key)]
        setattr(args, name, names or None)
        args.options += listed[len(names) :]
    args.options += dataset_options(args.dataset)
    try:
        args.seeds = [int(seed) for seed in args.seeds] if args.seeds else None
    except ValueError:
        parser.error(f"--seeds must be whole numbers, but are {' '.join(args.seeds)}.")
    return args


@program(parse_arguments)
def main(args: argparse.Namespace, *, tools: Path | None = None) -> int:
    """Run a suite, and return the exit status."""
    from zsseg_d2.experiments.program import run_suite

    return run_suite(args, tools or scripts_folder())
