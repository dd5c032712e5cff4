"""Train the embedded net of composites from random weights and a fixed seed, and export its weights.

    python tools/train_mini_composites.py --output output/mini_composites.safetensors
    python tools/train_mini_composites.py --output zsseg_d2/weights/mini_composites.safetensors

The recipe is configs/composites/mini.yaml. The training is in its OUTPUT_DIR, and the same command resumes it where it
was stopped. Among the packaged weights, the record of their origins is brought up to date.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program

CONFIG = "composites/mini.yaml"


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--output", default="output/mini_composites.safetensors", help="a .safetensors file")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys, such as OUTPUT_DIR /tmp/mini")
    return parser.parse_args(argv)


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Train, or resume, and write the weights in half precision."""
    from zsseg_d2 import engine
    from zsseg_d2.cli import export_weights, train_net
    from zsseg_d2.engine.checkpoints.weights_files import check_output
    from zsseg_d2.engine.config.setup import setup_cfg

    check_output(args.output)
    training = train_net.parse_arguments(["--config-file", CONFIG, "--resume", *args.opts])
    engine.run(training)
    checkpoint = Path(setup_cfg(training).OUTPUT_DIR, "model_final.pth")
    export_weights.main([str(checkpoint), args.output, "--half"])
