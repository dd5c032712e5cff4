"""Contrastive pre-training of a small CLIP on regions of procedural scenes and their captions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ...data.synthetic import PRETRAINING, Scene, SceneObject, render_scene
from ...data.synthetic.captions import Caption, caption, phrase_caption
from ...modeling.clip.text import text_embeddings
from ...modeling.clip.towers import find_tower
from ...modeling.clip.vit import dense_cells, region_means
from ...worker_pool import worker_pool

_KINDS_WITHOUT_CATEGORY = {
    "pole": ("pole", "poles"),
    "rider": ("rider",),
}  # CLIP knows words that no mask was labelled with


@dataclass(frozen=True)
class RegionBatch:
    """Images (B, 3, h, w) in 0 … 255; for each image its R regions.

    These are masks (R, h / stride, w / stride) bool, the objects, and where their middles are, as shares of the width.
    """

    images: Tensor
    regions: list[Tensor]
    objects: list[list[SceneObject]]
    places: list[list[float]]


def _render(seed: int) -> Scene:
    return render_scene(PRETRAINING, seed)


class SceneSampler:
    """Random crops, scales, flips and colours of scenes of the pre-training world.

    Args:
        scenes: how many are rendered and kept (0.65 MB each). size: (h, w) of a crop, multiples of the stride.
        stride: pixels of a cell of the tower. phrases: captions in the words of MiniPhrases.
    """

    def __init__(
        self, scenes: int, size: tuple[int, int], seed: int, workers: int, *, stride: int = 32, phrases: bool = False
    ) -> None:
        self.size, self.rng = size, np.random.default_rng(seed)
        self.stride, self.phrases = stride, phrases
        with worker_pool(workers, "rendered scenes", method="spawn") as pool:
            jobs = pool.map(_render, range(seed * 1_000_003, seed * 1_000_003 + scenes), chunksize=8)
            self.scenes = list(tqdm(jobs, total=scenes, desc="scenes", unit="scene", disable=None))
        self.synonyms = {c.name: c.synonyms for c in PRETRAINING.categories} | _KINDS_WITHOUT_CATEGORY

    def batch(self, number: int) -> RegionBatch:
        """Draw `number` crops with the regions that are visible in them."""
        crops = [self._crop(self.scenes[self.rng.integers(len(self.scenes))]) for _ in range(number)]
        images, regions, objects, places = zip(*crops)
        return RegionBatch(torch.stack(images), list(regions), list(objects), list(places))

    def captions(self, batch: RegionBatch) -> list[Caption]:
        """Draw one true caption per region, image by image."""
        found = []
        for o, place in zip(sum(batch.objects, []), sum(batch.places, [])):
            arguments = (self.synonyms[o.kind], self.rng)
            found.append(phrase_caption(o, place, *arguments) if self.phrases else caption(o, *arguments))
        return found

    def _crop(self, scene: Scene) -> tuple[Tensor, Tensor, list[SceneObject], list[float]]:
        rng, (h, w) = self.rng, self.size
        scale = math.exp(rng.uniform(math.log(0.75), math.log(1.6)))
        height, width = (min(int(side / scale), limit) for side, limit in zip((h, w), scene.index.shape))
        top = rng.integers(scene.index.shape[0] - height + 1)
        left = rng.integers(scene.index.shape[1] - width + 1)
        window = np.s_[top : top + height, left : left + width]
        image = torch.from_numpy(scene.image[window].copy()).permute(2, 0, 1)[None].float()
        index = torch.from_numpy(scene.index[window].astype(np.int64))[None, None].float()
        image = F.interpolate(image, size=self.size, mode="bilinear", align_corners=False, antialias=True)[0]
        index = F.interpolate(index, size=self.size, mode="nearest")[0, 0].long()
        if rng.random() < 0.5:
            image, index = image.flip(-1), index.flip(-1)
        objects = [o for o in scene.objects if o.kind in self.synonyms and int((index == o.index).sum()) >= 150]
        share = torch.stack([(index == o.index).float() for o in objects]) if objects else torch.zeros(0, h, w)
        places = [_middle(mask) / w for mask in share]
        share = F.avg_pool2d(share, self.stride) if objects else share[:, :: self.stride, :: self.stride]
        inside = (share > 0.3) | (share == share.amax((-1, -2), keepdim=True))
        return self._jitter(image), inside, objects, places

    def _jitter(self, image: Tensor) -> Tensor:
        """Vary brightness, contrast, saturation and colour cast."""
        rng = self.rng
        grey = image.mean(0, keepdim=True)
        image = grey + (image - grey) * rng.uniform(0.5, 1.3)
        image = (image - image.mean()) * rng.uniform(0.7, 1.3) + image.mean() * rng.uniform(0.75, 1.2)
        cast = torch.tensor(rng.uniform(0.92, 1.08, size=(3, 1, 1)), dtype=torch.float32)
        noise = torch.from_numpy(rng.normal(0, rng.uniform(0, 6), image.shape).astype(np.float32))
        return (image * cast + noise).clamp(0, 255)


def _middle(mask: Tensor) -> float:
    """Return the middle of the columns that a mask (h, w) touches."""
    columns = mask.any(0).nonzero()
    return float(columns[0] + columns[-1] + 1) / 2


def region_text_loss(regions: Tensor, texts: Tensor, fits: Tensor, own: Tensor, scale: Tensor) -> Tensor:
    """Compute symmetric InfoNCE (Radford et al. 2021, figure 3); other true texts of a region are not its negatives.

    Args:
        regions: (R, E), L2-normalised.
        texts: (L, E), L2-normalised and distinct.
        fits: (R, L) bool, whether a text is true of a region.
        own: (R,) index of each region's own text.
        scale: () multiplier of cosines.
    """
    logits = scale * regions @ texts.T
    one_hot = F.one_hot(own, len(texts)).bool()
    to_text = F.cross_entropy(logits.masked_fill(fits & ~one_hot, float("-inf")), own)
    log_region = logits.masked_fill(fits & ~one_hot, float("-inf")).log_softmax(0)
    to_region = -(log_region.masked_fill(~one_hot, 0).sum(0) / one_hot.sum(0)).mean()
    return (to_text + to_region) / 2


def pretrain_clip(
    model: nn.Module,
    tokenizer: Callable[[list[str]], Tensor],
    *,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    scenes: int,
    workers: int,
    size: tuple[int, int] | None = None,
    mean: Tensor,
    std: Tensor,
) -> list[dict[str, float]]:
    """Train `model` in place; it is left in eval mode.

    Args:
        model: an open_clip CLIP with a ResNet, or with a ViT that pools the mean; a ViT is given captions in the words
            of MiniPhrases.
        tokenizer: of the model.
        steps: iterations.
        batch: scene crops per step.
        lr: learning rate after the warm-up.
        seed: of scenes, crops and captions.
        scenes: scenes that are rendered and kept in memory.
        workers: processes that render.
        size: of crops. Default: 192 x 256 for a ResNet, its own image size for a ViT.
        mean: (3, 1, 1), of images in [0, 255].
        std: (3, 1, 1), of images in [0, 255].

    Returns:
        One dict of smoothed ``loss`` and ``accuracy`` every 50 steps and at the end.
    """
    torch.manual_seed(seed)
    sampler = _sampler(model.visual, scenes, seed, workers, size)
    optimizer = _optimizer(model, lr)
    warmup = max(1, min(100, steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warmup, 0.5 * (1 + math.cos(math.pi * i / steps)))
    )
    model.train()
    history: list[dict[str, float]] = []
    smooth: dict[str, float] = {}
    bar = tqdm(range(steps), desc="CLIP", unit="step", disable=None)
    for step in bar:
        data = sampler.batch(batch)
        captions = sampler.captions(data)
        loss, accuracy = _step_loss(model, tokenizer, data, captions, (data.images - mean) / std)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        for name, value in (("loss", float(loss)), ("accuracy", accuracy)):
            smooth[name] = value if step == 0 else 0.95 * smooth[name] + 0.05 * value
        bar.set_postfix(smooth)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            history.append({"step": step + 1, **smooth})
    model.eval()
    return history


def _sampler(visual: Any, scenes: int, seed: int, workers: int, size: tuple[int, int] | None) -> SceneSampler:
    """Build the sampler that fits an open_clip image tower."""
    if hasattr(visual, "patch_size"):
        size = size or tuple(visual.image_size)
        return SceneSampler(scenes, size, seed, workers, stride=visual.patch_size[0], phrases=True)
    return SceneSampler(scenes, size or (192, 256), seed, workers, stride=32, phrases=False)


def _optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Build AdamW; vectors and scalars do not decay."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=lr)


def _step_loss(
    model: Any, tokenizer: Callable, data: RegionBatch, captions: list[Caption], images: Tensor
) -> tuple[Tensor, float]:
    most = max(len(r) for r in data.regions)
    masks = torch.stack([F.pad(r, (0, 0, 0, 0, 0, most - len(r))) for r in data.regions])
    if hasattr(model.visual, "patch_size"):
        regions = region_means(model.visual, dense_cells(model.visual, images), masks)
    else:
        tower = find_tower(model.visual)
        regions = tower.region_embeddings(tower.dense_features(images)["clip_vis_dense"], masks)
    regions = F.normalize(torch.cat([r[: len(m)] for r, m in zip(regions, data.regions)]), dim=-1)
    distinct = {c.text: c for c in captions}
    position = {text: i for i, text in enumerate(distinct)}
    texts = F.normalize(text_embeddings(model, tokenizer(list(distinct))), dim=-1)
    own = torch.tensor([position[c.text] for c in captions])
    where = list(zip(sum(data.objects, []), sum(data.places, [])))
    fits = torch.tensor([[c.fits(o, place) for c in distinct.values()] for o, place in where])
    loss = region_text_loss(regions, texts, fits, own, model.logit_scale.exp().clamp(max=100))
    best = (regions @ texts.T).argmax(-1)
    return loss, float(fits.gather(1, best[:, None]).float().mean())
