"""Render the embedded dataset of phrases, in the layout of VGPhraseCut_v0.

    python tools/make_miniphrases.py --root datasets
    python tools/make_miniphrases.py --preview sheet.png

Training and evaluation render it at the first use.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    default_root = os.environ.get("DETECTRON2_DATASETS") or "datasets"
    parser.add_argument(
        "--root", type=Path, default=Path(default_root), help="default: $DETECTRON2_DATASETS or ./datasets"
    )
    parser.add_argument("--train", type=int, default=1000, help="training images")
    parser.add_argument("--val", type=int, default=60, help="validation images, without miniv")
    parser.add_argument("--test", type=int, default=100, help="test images")
    parser.add_argument("--miniv", type=int, default=10, help="images of the small split for trying things out")
    parser.add_argument("--side", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-workers", type=int, help="processes; default: one a usable core")
    parser.add_argument(
        "--preview", type=Path, metavar="PNG", help="write only a sheet of images with phrases and masks"
    )
    return parser.parse_args(argv)


@program(parse_arguments)
def main(args: argparse.Namespace) -> int:
    """Render the dataset, or a sheet of its images."""
    from zsseg_d2.data.synthetic import write_miniphrases
    from zsseg_d2.data.synthetic.phrase_sheet import phrase_sheet

    numbers = {key: getattr(args, key) for key in ("train", "val", "test", "miniv", "side", "seed", "num_workers")}
    try:
        if args.preview is None:
            print(write_miniphrases(args.root, **numbers))
        else:
            phrase_sheet(args.seed, args.side).save(args.preview)
            print(args.preview)
    except KeyboardInterrupt:
        print("interrupted: nothing was left behind", file=sys.stderr)
        return 130
    return 0
