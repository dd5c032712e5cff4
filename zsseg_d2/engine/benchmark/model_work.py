"""Work of the model side, on random weights: inference, training steps, text rows, deformable attention.

Each function makes its inputs once, from a fixed seed, and returns the function to time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.structures import Instances
from torch import Tensor, nn

from ...class_sets import ClassSets
from ...meta_arch.two_models import TwoModels
from ...modeling.clip.text_classifier import TextClassifier
from ...modeling.deformable_attention import attention as deformable_attention
from ...text_cache import TextCache
from ..config.setup import setup_cfg
from ..datasets import study_of
from ..errors import ConfigError
from ..training.loaders import images_replayed
from ..training.solver import build_optimizer

ConfigFile = str | Sequence[str]

RANDOM_WEIGHTS = ("MODEL.WEIGHTS", "", "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", "")


def random_model(config_file: ConfigFile, options: Sequence[str] = ()) -> tuple[Any, CfgNode]:
    """Build the FC-CLIP of a config file with random weights from seed 0."""
    cfg = setup_cfg(argparse.Namespace(config_file=config_file, opts=[*RANDOM_WEIGHTS, *options]), check=False)
    torch.manual_seed(0)
    return build_model(cfg), cfg


def check_method(name: str, config_file: ConfigFile, options: Sequence[str] = ()) -> None:
    """Check that a config suits a method, without building it.

    Args:
        name: Of the method, for the message.
        config_file: One or several.
        options: With MODEL.META_ARCHITECTURE.

    Raises:
        ConfigError: A key is unknown, or the method has no use for such a training.
    """
    cfg = setup_cfg(argparse.Namespace(config_file=config_file, opts=[*RANDOM_WEIGHTS, *options]), check=False)
    try:
        META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).check_config(cfg)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


@dataclass(frozen=True)
class Work:
    """A function to time, and the model that it runs."""

    model: Any  # an FC-CLIP
    run: Callable[[], Any]

    def __call__(self) -> Any:
        return self.run()

    def parts(self) -> dict[str, list[tuple[nn.Module, str]]]:
        """Map each part of an FC-CLIP to the methods that it consists of."""
        model, head = self.model, self.model.sem_seg_head
        return {
            "CLIP": [(model.backbone, "forward")],
            "deformable encoder": [(head.pixel_decoder.transformer, "forward")],
            "rest of the pixel decoder": [(head.pixel_decoder, "forward"), (head.pixel_decoder, "features")],
            "query decoder": [(head.predictor, "forward"), (head.predictor, "last")],
            "losses": [(model.criterion, "forward")],
            "class scores": [(model, "in_vocab_logits"), (model, "class_scores")],
            "panoptic rule": [(model, "postprocess")],
        }


def inference(
    config_file: ConfigFile, image_size: tuple[int, int], options: Sequence[str] = (), batch: int = 1
) -> Work:
    """Infer panoptic maps of noise images, which returns the first; no query is void, which is the most work."""
    model, _ = random_model(config_file, ("MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0", *options))
    model.eval()
    parts = [model.model_one, model.model_two] if isinstance(model, TwoModels) else [model]
    generator = torch.Generator().manual_seed(0)
    items = [
        {"image": torch.randint(0, 256, (3, *image_size), dtype=torch.uint8, generator=generator)} for _ in range(batch)
    ]
    for part in parts:
        part.text_rows(part.classes.evaluation().vocabulary)
        name_every_query(part, model.padded_batches(items[:1])[0][1])

    return Work(model, lambda: model(items)[0])


@torch.no_grad()
def name_every_query(model: Any, images: Tensor) -> None:
    """Let void be the opposite of the queries, all of which random weights may call void.

    Args:
        model: An FC-CLIP.
        images: (1, 3, H, W), normalized.
    """
    queries, _ = model.decode_last(model.backbone(images))
    opposite = -F.normalize(queries.class_embed[0].float(), dim=-1).mean(0, keepdim=True)
    model.void_embedding.weight.copy_(opposite)


def head_part(
    config_file: ConfigFile, image_size: tuple[int, int], part: str, *, compiled: bool, options: Sequence[str] = ()
) -> Callable:
    """Infer with one part of the head, on the features of a noise image.

    Args:
        part: ``"pixel decoder"`` or ``"query decoder"``.
        compiled: with ``torch.compile``, which needs a C++ compiler and minutes.
    """
    model, _ = random_model(config_file, options)
    head = model.eval().sem_seg_head
    image = torch.randn(1, 3, *image_size, generator=torch.Generator().manual_seed(0)).to(model.device)
    with torch.no_grad():
        features = model.backbone(image)
        inputs: tuple = (features,)
        if part == "query decoder":
            lateral, scales = head.pixel_decoder.features(features)
            inputs = scales, lateral, head.pixel_decoder.mask_features
    function = head.predictor.last if part == "query decoder" else head.pixel_decoder.features
    function = torch.compile(function) if compiled else function
    return torch.no_grad()(lambda: function(*inputs))


def training_step(
    config_file: ConfigFile, image_size: tuple[int, int], batch: int = 2, options: Sequence[str] = ()
) -> Work:
    """Run forward, backward and optimizer on the same batch each time, which returns the losses.

    A teacher calls no query void, and a quarter of each image has no label, so that there is something to teach. With
    ZSSEG.REPLAY.DATASET, the last images of the batch count as its own. What a method studies before the first
    iteration is one noise image here.
    """
    model, cfg = random_model(config_file, options)
    model.train()
    optimizer = build_optimizer(cfg, model)
    replay = cfg.ZSSEG.REPLAY
    own = batch - (images_replayed(batch, replay.SHARE) if replay.DATASET else 0)
    classes = ClassSets.from_config(cfg)
    items = []
    for k in range(batch):
        source = {"dataset_name": replay.DATASET if k >= own else cfg.DATASETS.TRAIN[0]}
        of_image = classes.training_of(source)
        labels = [c for c in of_image.kept if c not in of_image.deleted]
        items.append({**scene(image_size, labels, k), **source})
    for part in model.modules():
        if isinstance(teacher := getattr(part, "teacher", None), nn.Module):
            name_every_query(teacher, model.padded_batches(items[:1])[0][1])
    study = study_of(cfg)
    if study is not None:
        names = MetadataCatalog.get(study.dataset).vocabulary.names
        model.use_study(model.study([{**scene(image_size, range(len(names)), 0), "dataset_name": study.dataset}]))

    def step() -> dict[str, Tensor]:
        optimizer.zero_grad()
        losses = model(items)
        sum(losses.values()).backward()
        optimizer.step()
        model.after_step()
        return losses

    return Work(model, step)


def scene(image_size: tuple[int, int], classes: Sequence[int], seed: int) -> dict:
    """Make a noise image with twelve rectangles of some classes as ground truth; its upper quarter has no label."""
    height, width = image_size
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    masks = torch.zeros(12, height, width, dtype=torch.bool)
    for k, mask in enumerate(masks):
        mask[(k % 3 + 1) * height // 4 :, k % 4 * width // 4 : (k % 4 + 1) * width // 4] = True
    instances = Instances((height, width))
    drawn = torch.randint(0, len(classes), (12,), generator=generator)
    instances.gt_masks, instances.gt_classes = masks, torch.tensor(list(classes))[drawn]
    return {"image": image, "instances": instances}


def text_rows(config_file: ConfigFile, *, cached: bool, options: Sequence[str] = ()) -> Callable[[], Tensor]:
    """Make the text rows of the test vocabulary as at a program's start: from the cache, or with CLIP's text tower."""
    model, _ = random_model(config_file, options)
    vocabulary = model.classes.evaluation().vocabulary
    if not cached:
        return lambda: TextClassifier(None)(vocabulary, model.backbone)
    folder = tempfile.TemporaryDirectory(prefix="zsseg_d2_")

    def read(folder: tempfile.TemporaryDirectory) -> Tensor:
        return TextClassifier(TextCache(folder.name))(vocabulary, model.backbone)

    read(folder)
    return partial(read, folder)  # which keeps the folder


def deformable_sampling(
    image_size: tuple[int, int], *, backward: bool, device: str = "cpu"
) -> Callable[[], tuple[Tensor, ...]]:
    """Sample as one layer of the pixel decoder does: 8 heads of 32 channels, 3 levels, 4 points."""
    shapes = [(image_size[0] // s, image_size[1] // s) for s in (32, 16, 8)]
    cells = sum(h * w for h, w in shapes)
    randn = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    centres = torch.cat([_centres(h, w) for h, w in shapes])[None, :, None, None, None]
    sizes = torch.tensor([(w, h) for h, w in shapes])[:, None]
    value = randn(1, cells, 8, 32).to(device)
    locations = (centres + 2 * randn(1, cells, 8, 3, 4, 2) / sizes).to(device)
    weights = randn(1, cells, 8, 12).softmax(-1).unflatten(-1, (3, 4)).to(device)
    if not backward:
        return torch.no_grad()(lambda: (deformable_attention.sampler(value, shapes)(locations, weights),))
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    upstream = randn(1, cells, 256).to(device)

    def both_ways() -> tuple[Tensor, ...]:
        output = deformable_attention.sampler(value, shapes)(locations, weights)
        return torch.autograd.grad(output, inputs, upstream)

    return both_ways


def _centres(h: int, w: int) -> Tensor:
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    return torch.stack((x, y), -1).flatten(0, 1)
