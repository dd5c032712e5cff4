"""Train the embedded captioner on scenes of the pre-training world, from random weights and a fixed seed.

python tools/pretrain_mini_captioner.py --output output/mini_captioner.safetensors
python tools/pretrain_mini_captioner.py --check output/mini_captioner.safetensors
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
    parser.add_argument("--scenes", type=int, default=600, help="scenes rendered and kept in memory")
    parser.add_argument("--views", type=int, default=2000, help="crops of them that are encoded")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=64, help="sets of cells a step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--num-workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--check",
        metavar="FILE",
        help="train nothing; print how often the first noun names a true region of val scenes",
    )
    parser.add_argument("--check-scenes", type=int, default=50, help="scenes of each validation set; default: 50")
    parser.add_argument("--check-size", type=int, default=384, help="short side of encoded scenes; default: 384")
    return parser.parse_args(argv)


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Train, and write the weights; or check some."""
    if args.check is not None:
        return _check(args)
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
    settings = {key: str(vars(args)[key]) for key in ("scenes", "views", "steps", "batch", "lr", "seed")}
    parents = (file_digest(local_path(PACKAGED_CLIP)),)
    origin = Provenance(Step("pretrain_mini_captioner", settings=settings, parents=parents))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_decoder(args.output, decoder, {ENTRY: origin.as_entry()})
    print(json.dumps(history[-1]))
    print(f"wrote {args.output} ({args.output.stat().st_size / 1e6:.2f} MB)")


def _check(args: argparse.Namespace) -> None:
    from zsseg_d2.auto_vocabulary.registry import Decoding, build_captioner
    from zsseg_d2.engine.training.captioner_accuracy import VAL_SEED, WORLDS, noun_accuracy

    captioner = build_captioner("mini", args.check, Decoding(top_p=1e-9))
    for name, world in WORLDS.items():
        seeds = range(VAL_SEED, VAL_SEED + args.check_scenes)
        print(f"{name}: {noun_accuracy(captioner, world, seeds, args.check_size)}")
