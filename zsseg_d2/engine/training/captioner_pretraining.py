"""Training of the embedded captioner on sets of cells of procedural scenes: true regions, and impure sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ...auto_vocabulary.mini_captioner import PAD, CaptionDecoder
from ...data.synthetic.scene import SceneObject
from ...data.synthetic.set_captions import Part, set_caption
from .clip_pretraining import SceneSampler

CELLS = 32
"""Cells of a set that a step reads; of larger sets a random part."""
_KINDS = ("region", "objects", "cluster", "mixture", "window")
_CHANCES = (0.25, 0.15, 0.4, 0.12, 0.08)


@dataclass(frozen=True)
class View:
    """A crop of a scene as the captioner sees it.

    Attributes:
        cells: (h, w, C) float16.
        shares: (R, h, w) float16, part of each cell that an object covers.
        inside: (R, h, w) bool, cells that count as an object's own.
        objects: R.
        clusters: (h, w) of each clustering, the number of each cell's cluster.
    """

    cells: Tensor
    shares: Tensor
    inside: Tensor
    objects: list[SceneObject]
    clusters: list[Tensor]


def make_views(
    sampler: SceneSampler, encode: Callable[[Tensor], Tensor], cluster: Callable, number: int, rng: np.random.Generator
) -> list[View]:
    views = []
    for _ in tqdm(range(number), desc="views", unit="view", disable=None):
        batch = sampler.batch(1)
        if not batch.objects[0]:
            continue
        cells = encode(batch.images[0])
        clusters = [cluster(cells, rng) for _ in range(3)]
        views.append(View(cells.half(), batch.shares[0].half(), batch.regions[0], batch.objects[0], clusters))
    return views


def draw_set(view: View, rng: np.random.Generator) -> Tensor:
    """Draw a set of cells, (h, w) bool with at least one cell."""
    kind = _KINDS[int(rng.choice(len(_KINDS), p=_CHANCES))]
    number, h, w = view.inside.shape
    one = view.inside[int(rng.integers(number))]
    if kind == "region":
        return one
    if kind == "objects":
        chosen = view.objects[int(rng.integers(number))].kind
        return torch.stack([m for m, o in zip(view.inside, view.objects) if o.kind == chosen]).any(0)
    if kind == "cluster":
        clusters = view.clusters[int(rng.integers(len(view.clusters)))]
        present = clusters.unique()
        return clusters == present[int(rng.integers(len(present)))]
    if kind == "mixture":
        others = [view.inside[int(rng.integers(number))] for _ in range(int(rng.integers(1, 3)))]
        parts = [_fragment(mask, rng) for mask in (one, *others)]
        return torch.stack(parts).any(0)
    top, left = int(rng.integers(h)), int(rng.integers(w))
    window = torch.zeros(h, w, dtype=torch.bool)
    window[top : top + int(rng.integers(1, 6)), left : left + int(rng.integers(1, 6))] = True
    return window


def _fragment(mask: Tensor, rng: np.random.Generator) -> Tensor:
    cells = mask.nonzero()
    kept = cells[rng.permutation(len(cells))[: max(1, int(len(cells) * rng.uniform(0.1, 0.8)))]]
    found = torch.zeros_like(mask)
    found[kept[:, 0], kept[:, 1]] = True
    return found


def parts_of(view: View, inside: Tensor) -> list[Part]:
    """Return what a set of cells shows."""
    shares = (view.shares.float() * inside).sum((-1, -2)).tolist()
    return [Part(o, share) for o, share in zip(view.objects, shares) if share > 0]


def batch_of(
    views: Sequence[View],
    decoder: CaptionDecoder,
    names: Mapping[str, Sequence[str]],
    size: int,
    rng: np.random.Generator,
    second: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw sets of cells and captions: cells (B, n, C), padding (B, n), tokens (B, L)."""
    sets: list[Tensor] = []
    captions: list[list[int]] = []
    while len(sets) < size:
        view = views[int(rng.integers(len(views)))]
        inside = draw_set(view, rng)
        parts = parts_of(view, inside)
        covered = sum(part.share for part in parts)
        if covered < 0.3 * int(inside.sum()) and covered < 0.3:
            continue
        cells = view.cells[inside]
        columns = inside.any(0).nonzero()
        place = float(columns.float().mean() + 0.5) / inside.shape[1]
        sets.append(cells[rng.permutation(len(cells))[:CELLS]].float())
        captions.append(decoder.tokens(set_caption(parts, names, place, rng, second)))
    most, longest = max(map(len, sets)), max(map(len, captions))
    cells = torch.stack([F.pad(s, (0, 0, 0, most - len(s))) for s in sets])
    padding = torch.stack([torch.arange(most) >= len(s) for s in sets])
    pad = decoder.index[PAD]
    return cells, padding, torch.tensor([c + [pad] * (longest - len(c)) for c in captions])


def train_decoder(decoder, views, names, *, steps, batch, lr, seed, second, dropout_words=0.0):
    rng = np.random.default_rng(seed)
    decayed = [p for p in decoder.parameters() if p.dim() > 1]
    plain = [p for p in decoder.parameters() if p.dim() <= 1]
    opt = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=lr)
    warm = max(1, min(100, steps // 10))
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda i: min((i + 1) / warm, 0.5 * (1 + math.cos(math.pi * i / steps)))
    )
    decoder.train()
    bar = tqdm(range(steps), desc="captioner", unit="step", disable=None)
    smooth = None
    for step in bar:
        cells, padding, tokens = batch_of(views, decoder, names, batch, rng, second)
        logits = decoder(tokens[:, :-1], cells, padding)
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=decoder.index[PAD])
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        opt.step()
        sched.step()
        value = loss.item()
        smooth = value if smooth is None else 0.98 * smooth + 0.02 * value
        if step % 100 == 99:
            print(step + 1, round(smooth, 3), flush=True)
    decoder.eval()
