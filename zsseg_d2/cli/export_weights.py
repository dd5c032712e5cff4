"""Turn a training checkpoint into weights alone: safetensors, without the state of the optimizer.

    python tools/export_weights.py output/miniworld/pretrain/model_final.pth weights.safetensors --half
    python tools/export_weights.py fcclip_r50.pth fcclip_r50.safetensors --trained-on openvocab_coco_2017_train_panoptic

A file says what it was trained on; weights from elsewhere do not, and --trained-on writes it into the copy. If there is
a provenance.json beside the output, as among the packaged weights, it is brought up to date.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("checkpoint")
    parser.add_argument("output", help="a .safetensors file")
    parser.add_argument("--half", action="store_true", help="floating-point tensors in half precision")
    parser.add_argument(
        "--trained-on", nargs="*", metavar="DATASET", help="training sets behind weights that do not say it themselves"
    )
    return parser.parse_args(argv)


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Write the weights."""
    import zsseg_d2  # noqa: F401 (registers the datasets that --trained-on names)
    from zsseg_d2.engine.checkpoints.provenance import ENTRY, exported, record_weights
    from zsseg_d2.engine.checkpoints.weights_files import check_output, find_weights, read_weights, write_weights

    check_output(args.output)
    source = find_weights(args.checkpoint)
    # A checkpoint holds CLIP only where nothing else does (random CLIP weights): then it belongs to the weights.
    metadata = {ENTRY: exported(source, args.trained_on).as_entry()}
    print(write_weights(args.output, read_weights(source), half=args.half, metadata=metadata))
    record_weights(Path(args.output).expanduser().parent)
