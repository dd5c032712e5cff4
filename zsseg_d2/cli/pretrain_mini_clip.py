"""Train an embedded mini CLIP on the pre-training world, from random weights and a fixed seed.

python tools/pretrain_mini_clip.py --output output/mini_clip.safetensors
python tools/pretrain_mini_clip.py --model mini_vit --output output/mini_vit.safetensors
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
    parser.add_argument(
        "--model", default="mini_rn", help="an open_clip config with a ResNet image tower, or a ViT that pools the mean"
    )
    parser.add_argument("--output", type=Path, default=Path("output/mini_clip.safetensors"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=12, help="scene crops a step")
    parser.add_argument("--scenes", type=int, default=1500, help="scenes rendered and kept in memory")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--num-workers", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(argv)


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Train, and write the weights."""
    import torch
    from detectron2.config import get_cfg

    from zsseg_d2 import add_zsseg_config
    from zsseg_d2.engine.checkpoints.provenance import ENTRY, Provenance, Step
    from zsseg_d2.engine.training.clip_pretraining import pretrain_clip
    from zsseg_d2.modeling.clip.loading import build_tokenizer, create_clip, resolve_clip_name
    from zsseg_d2.tensor_files import write_tensors

    cfg = get_cfg()
    add_zsseg_config(cfg)
    torch.manual_seed(args.seed)
    name = resolve_clip_name(args.model)
    model = create_clip(name, "")
    history = pretrain_clip(
        model,
        build_tokenizer(name),
        steps=args.steps,
        batch=args.batch,
        lr=args.lr,
        seed=args.seed,
        scenes=args.scenes,
        workers=args.num_workers,
        mean=torch.tensor(cfg.MODEL.PIXEL_MEAN).view(3, 1, 1),
        std=torch.tensor(cfg.MODEL.PIXEL_STD).view(3, 1, 1),
    )
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    arguments = {k: v for k, v in vars(args).items() if k not in ("output", "debug", "imports")}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    origin = Provenance(Step("pretrain_mini_clip", settings={key: str(value) for key, value in arguments.items()}))
    write_tensors(args.output, {k: v.contiguous() for k, v in state.items()}, {ENTRY: origin.as_entry()})
    print(json.dumps(history[-1]))
    print(f"wrote {args.output} ({args.output.stat().st_size / 1e6:.1f} MB)")
