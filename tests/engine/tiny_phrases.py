"""A few drawn pictures with phrases, registered, and a config that trains on them in a second."""

from __future__ import annotations

from pathlib import Path

from detectron2.config import CfgNode

from tests.tiny_referring import referring_config
from zsseg_d2.data import register_phrasecut
from zsseg_d2.data.synthetic import write_miniphrases

SPLITS = ("train", "val", "test")


def register(root: Path) -> Path:
    """Write and register ``tiny_phrases_{train,val,test}``, of 6, 2 and 3 images of 64 x 64 pixels."""
    folder = write_miniphrases(root, train=6, val=2, test=3, miniv=1, side=64, num_workers=1)
    for split in SPLITS:
        register_phrasecut(f"tiny_phrases_{split}", folder, split)
    return folder


def config(output: Path, *options, tower: str = "tiny_vit") -> CfgNode:
    """CLIPSeg's recipe of training; the folder above `output` takes the CLIP's config."""
    output.parent.mkdir(parents=True, exist_ok=True)
    return referring_config(
        output.parent,
        *("DATASETS.TRAIN", ("tiny_phrases_train",), "DATASETS.TEST", ("tiny_phrases_test",)),
        *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 2, "SOLVER.STEPS", (), "SOLVER.WARMUP_ITERS", 0),
        *("SOLVER.BASE_LR", 0.003, "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.CLIP_GRADIENTS.ENABLED", True),
        *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model", "INPUT.PHRASE.PER_IMAGE", 3, "MODEL.REFERRING.DROPOUT", 0.1),
        *("DATALOADER.NUM_WORKERS", 0, "SEED", 3, "OUTPUT_DIR", str(output)),
        *options,
        tower=tower,
    )
