"""Label the deleted classes of a training set with a zero-shot model, and write a panoptic dataset (invocab).

    python tools/make_pseudo_labels.py --config-file configs/minicity/zero_shot.yaml --configuration 008
    python tools/make_pseudo_labels.py --config-file configs/cityscapes/zero_shot.yaml --configuration 008 --num-gpus 4
    python tools/make_pseudo_labels.py --config-file configs/minicity/zero_shot.yaml --configuration 008 \\
        --output /data/surer ZSSEG.PSEUDO_LABELS.MIN_SCORE 0.7

The same command resumes an interrupted run. No ground truth of a deleted class is used.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--configuration", required=True, help="one of 001 to 008")
    parser.add_argument("--split", default="train", help="default: train")
    parser.add_argument("--output", help="folder; default: that of the registered dataset")
    parser.add_argument("--overwrite", action="store_true", help="replace what a run with other arguments wrote")
    parser.add_process_arguments()
    parser.add_config_arguments("config of the zero-shot model; its test set names the data", required=True)
    return parser.parse_args(argv)


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Label, and print a summary."""
    from zsseg_d2.engine.pseudo_labeling.labeling import run_labelling

    run_labelling(args)
