"""A "zero-shot model" of one weight for Cityscapes' classes, and a very small Cityscapes for it to label."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from tests.data.tiny_cityscapes import make_tiny_cityscapes
from zsseg_d2.data.panoptic.png import read_panoptic_png, write_panoptic_png

SEEN: list[str] = []
"""Ids of the images that models of this process were shown."""


class TinyLabeller(nn.Module):
    """Blocks of 10 by 16 pixels, each a segment; class and score follow from its colours as the mapper gives them."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.scores = cfg.TEST.DETECTIONS_PER_IMAGE != 1

    def forward(self, batch: list[dict]) -> list[dict]:
        assert not self.training
        return [self._segment(item) for item in batch]

    def _segment(self, item: dict) -> dict:
        SEEN.append(item["image_id"])
        height, width = item["height"], item["width"]
        blocks = torch.arange(height)[:, None] // 10 * 100 + torch.arange(width)[None] // 16 + 1
        sums = nn.functional.adaptive_avg_pool2d(item["image"].double(), (height, width)).sum(0)
        segments = []
        for block in blocks.unique().tolist():
            value = int(float(self.gain) * sums[blocks == block].sum())
            segment = {"id": block, "category_id": value % 19, "isthing": value % 19 > 10}
            segments.append(segment | ({"score": value // 19 % 100 / 100} if self.scores else {}))
        return {"panoptic_seg": (blocks, segments)}


if "TinyLabeller" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(TinyLabeller)


def prepare(datasets: Path, images: int = 4) -> None:
    """Write ``cityscapes`` and the model's weights into the folder `datasets`."""
    make_tiny_cityscapes(datasets / "cityscapes", images=images)
    torch.save({"model": {"gain": torch.tensor(3.0)}}, datasets / "weights.pth")


def arguments(datasets: Path, *options, **changes) -> argparse.Namespace:
    """Parsed arguments of the tool: configuration 008, the tiny model."""
    keys = [
        *(
            "MODEL.META_ARCHITECTURE",
            "TinyLabeller",
            "MODEL.DEVICE",
            "cpu",
            "MODEL.WEIGHTS",
            str(datasets / "weights.pth"),
        ),
        *("MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", "", "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "True"),
        *(
            "DATASETS.TEST",
            "('openvocab_cityscapes_fine_panoptic_val',)",
            "INPUT.MIN_SIZE_TEST",
            "20",
            "DATALOADER.NUM_WORKERS",
            "0",
        ),
        *("ZSSEG.PSEUDO_LABELS.MIN_SCORE", "0.2", "ZSSEG.PSEUDO_LABELS.MIN_VISIBLE", "0.1", *map(str, options)),
    ]
    given = {
        "config_file": "",
        "configuration": "008",
        "split": "train",
        "output": None,
        "overwrite": False,
        "num_gpus": 1,
    }
    return argparse.Namespace(**{**given, **changes}, opts=keys)


def change_deleted_labels(root: Path, deleted: set[int], rng: np.random.Generator) -> None:
    """Give every pixel that a deleted or void segment of the training set covers another deleted label or void."""
    panoptic = root / "gtFine" / "cityscapes_panoptic_train"
    document = json.loads(panoptic.with_suffix(".json").read_text())
    for annotation in document["annotations"]:
        kept = [s for s in annotation["segments_info"] if s["category_id"] not in deleted]
        ids = read_panoptic_png(panoptic / annotation["file_name"])
        void = ~np.isin(ids, [s["id"] for s in kept])
        choices = np.array([0, *(1000 * label + k for label in sorted(deleted) for k in (0, 7))])
        write_panoptic_png(panoptic / annotation["file_name"], np.where(void, rng.choice(choices, ids.shape), ids))
        found = np.unique(read_panoptic_png(panoptic / annotation["file_name"])[void])
        new = [
            {"id": int(i), "category_id": int(i) // 1000, "iscrowd": 0, "area": 5, "bbox": [0, 0, 2, 2]}
            for i in found
            if i
        ]
        annotation["segments_info"] = [*new, *kept]
    panoptic.with_suffix(".json").write_text(json.dumps(document))
