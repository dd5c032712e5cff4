"""Compute mean and covariance of CLIP's image embeddings over a dataset, for configs/*/interpolated.yaml.

    python tools/feature_statistics.py --config-file configs/minicity/zero_shot.yaml --of miniworld_panoptic_train \\
        --output output/minicity/feature_statistics/miniworld_panoptic_train.safetensors

No label is read. CLIP and the size of images are those of the config.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--output", required=True, metavar="FILE", help="a .safetensors file")
    parser.add_argument("--of", required=True, metavar="DATASET", help="a registered panoptic dataset")
    parser.add_argument("--images", type=int, default=0, help="number of images, evenly spread; default: all")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    parser.add_config_arguments("of the evaluation: CLIP, size of images", required=True)
    parser.set_defaults(eval_only=True, resume=False)
    args = parser.parse_args(argv)
    if args.images < 0:
        parser.error("--images: it must be a number of images, or 0 for all")
    return args


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Compute and write."""
    from zsseg_d2.engine.feature_statistics import write_statistics

    print(write_statistics(args))
