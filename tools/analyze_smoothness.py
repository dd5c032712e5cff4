"""Do grey levels vary smoothly within an object, and differ across objects? Pairs of pixels and Welch's t-test.

    python tools/analyze_smoothness.py --dataset minicity_panoptic_val
    python tools/analyze_smoothness.py --dataset phrasecut_val --images 1000 --pairs 500 --seed 1

Pairs are drawn within one object and across two: once at the same distances (matched), once freely. Prints t, degrees of
freedom, the one-sided p, Cohen's d with its intervals, and what that does and does not show; smoothness.json and
smoothness.png go to --output (default: output/smoothness/<dataset>).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also from a clone that is not installed

import zsseg_d2  # noqa: E402, F401  (before Detectron2, which it makes importable)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="a registered panoptic or phrase data set")
    parser.add_argument(
        "--images", type=int, default=200, help="at most, evenly spread over the data set; default: 200"
    )
    parser.add_argument("--pairs", type=int, default=500, help="of each population and image; default: 500")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--things-only", action="store_true", help="leave out stuff such as sky and road")
    parser.add_argument("--output", type=Path, help="folder; default: output/smoothness/<dataset>")
    options = parser.parse_args(arguments)
    if options.images < 1 or options.pairs < 2:
        parser.error("--images must be 1 or more, --pairs 2 or more")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    from detectron2.data import DatasetCatalog

    from zsseg_d2.data import DatasetError
    from zsseg_d2.evaluation.smoothness.analysis import run_smoothness

    if options.dataset not in DatasetCatalog:
        print(f"There is no data set '{options.dataset}'; see datasets/README.md.", file=sys.stderr)
        return 2
    folder = options.output or Path("output", "smoothness", options.dataset)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = run_smoothness(
            options.dataset,
            folder,
            images=options.images,
            pairs=options.pairs,
            seed=options.seed,
            things_only=options.things_only,
        )
    except (DatasetError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
