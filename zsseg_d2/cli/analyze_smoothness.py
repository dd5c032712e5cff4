"""Do grey levels vary smoothly within an object, and differ across objects? Pairs of pixels and Welch's t-test.

    python tools/analyze_smoothness.py --dataset minicity_panoptic_val
    python tools/analyze_smoothness.py --dataset phrasecut_val --images 1000 --pairs 500 --seed 1

Pairs are drawn within one object and across two: once at the same distances (matched), once freely. Prints t, degrees
of freedom, the one-sided p, Cohen's d with its intervals, and what that does and does not show; smoothness.json and
smoothness.png go to --output (default: output/smoothness/<dataset>).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.image_arguments import add_image_rules, image_rules
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--dataset", required=True, help="a registered panoptic or phrase dataset")
    parser.add_argument("--images", type=int, default=200, help="at most, evenly spread over the dataset; default: 200")
    parser.add_argument("--pairs", type=int, default=500, help="of each population and image; default: 500")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--things-only", action="store_true", help="without stuff such as sky and road")
    add_image_rules(parser)
    parser.add_argument("--output", type=Path, help="folder; default: output/smoothness/<dataset>")
    options = parser.parse_args(argv)
    if options.images < 1 or options.pairs < 2:
        parser.error("--images must be 1 or more, --pairs 2 or more")
    return options


@program(parse_arguments)
def main(options: argparse.Namespace) -> int:
    """Measure, print and plot."""
    from detectron2.data import DatasetCatalog

    from zsseg_d2.evaluation.smoothness.analysis import run_smoothness
    from zsseg_d2.folder_lock import writing

    if options.dataset not in DatasetCatalog:
        print(f"error: There is no dataset '{options.dataset}'. Fix: see datasets/README.md", file=sys.stderr)
        return 2
    folder = options.output or Path("output", "smoothness", options.dataset)
    with writing(folder, "analyze_smoothness.py"):
        text = run_smoothness(
            options.dataset,
            folder,
            images=options.images,
            pairs=options.pairs,
            seed=options.seed,
            things_only=options.things_only,
            rules=image_rules(options),
        )
    print(text)
    return 0
