"""Turn a training checkpoint into weights alone: safetensors, without the state of the optimizer.

    python tools/export_weights.py output/miniworld/pretrain/model_final.pth weights.safetensors --half
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the source tree beside this file, installed or not

import zsseg_d2  # noqa: E402, F401  (before Detectron2, which it makes importable)
from safetensors.torch import save  # noqa: E402
from zsseg_d2.files import atomic_path  # noqa: E402
from zsseg_d2.engine.checkpoint import read_checkpoint  # noqa: E402
from zsseg_d2.engine.errors import CheckpointError  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path, help="a .safetensors file")
    parser.add_argument("--half", action="store_true", help="floating-point tensors in half precision")
    args = parser.parse_args()
    if args.output.suffix != ".safetensors":
        parser.error(f"the output '{args.output}' must end in .safetensors")
    if not args.checkpoint.is_file():
        parser.error(f"there is no checkpoint '{args.checkpoint}'")
    try:
        state = read_checkpoint(str(args.checkpoint))["model"]
    except CheckpointError as error:
        raise SystemExit(f"error: {error}") from error
    # A checkpoint holds CLIP only where nothing else does (random CLIP weights): then it belongs to the weights.
    state = {k: v.contiguous() for k, v in state.items()}
    if args.half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.output) as beside:
        beside.write_bytes(save(state))
    print(f"wrote {args.output}: {len(state)} tensors, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
