"""Segment what phrases say: overlays with scores, and the masks.

    python tools/segment.py --image street.jpg --phrase "red car" --phrase "people on the left" --output out.png
    python tools/segment.py --image *.jpg --phrase "bus" --output found/ --save-masks masks/
    python tools/segment.py --image a.jpg --phrase "bus" --output out.png \\
        --config-file configs/phrasecut/clipseg_rd64.yaml MODEL.WEIGHTS /path/to/clipseg-rd64-refined/model.safetensors

Without --config-file, the embedded mini model is used. It knows the drawn world of MiniPhrases only.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from zsseg_d2.cli.arguments import ArgumentParser, parse_with_options
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--image", required=True, nargs="+", help="one image, or several")
    parser.add_argument("--phrase", action="append", help="what to look for; may be given several times")
    parser.add_argument("--output", required=True, help="image to write (.png, .jpg); a folder for several images")
    parser.add_argument("--save-masks", metavar="FOLDER", help="also write the masks and the probabilities as PNG")
    parser.add_argument("--threshold", type=float, help="probability above which a pixel is in the mask: 0.01 .. 0.99")
    parser.add_argument(
        "--example", metavar="IMAGE", help="an image of what is meant, for models trained with image prompts"
    )
    parser.add_argument("--example-mask", metavar="PNG", help="white where --example shows it")
    args = parse_with_options(parser, argv, "image", "miniphrases/unet_vit.yaml with its embedded weights")
    if args.example_mask and not args.example:
        parser.error("--example-mask marks a region of --example; give that too")
    args.phrase_is_given = bool(args.phrase)
    if not args.phrase:
        if not args.example:
            parser.error("give at least one --phrase, or an --example")
        args.phrase = [Path(args.example).stem]
    if not args.image:
        parser.error("--image names no image")
    return args


@program(parse_arguments)
def main(args: argparse.Namespace) -> int:
    """Segment, and write the results."""
    from zsseg_d2.engine.prediction.phrase_segmentation import DEFAULT_CONFIG, run_segmenting

    args.config_file = args.config_file or [DEFAULT_CONFIG]
    return run_segmenting(args)
