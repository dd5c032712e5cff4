"""Turn a training checkpoint into weights alone: safetensors, without the state of the optimizer.

python tools/export_weights.py output/miniworld/pretrain/model_final.pth weights.safetensors --half
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the source tree beside this file, installed or not

import zsseg_d2  # noqa: E402, F401  (before Detectron2, which it makes importable)
from zsseg_d2.engine.run import USER_ERRORS  # noqa: E402
from zsseg_d2.engine.checkpoints.weights_files import check_output, read_weights, write_weights  # noqa: E402


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("output", help="a .safetensors file")
    parser.add_argument("--half", action="store_true", help="floating-point tensors in half precision")
    args = parser.parse_args(arguments)
    try:
        check_output(args.output)
        # A checkpoint holds CLIP only where nothing else does (random CLIP weights): then it belongs to the weights.
        print(write_weights(args.output, read_weights(args.checkpoint), half=args.half))
    except USER_ERRORS as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
