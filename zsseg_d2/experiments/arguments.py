"""The command line of ``tools/run_suite.py``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..engine.errors import ConfigError


def parse_arguments(words: Sequence[str] | None, description: str) -> argparse.Namespace:
    """Read the command line.

    Args:
        words: the words of the command line; None: those of this process.

    Returns:
        ``suite``, ``only``, ``seeds`` (whole numbers or None), ``jobs``, ``output``, ``overwrite``, ``dry_run``,
        ``report``, ``list``, ``executor``, ``profile``, ``options`` (the KEY VALUE words) and ``for_snakemake``.
    Raises:
        ConfigError: a seed that is not a number.
    """
    words = list(sys.argv[1:] if words is None else words)
    end = words.index("--") if "--" in words else len(words)
    words, for_snakemake = words[:end], words[end + 1 :]
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", help="a suite file, or its name among the packaged ones, such as minicity/suite.yaml")
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="config options for every run")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these runs, and those that they need")
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
        "--executor", metavar="NAME", help="of Snakemake, such as slurm: where jobs run (docs/clusters.md)"
    )
    parser.add_argument("--profile", metavar="NAME", help="of Snakemake: settings of a cluster, from a file")
    parser.epilog = "Words after -- are Snakemake's, such as -- --default-resources slurm_account=me runtime=120"
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
    try:
        args.seeds = [int(seed) for seed in args.seeds] if args.seeds else None
    except ValueError:
        raise ConfigError(f"--seeds must be whole numbers, but are {' '.join(args.seeds)}.") from None
    return args
