"""Train the embedded captioner on scenes of the pre-training world, from random weights and a fixed seed.

python tools/pretrain_mini_captioner.py --output output/mini_captioner.safetensors
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--output", type=Path, default=Path("output/mini_captioner.safetensors"))
    parser.add_argument("--scenes", type=int, default=500, help="scenes rendered and kept in memory")
    parser.add_argument("--views", type=int, default=1500, help="crops of them that are encoded")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64, help="sets of cells a step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--num-workers", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(argv)


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Train, and write the weights."""
    from zsseg_d2.auto_vocabulary.mini_captioner import PACKAGED_CLIP, packaged_clip, save_decoder
    from zsseg_d2.engine.checkpoints.provenance import ENTRY, Provenance, Step
    from zsseg_d2.engine.training.captioner_pretraining import pretrain_captioner
    from zsseg_d2.files import file_digest, local_path

    decoder, history = pretrain_captioner(
        packaged_clip(),
        scenes=args.scenes,
        views=args.views,
        steps=args.steps,
        batch=args.batch,
        lr=args.lr,
        seed=args.seed,
        workers=args.num_workers,
    )
    arguments = {k: v for k, v in vars(args).items() if k not in ("output", "debug", "imports", "num_workers")}
    settings = {key: str(value) for key, value in arguments.items()}
    parents = (file_digest(local_path(PACKAGED_CLIP)),)
    origin = Provenance(Step("pretrain_mini_captioner", settings=settings, parents=parents))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_decoder(args.output, decoder, {ENTRY: origin.as_entry()})
    print(json.dumps(history[-1]))
    print(f"wrote {args.output} ({args.output.stat().st_size / 1e6:.2f} MB)")
