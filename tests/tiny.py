"""The smallest FC-CLIP that is still one: the mini CLIP with random weights and a narrow head."""

from __future__ import annotations

import copy

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn

from zsseg_d2 import Vocabulary, add_zsseg_config
from zsseg_d2.meta_arch.mean_teacher import MeanTeacherFCCLIP

WORDS = ("road, railroad", "sky, clouds", "person", "car, cars")


def tiny_dataset(name: str = "tiny_val", words: tuple[str, ...] = WORDS, deleted: tuple[int, ...] = ()) -> str:
    """A data set that is only metadata: the last two classes are things."""
    if name not in MetadataCatalog.list():
        MetadataCatalog.get(name).set(
            vocabulary=Vocabulary.from_strings(words),
            thing_dataset_id_to_contiguous_id={i: i for i in (len(words) - 2, len(words) - 1)},
            deleted_contiguous_ids=deleted,
        )
    return name


def tiny_config(*options, train: str | None = None, test: str | None = None) -> CfgNode:
    """A config that builds in a second; ``options`` are KEY VALUE pairs on top."""
    cfg = get_cfg()
    add_zsseg_config(cfg)
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", len(WORDS)),
            *("DATASETS.TRAIN", (train or tiny_dataset("tiny_train"),), "DATASETS.TEST", (test or tiny_dataset(),)),
            *("MODEL.SEM_SEG_HEAD.CONVS_DIM", 32, "MODEL.SEM_SEG_HEAD.MASK_DIM", 32),
            *("MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", 1, "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_DIM_FEEDFORWARD", 32),
            *("MODEL.MASK_FORMER.HIDDEN_DIM", 32, "MODEL.MASK_FORMER.DIM_FEEDFORWARD", 32),
            *("MODEL.MASK_FORMER.DEC_LAYERS", 4, "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", 9),
            *("MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 64, "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", True),
            *("MODEL.FC_CLIP.CLIP_MODEL_NAME", "mini_rn", "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", ""),
            *("MODEL.FC_CLIP.EMBED_DIM", 128, "MODEL.FC_CLIP.ENSEMBLE_ON_VALID_MASK", True),
            *options,
        ]
    )
    return cfg


def tiny_model(architecture: str, *options, train: str | None = None) -> nn.Module:
    """Build a model of a tiny config, with the weights of seed 0."""
    torch.manual_seed(0)
    return build_model(tiny_config("MODEL.META_ARCHITECTURE", architecture, *options, train=train))


@torch.no_grad()
def name_in_every_query(model: nn.Module, name: str) -> None:
    """Make a model with random weights name one class in every query; other names and void lie elsewhere."""
    vocabulary = model.classes.training.vocabulary
    row, text = vocabulary.rows.index(name), model.text_rows(vocabulary)
    predictor = model.sem_seg_head.predictor
    last = predictor.class_embed.layers[-1]
    last.weight.mul_(0.01)
    last.bias.copy_(text[row])
    predictor.logit_scale.fill_(4.6)
    model.void_embedding.weight.copy_(-text[row : row + 1])
    predictor.mask_embed.layers[-1].bias.add_(0.5)


def record_taught(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets how many targets a mean teacher adds to each image, from now on."""
    found: list[int] = []
    plain = MeanTeacherFCCLIP.taught_targets

    def taught_targets(self, items, *rest):
        targets = plain(self, items, *rest)
        found.extend(len(target.labels) - len(item["instances"]) for target, item in zip(targets, items))
        return targets

    monkeypatch.setattr(MeanTeacherFCCLIP, "taught_targets", taught_targets)
    return found


def seeded_losses(model: nn.Module, items: list[dict]) -> dict[str, torch.Tensor]:
    """Compute the losses of a batch with random points of seed 1; the items stay as they are."""
    torch.manual_seed(1)
    return model.train()(copy.deepcopy(items))


def random_image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(3, height, width) uint8 noise."""
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def training_item(height: int = 64, width: int = 96, classes: tuple[int, ...] = (0, 3), ignore: bool = False) -> dict:
    """A training item whose masks are vertical stripes, one a class."""
    instances = Instances((height, width))
    masks = torch.zeros(len(classes), height, width, dtype=torch.bool)
    for slot, mask in enumerate(masks):
        mask[:, slot * width // max(len(classes), 1) : (slot + 1) * width // max(len(classes), 1)] = True
    instances.gt_classes, instances.gt_masks = torch.tensor(classes, dtype=torch.int64), masks
    item = {"image": random_image(height, width), "instances": instances, "file_name": "stripes.png"}
    if ignore:
        item["ignore"] = ~masks.any(0)
    return item
