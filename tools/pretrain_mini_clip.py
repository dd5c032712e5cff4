"""Pre-train an embedded mini CLIP on the pre-training world, from nothing and with a fixed seed.

python tools/pretrain_mini_clip.py --output output/mini_clip.safetensors
python tools/pretrain_mini_clip.py --model mini_vit --output output/mini_vit.safetensors
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the source tree beside this file, installed or not

import torch  # noqa: E402
import zsseg_d2  # noqa: E402  (before Detectron2, which it makes importable)
from detectron2.config import get_cfg  # noqa: E402
from safetensors.torch import save  # noqa: E402
from zsseg_d2.files import atomic_path  # noqa: E402
from zsseg_d2.engine.training.clip_pretraining import pretrain_clip  # noqa: E402
from zsseg_d2.modeling.clip.loading import build_tokenizer, create_clip, resolve_clip_name  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    args = parser.parse_args()

    cfg = get_cfg()
    zsseg_d2.add_zsseg_config(cfg)
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
    arguments = {k: v for k, v in vars(args).items() if k != "output"}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.output) as beside:
        beside.write_bytes(save({k: v.contiguous() for k, v in state.items()}, {"arguments": json.dumps(arguments)}))
    print(json.dumps(history[-1]))
    print(f"wrote {args.output} ({args.output.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
