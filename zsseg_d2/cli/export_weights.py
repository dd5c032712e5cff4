"""Turn a training checkpoint into weights alone: safetensors, without the state of the optimizer.

python tools/export_weights.py output/miniworld/pretrain/model_final.pth weights.safetensors --half
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("checkpoint")
    parser.add_argument("output", help="a .safetensors file")
    parser.add_argument("--half", action="store_true", help="floating-point tensors in half precision")
    return parser.parse_args(argv)


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Write the weights."""
    from zsseg_d2.engine.checkpoints.weights_files import check_output, read_weights, write_weights

    check_output(args.output)
    # A checkpoint holds CLIP only where nothing else does (random CLIP weights): then it belongs to the weights.
    print(write_weights(args.output, read_weights(args.checkpoint), half=args.half))
