"""Evaluate a model with true classes on its masks, and with its classes on true masks: which of them costs quality?

    python tools/oracle_study.py --config-file configs/minicity/in_class_finetune.yaml \\
        MODEL.WEIGHTS output/minicity/in_class_finetune/model_final.pth

Prints PQ of All, In and Out as predicted and with each oracle; OUTPUT_DIR (default: a folder oracle_study in the
config's) gets oracle_study.json and the scores of every class. ZSSEG.VOID_RULE False lets queries take part that the
model calls void, so that true classes show which masks are there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_config_arguments("of the model and its test sets", required=True)
    parser.set_defaults(eval_only=True, resume=False, machine_rank=0)
    return parser.parse_args(argv)


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Evaluate, and print the table."""
    from zsseg_d2.engine.oracle_study import run_oracle_study

    print(run_oracle_study(args))
