"""Render the embedded datasets: MiniCity (Cityscapes layout) and MiniWorld (COCO panoptic format).

python tools/make_minicity.py --root datasets
python tools/make_minicity.py --root datasets --split test
python tools/make_minicity.py --world pretraining --preview sheet.png
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program

WORLDS = ("city", "pretraining")
EXTRA = ("val_large", "test")


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    default_root = os.environ.get("DETECTRON2_DATASETS", "datasets")
    parser.add_argument(
        "--root", type=Path, default=Path(default_root), help="default: $DETECTRON2_DATASETS or ./datasets"
    )
    parser.add_argument("--world", choices=[*WORLDS, "both"], default="city")
    parser.add_argument("--train", type=int, help="training images (default: 300, pretraining 1000)")
    parser.add_argument("--val", type=int, help="validation images (default: 50, pretraining 100)")
    parser.add_argument(
        "--split",
        choices=EXTRA,
        help="write this split of MiniCity (150 images) in place of train and val; its first use makes it, too",
    )
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-workers", type=int, help="processes (default: one a usable core)")
    parser.add_argument(
        "--preview", type=Path, metavar="PNG", help="write only a contact sheet of images and their objects"
    )
    arguments = parser.parse_args(argv)
    if arguments.split and (arguments.world != "city" or arguments.train is not None or arguments.val is not None):
        parser.error("--split is of MiniCity and has its own number of images: leave out --world, --train and --val.")
    return arguments


@program(parse_arguments)
def main(arguments: argparse.Namespace) -> int:
    """Render the chosen datasets."""
    from zsseg_d2.data.synthetic import CITY, PRETRAINING, write_minicity, write_minicity_split, write_miniworld
    from zsseg_d2.data.synthetic.sheet import contact_sheet

    worlds = {"city": (CITY, write_minicity), "pretraining": (PRETRAINING, write_miniworld)}
    chosen = list(WORLDS) if arguments.world == "both" else [arguments.world]
    size = {"height": arguments.height, "width": arguments.width}
    if arguments.split:
        worlds["city"] = CITY, partial(write_minicity_split, split=arguments.split)
    numbers = {k: v for k in ("train", "val") if (v := getattr(arguments, k)) is not None}
    for name in chosen:
        world, write = worlds[name]
        try:
            if arguments.preview:
                path = arguments.preview
                if len(chosen) > 1:
                    path = path.with_stem(f"{path.stem}_{name}")
                first = arguments.seed * 1_000_000
                contact_sheet(world, range(first, first + 12), **size).save(path)
            else:
                path = write(arguments.root, **numbers, **size, seed=arguments.seed, num_workers=arguments.num_workers)
        except KeyboardInterrupt:
            print("interrupted: nothing was left behind", file=sys.stderr)
            return 130
        print(path)
    return 0
