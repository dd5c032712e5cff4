"""The command line of ``tools/run_suite.py``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..errors import ConfigError


def parse_arguments(words: Sequence[str] | None, description: str) -> argparse.Namespace:
    """
    Args:
        words: None: of this process.
    Returns:
        ``suite``, ``only``, ``seeds`` (whole numbers or None), ``jobs``, ``output``, ``overwrite``, ``dry_run``,
        ``report``, ``list`` and ``options``, the KEY VALUE words.
    Raises:
        ConfigError: a seed that is no number.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", help="a suite file, or its name among the packaged ones, such as minicity/suite.yaml")
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="config options for every run")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these runs, and those that they need")
    parser.add_argument("--seeds", nargs="+", metavar="N", help="in place of the suite file's")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs side by side; default: one a GPU, or as cores and memory allow")
    parser.add_argument("--output", help="folder of all results, in place of the suite file's")
    overwrite = "do the chosen runs again, finished or not, and replace what they made elsewhere (pseudo-labels)"
    parser.add_argument("--overwrite", action="store_true", help=overwrite)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="print the commands that are left to do")
    what.add_argument("--list", action="store_true", help="print the runs and how far they are")
    what.add_argument("--report", action="store_true", help="only write tables and plots, from what is there")
    args = parser.parse_intermixed_args(words)
    # `--only a b SOLVER.MAX_ITER 3`: config keys are in capitals, names of runs and seeds are not.
    for name in ("only", "seeds"):
        listed = getattr(args, name) or []
        names, options = split_options(listed)
        setattr(args, name, names or None)
        args.options += options
    try:
        args.seeds = [int(seed) for seed in args.seeds] if args.seeds else None
    except ValueError:
        raise ConfigError(f"--seeds must be whole numbers, but are {' '.join(args.seeds)}.") from None
    return args


def split_options(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words up to the first that looks like a config key, and those from it on."""
    first = next((k for k, word in enumerate(words) if word.split(".")[0].isupper()), len(words))
    return list(words[:first]), list(words[first:])
