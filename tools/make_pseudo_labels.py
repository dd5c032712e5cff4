"""Label the deleted classes of a training set with a zero-shot model (invocab), and write a panoptic dataset.

    python tools/make_pseudo_labels.py --config-file configs/minicity/zero_shot.yaml --configuration 008
    python tools/make_pseudo_labels.py --config-file configs/cityscapes/zero_shot_r50.yaml --configuration 008 --num-gpus 4
    python tools/make_pseudo_labels.py --config-file configs/minicity/zero_shot.yaml --configuration 008 \\
        --output /data/surer ZSSEG.PSEUDO_LABELS.MIN_SCORE 0.7

An interrupted run is continued by the same command. No ground truth of a deleted class is used.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the source tree beside this file, installed or not

import zsseg_d2  # noqa: E402, F401  (before Detectron2, which it makes importable)
from zsseg_d2.data import CONFIGURATIONS  # noqa: E402
from zsseg_d2.engine.pseudo_labeling.labeling import run_labelling  # noqa: E402


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config-file", required=True, help="config of the zero-shot model; its test set names the data"
    )
    parser.add_argument("--configuration", required=True, help="one of " + ", ".join(list(CONFIGURATIONS)[1:]))
    parser.add_argument("--split", default="train", help="default: train")
    parser.add_argument("--output", help="where to; default: next to the dataset, as minicity_pseudo_labels_008")
    parser.add_argument("--overwrite", action="store_true", help="replace what a run with other arguments wrote")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes; without CUDA, CPU processes")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys, at the end")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_labelling(parse_arguments())
