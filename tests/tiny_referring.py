"""The smallest models of phrases: random CLIPs as JSON configs, configs around them, and items of a batch."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg

from tests.tiny import random_image
from zsseg_d2 import add_zsseg_config

TEXT = {
    "context_length": 48,
    "vocab_size": 2014,
    "width": 24,
    "heads": 2,
    "layers": 1,
    "tokenizer_kwargs": {"bpe_path": "mini_bpe.txt.gz"},
}
TOWERS = {
    "tiny_vit": {"image_size": 32, "layers": 5, "width": 32, "head_width": 8, "patch_size": 8},
    "tiny_vit_avg": {"image_size": 32, "layers": 5, "width": 32, "head_width": 8, "patch_size": 8, "pool_type": "avg"},
    "tiny_vit_deep16": {"image_size": 32, "layers": 12, "width": 16, "head_width": 8, "patch_size": 16},
    "tiny_vit_deep32": {"image_size": 64, "layers": 12, "width": 16, "head_width": 8, "patch_size": 32},
    "tiny_resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
}
"""open_clip's ``vision_cfg`` by name; E is 16."""


def write_clip(folder: Path, tower: str) -> str:
    """The path of a config for MODEL.FC_CLIP.CLIP_MODEL_NAME."""
    path = folder / f"{tower}.json"
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": TOWERS[tower], "text_cfg": TEXT}))
    return str(path)


def referring_config(folder: Path, *options, tower: str = "tiny_vit") -> CfgNode:
    """model1 on a tiny ViT and images of 32 x 32 pixels; ``options`` are KEY VALUE pairs on top."""
    cfg = get_cfg()
    add_zsseg_config(cfg)
    cfg.merge_from_list(
        [
            *(
                "MODEL.META_ARCHITECTURE",
                "ReferringSegmentor",
                "MODEL.DEVICE",
                "cpu",
                "INPUT.DATASET_MAPPER_NAME",
                "phrase",
            ),
            *("MODEL.FC_CLIP.CLIP_MODEL_NAME", write_clip(folder, tower), "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", ""),
            *("MODEL.REFERRING.DECODER", "model1", "MODEL.REFERRING.CLIP_LAYERS", [1, 2, 4], "INPUT.PHRASE.SIZE", 32),
            *("MODEL.REFERRING.KERNELS", [2, 4], "MODEL.REFERRING.FEEDFORWARD", 32),
            *options,
        ]
    )
    return cfg


def phrase_item(phrase: str, image: torch.Tensor | int = 0, side: int = 32, **more) -> dict:
    """A training item whose mask is the upper half.

    Args:
        image: (3, side, side) uint8, or the seed of a random one.
    """
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[: side // 2] = True
    image = random_image(side, side, image) if isinstance(image, int) else image
    return {"image": image, "mask": mask, "phrase": phrase, "prompt": phrase, **more}


@torch.no_grad()
def logits_of(model: torch.nn.Module, items: list[dict]) -> list[torch.Tensor]:
    """Of each item, the model in eval mode."""
    return [output["mask_logits"] for output in model.eval()(items)]
