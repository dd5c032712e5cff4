"""Find the segments of any words in images and videos: overlays, and panoptic maps in COCO's format.

    python tools/predict.py street.jpg --words "road, sidewalk, car|cars|automobile, sky" --output found
    python tools/predict.py photos/ "more/*.jpg" --words words.txt --output found --instances --csv
    python tools/predict.py street.jpg --words coco --json - | jq .annotations
    python tools/predict.py street.jpg --words auto --output found --clusters
    python tools/predict.py film.mp4 --words "road, car, sky" --output found
    python tools/predict.py street.jpg --words "cat, sofa" --output found \\
        --config-file configs/coco/fcclip.yaml configs/towers/convnext_large.yaml MODEL.WEIGHTS fcclip_cocopan.pth

A word may end in (thing) or (stuff); otherwise the packaged datasets decide, and unknown words are things. Without
--config-file, the embedded mini model is used. It knows the drawn street scenes of MiniCity. docs/predict.md says more.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsseg_d2.cli.arguments import MAX_FRAMES, ArgumentParser, parse_with_options, positive
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images, videos, folders, or patterns in quotes")
    parser.add_argument(
        "--words",
        help='"road, car|cars, sky": classes between commas, synonyms between bars; a text or YAML file; coco, '
        'cityscapes, …; or auto: words are found in each image ("auto, cone, -shadow" adds one and leaves one out). '
        "Default: the vocabulary of the config's test set",
    )
    parser.add_argument("--output", metavar="FOLDER", help="where overlay/, panoptic/ and panoptic.json are written")
    parser.add_argument("--json", metavar="FILE", help="one COCO panoptic JSON with masks; - is standard output")
    parser.add_argument("--semantic", action="store_true", help="also write the likeliest word of each pixel as PNG")
    parser.add_argument("--instances", action="store_true", help="also write instances.json, COCO results with masks")
    parser.add_argument("--csv", action="store_true", help="also write segments.csv")
    parser.add_argument("--clusters", action="store_true", help="also draw the clusters of --words auto")
    parser.add_argument("--overwrite", action="store_true", help="replace predictions with other settings in --output")
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=1,
        metavar="N",
        help="images of one size, or frames, that are computed together; default: 1. Saves time on a GPU",
    )
    parser.add_argument(
        "--max-frames", type=positive, default=MAX_FRAMES, metavar="N", help=f"of a video; default: {MAX_FRAMES:,}"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, …; default: MODEL.DEVICE of the config")
    args = parse_with_options(parser, argv, "images", "minicity/zero_shot.yaml with the embedded weights")
    if not args.images:
        parser.error("name at least one image")
    if not (args.output or args.json):
        parser.error("say where results go: --output FOLDER, or --json FILE")
    if not args.output and (args.semantic or args.instances or args.csv or args.clusters):
        parser.error("--semantic, --instances, --csv and --clusters need --output FOLDER")
    return args


@program(parse_arguments)
def main(args: argparse.Namespace) -> int:
    """Predict, and write the results."""
    from zsseg_d2.engine.prediction.predictor import DEFAULT_CONFIG
    from zsseg_d2.engine.prediction.program import run_predicting

    args.config_file = args.config_file or [DEFAULT_CONFIG]
    return run_predicting(args)
