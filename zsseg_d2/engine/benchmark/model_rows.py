"""The model side: inference, training steps, text rows, deformable attention. Random weights, so that anyone can run it.

Each function makes its inputs once, by a fixed seed, and returns what is to be timed: a function without arguments.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import Tensor, nn

from ...modeling.clip.text_classifier import TextClassifier
from ...modeling.deformable_attention import attention as deformable_attention
from ...text_cache import TextCache
from ..config.setup import setup_cfg
from ..training.solver import build_optimizer

RANDOM_WEIGHTS = ("MODEL.WEIGHTS", "", "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", "")


def random_model(config_file: str, options: Sequence[str] = ()) -> tuple[nn.Module, CfgNode]:
    """The model of a config file with random weights, by the seed 0."""
    cfg = setup_cfg(argparse.Namespace(config_file=config_file, opts=[*RANDOM_WEIGHTS, *options]), check=False)
    torch.manual_seed(0)
    return build_model(cfg), cfg


def inference(
    config_file: str, image_size: tuple[int, int], options: Sequence[str] = (), batch: int = 1
) -> Callable[[], dict]:
    """Panoptic inference on images of noise, text rows made before. No query is void: the most that can be asked.

    Returns:
        A function that returns the first image's result; its attribute ``model`` is the model.
    """
    model, _ = random_model(config_file, ("MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0", *options))
    model.eval()
    generator = torch.Generator().manual_seed(0)
    items = [
        {"image": torch.randint(0, 256, (3, *image_size), dtype=torch.uint8, generator=generator)} for _ in range(batch)
    ]
    model.text_rows(model.classes.evaluation().vocabulary)
    with torch.no_grad():  # random weights may call every query void: void becomes the queries' opposite
        (_, images), *_ = model.padded_batches(items[:1])
        queries, _ = model.decode_last(model.backbone(images))
        model.void_embedding.weight.copy_(-F.normalize(queries.class_embed[0].float(), dim=-1).mean(0, keepdim=True))

    def run() -> dict:
        return model(items)[0]

    run.model = model
    return run


def head_part(
    config_file: str, image_size: tuple[int, int], part: str, *, compiled: bool, options: Sequence[str] = ()
) -> Callable:
    """Inference of one part of the head on the features of an image of noise.

    Args:
        part: "pixel decoder" or "query decoder". compiled: by ``torch.compile``, which needs a C++ compiler and minutes.
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
    config_file: str, image_size: tuple[int, int], batch: int = 2, options: Sequence[str] = ()
) -> Callable[[], dict[str, Tensor]]:
    """Forward, backward and optimizer on a batch that stays the same.

    Returns:
        A function that returns the losses; its attribute ``model`` is the model.
    """
    model, cfg = random_model(config_file, options)
    model.train()
    optimizer = build_optimizer(cfg, model)
    items = [scene(image_size, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, k) for k in range(batch)]

    def step() -> dict[str, Tensor]:
        optimizer.zero_grad()
        losses = model(items)
        sum(losses.values()).backward()
        optimizer.step()
        return losses

    step.model = model
    return step


def scene(image_size: tuple[int, int], classes: int, seed: int) -> dict:
    """An image of noise with twelve rectangles as ground truth."""
    height, width = image_size
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    masks = torch.zeros(12, height, width, dtype=torch.bool)
    for k, mask in enumerate(masks):
        mask[k % 3 * height // 3 :, k % 4 * width // 4 : (k % 4 + 1) * width // 4] = True
    instances = Instances((height, width))
    instances.gt_masks, instances.gt_classes = masks, torch.randint(0, classes, (12,), generator=generator)
    return {"image": image, "instances": instances}


def text_rows(config_file: str, *, cached: bool, options: Sequence[str] = ()) -> Callable[[], Tensor]:
    """The text rows of the test vocabulary at a program's start: read from the cache, or by CLIP's text tower."""
    model, _ = random_model(config_file, options)
    vocabulary = model.classes.evaluation().vocabulary
    if not cached:
        return lambda: TextClassifier(None)(vocabulary, model.backbone)
    folder = tempfile.TemporaryDirectory(prefix="zsseg_d2_")
    TextClassifier(TextCache(folder.name))(vocabulary, model.backbone)

    def read(folder=folder) -> Tensor:  # the folder lives as long as the function
        return TextClassifier(TextCache(folder.name))(vocabulary, model.backbone)

    return read


def deformable_sampling(
    image_size: tuple[int, int],
    *,
    backward: bool,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch: int = 1,
) -> Callable[[], tuple[Tensor, ...]]:
    """One layer's sampling of the pixel decoder (8 heads of 32 channels, 3 levels, 4 points), from projections to sums."""
    shapes = [(image_size[0] // s, image_size[1] // s) for s in (32, 16, 8)]
    cells = sum(h * w for h, w in shapes)
    generator = torch.Generator().manual_seed(0)

    def randn(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    centres = torch.cat([_centres(h, w) for h, w in shapes])[None, :, None, None, None]
    sizes = torch.tensor([(w, h) for h, w in shapes])[:, None]
    value = randn(batch, cells, 8, 32).to(device, dtype)
    locations = (centres + 2 * randn(batch, cells, 8, 3, 4, 2) / sizes).to(device)
    weights = randn(batch, cells, 8, 12).softmax(-1).unflatten(-1, (3, 4)).to(device, dtype)
    inputs = [value, locations, weights]
    if not backward:
        return torch.no_grad()(lambda: (deformable_attention.sampler(value, shapes)(locations, weights),))
    for tensor in inputs:
        tensor.requires_grad_()
    upstream = randn(batch, cells, 256).to(device, dtype)

    def both_ways() -> tuple[Tensor, ...]:
        output = deformable_attention.sampler(value, shapes)(locations, weights)
        return torch.autograd.grad(output, inputs, upstream)

    return both_ways


def _centres(h: int, w: int) -> Tensor:
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    return torch.stack((x, y), -1).flatten(0, 1)
