"""A data set of a few PNGs and a model of a few weights: everything the engine needs, and nothing of FC-CLIP."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from PIL import Image
from torch import nn

from zsseg_d2 import Vocabulary, add_zsseg_config
from zsseg_d2.data import write_panoptic_png

CLASSES = ("road", "sky", "person", "car")
HEIGHT, WIDTH = 24, 40


def write_record(folder: Path, number: int, high: bool = False) -> dict:
    """Road below, sky above, one car whose place depends on `number`; ids 1, 2, 26000 + number, and a void stripe.

    An image is wide, or turned to be high.
    """
    rng = np.random.default_rng(number)
    ids = np.full((HEIGHT, WIDTH), 2, np.int64)
    ids[HEIGHT // 2 :] = 1
    ids[10:16, 4 + number : 12 + number] = 26000 + number
    ids[:, -2:] = 0
    image = rng.integers(0, 60, (HEIGHT, WIDTH, 3)) + np.stack((ids * 7 % 190,) * 3, -1)
    if high:
        ids, image = ids.T.copy(), image.transpose(1, 0, 2)
    file_name, png = folder / f"{number}.png", folder / f"{number}_panoptic.png"
    Image.fromarray(image.astype(np.uint8)).save(file_name)
    write_panoptic_png(png, ids)
    segments = [
        {
            "id": i,
            "category_id": k,
            "iscrowd": 0,
            "isthing": k >= 2,
            "area": int((ids == i).sum()),
            "bbox": [0, 0, 1, 1],
        }
        for i, k in ((1, 0), (2, 1), (26000 + number, 3))
    ]
    return {
        "file_name": str(file_name),
        "image_id": f"image_{number}",
        "height": ids.shape[0],
        "width": ids.shape[1],
        "pan_seg_file_name": str(png),
        "segments_info": segments,
    }


def register(name: str, folder: Path, count: int = 5, high: Collection[int] = (), **metadata) -> str:
    """Write `count` images, some of them high, and register them; an earlier data set of that name is forgotten."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [write_record(folder, number, number in high) for number in range(count)]
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(
        vocabulary=Vocabulary.from_strings(CLASSES),
        stuff_classes=list(CLASSES),
        thing_classes=list(CLASSES),
        stuff_colors=[(80, 40 * k, 90) for k in range(4)],
        thing_dataset_id_to_contiguous_id={24: 2, 26: 3},
        stuff_dataset_id_to_contiguous_id={7: 0, 23: 1, 24: 2, 26: 3},
        out_contiguous_ids=(2, 3),
        label_divisor=1000,
        **metadata,
    )
    return name


class _Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.clip_model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> _Backbone:
        return super().train(False)


class TinySegmenter(nn.Module):
    """A class for each pixel from a frozen "CLIP" and a learned 1×1 convolution; dropout draws random numbers."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.backbone = _Backbone()
        self.head = nn.Sequential(
            nn.Conv2d(8, 16, 1),
            nn.GroupNorm(4, 16),
            nn.Dropout2d(cfg.MODEL.MASK_FORMER.DROPOUT),
            nn.Conv2d(16, len(CLASSES), 1),
        )
        self.query_feat = nn.Embedding(2, 16)
        self.level_embed = nn.Parameter(torch.ones(16))
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("pixel_mean", torch.tensor(cfg.MODEL.PIXEL_MEAN).view(-1, 1, 1), persistent=False)

    def scores(self, item: dict) -> torch.Tensor:
        """(K, H, W)"""
        features = self.backbone.clip_model((item["image"].to(self.pixel_mean.device) - self.pixel_mean)[None] / 60)
        hidden = self.head[2](self.head[1](self.head[0](features))) + self.level_embed.view(1, -1, 1, 1)
        hidden = hidden + self.query_feat.weight.mean(0).view(1, -1, 1, 1)
        return self.head[3](hidden)[0] * self.logit_scale

    def forward(self, batch: list[dict]):
        if not self.training:
            return [self._segment(item) for item in batch]
        losses = []
        for item in batch:
            instances = item["instances"]
            target = torch.full(instances.image_size, -100)
            for k, mask in zip(instances.gt_classes, instances.gt_masks):
                target[mask] = k
            losses.append(nn.functional.cross_entropy(self.scores(item)[None], target[None].to(self.pixel_mean.device)))
        return {"loss_ce": torch.stack(losses).mean()}

    def _segment(self, item: dict) -> dict:
        size = (item["height"], item["width"])
        classes = nn.functional.interpolate(self.scores(item)[None], size)[0].argmax(0)
        segments = [{"id": int(k) + 1, "category_id": int(k), "isthing": bool(k >= 2)} for k in classes.unique()]
        return {"panoptic_seg": (classes + 1, segments)}


if "TinySegmenter" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(TinySegmenter)


def config(output: Path, *options) -> CfgNode:
    """A config that trains in a second; data sets ``tiny_engine_train`` and ``tiny_engine_val`` must be registered."""
    cfg = get_cfg()
    add_zsseg_config(cfg)
    cfg.merge_from_list(
        [
            *("MODEL.META_ARCHITECTURE", "TinySegmenter", "MODEL.DEVICE", "cpu", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 4),
            *(
                "MODEL.MASK_FORMER.TEST.PANOPTIC_ON",
                True,
                "MODEL.MASK_FORMER.DROPOUT",
                0.2,
                "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS",
                "",
            ),
            *("DATASETS.TRAIN", ("tiny_engine_train",), "DATASETS.TEST", ("tiny_engine_val",)),
            *("INPUT.MIN_SIZE_TRAIN", (20, 24, 28), "INPUT.MAX_SIZE_TRAIN", 60, "INPUT.COLOR_AUG_SSD", True),
            *("INPUT.MIN_SIZE_TEST", 24, "INPUT.MAX_SIZE_TEST", 60),
            *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 6, "SOLVER.STEPS", (), "SOLVER.WARMUP_ITERS", 0),
            *("SOLVER.BASE_LR", 0.01, "SOLVER.WEIGHT_DECAY", 0.05, "SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR"),
            *("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model"),
            *("DATALOADER.NUM_WORKERS", 0, "SEED", 3, "OUTPUT_DIR", str(output)),
            *options,
        ]
    )
    return cfg
