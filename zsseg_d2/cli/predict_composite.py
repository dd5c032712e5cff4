"""Find the object that was pasted into a picture, given the background: mask, depth and the object cut out.

    python tools/predict_composite.py --image picture.png --background background.png --output found/
    python tools/predict_composite.py --image a.png b.png --background scene.png --output found/

One background serves all pictures, or each has its own. For each picture, --output receives <name>_mask.png (white is
the object), <name>_cutout.png (RGBA) and <name>_depth.png (16 bits; unit and direction are in depth.json), called
<name>_relative_depth.png where there are no metres. Without --config-file, the embedded small net is used, which knows
the drawn scenes of the embedded composites only.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsseg_d2.cli.arguments import ArgumentParser, split_options
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--image", required=True, nargs="+", help="pictures with a pasted object")
    parser.add_argument("--background", nargs="+", default=[], help="the picture without it: one for all, or one each")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the results are written")
    parser.add_argument(
        "--config-file",
        action="append",
        metavar="FILE",
        help="default: composites/unet_small.yaml with its embedded weights; several merge in order",
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys, at the end")
    args = parser.parse_intermixed_args(argv)
    for name in ("image", "background"):
        words, moved = split_options(getattr(args, name))
        setattr(args, name, words)
        args.opts = moved + args.opts
    if len(args.background) not in (0, 1, len(args.image)):
        parser.error(f"{len(args.image)} images need one --background, or one each; there are {len(args.background)}")
    return args


@program(parse_arguments)
def main(args: argparse.Namespace) -> int:
    """Predict, and write the results."""
    from zsseg_d2.engine.prediction.composites import run_composites

    return run_composites(args)
