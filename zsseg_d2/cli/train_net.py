"""Train and evaluate an open-vocabulary segmentation model.

    python tools/train_net.py --config-file configs/minicity/zero_shot.yaml --eval-only
    python tools/train_net.py --config-file configs/cityscapes/zero_shot.yaml configs/towers/r101.yaml --eval-only
    python tools/train_net.py --config-file configs/minicity/full_finetune.yaml SOLVER.MAX_ITER 300 SEED 1
    python tools/train_net.py --config-file configs/minicity/full_finetune.yaml --resume

`zsseg-d2 train` and `zsseg-d2 evaluate` (with --eval-only) are the same program. Without a CUDA device, --num-gpus is
the number of CPU processes. Results are in OUTPUT_DIR: log.txt, config.yaml, run.json, metrics.json, model_*.pth and
inference/<dataset>/panoptic_quality.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program


def build_parser(prog: str | None = None) -> ArgumentParser:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--resume", action="store_true", help="resume from the last checkpoint in OUTPUT_DIR")
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, without training")
    parser.add_argument("--save-predictions", action="store_true", help="the same as ZSSEG.SAVE_PREDICTIONS True")
    parser.add_process_arguments(machines=True)
    parser.add_config_arguments("config of the method")
    return parser


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    args = build_parser(prog).parse_args(argv)
    args.opts = [*args.opts, *(["ZSSEG.SAVE_PREDICTIONS", "True"] if args.save_predictions else [])]
    return args


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Train, or evaluate with --eval-only."""
    from zsseg_d2 import engine

    engine.run(args)


def evaluate(argv: Sequence[str], prog: str | None = None) -> int | None:
    """Evaluate: training's program with --eval-only."""
    return main(["--eval-only", *argv], prog)
