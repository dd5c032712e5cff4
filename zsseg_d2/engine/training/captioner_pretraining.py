"""Training of the embedded captioner on sets of cells of procedural scenes: true regions, and impure sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ...auto_vocabulary.cells import with_positions
from ...auto_vocabulary.kmeans import kmeans
from ...auto_vocabulary.mini_captioner import END, MEAN, PAD, START, STD, CaptionDecoder, clip_cells
from ...data.synthetic import PRETRAINING
from ...data.synthetic.palette import COLOUR_NAMES
from ...data.synthetic.scene import SceneObject
from ...data.synthetic.set_captions import Part, caption_words, set_caption
from ...modeling.clip.vit import CLIPViT
from .clip_pretraining import SceneSampler

SIZE = 256, 512
"""Pixels of a view: whole scenes, and parts of them enlarged."""
_CELLS = 32  # that a step reads of a set; of larger sets a random part
_CLUSTERINGS = 2  # of a view
_SETS = {"region": 0.35, "kind": 0.1, "cluster": 0.4, "mixture": 0.1, "window": 0.05}
_WHOLE = 0.3  # weight of the share of an object that a set has, beside the share of the set that is the object's
_LEAST_NAMED = 0.5  # of a set; others have no caption


@dataclass(frozen=True)
class View:
    """A crop of a scene as the captioner sees it.

    Attributes:
        cells: (h, w, C) float16, standardized.
        inside: (R, h, w) bool, cells that count as an object's own.
        objects: R.
        clusterings: (h, w) each, the number of each cell's cluster.
    """

    cells: Tensor
    inside: Tensor
    objects: list[SceneObject]
    clusterings: list[Tensor]


def pretrain_captioner(
    clip: CLIPViT,
    *,
    scenes: int,
    views: int,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    workers: int,
    second: float = 0.25,
) -> tuple[CaptionDecoder, list[dict[str, float]]]:
    """Train a decoder for a frozen ViT from random weights.

    Args:
        clip: its cells are read.
        scenes: rendered scenes of the pre-training world.
        views: crops of them that are encoded and kept in memory (0.2 MB each).
        steps: iterations.
        batch: sets of cells per step.
        lr: learning rate after the warm-up.
        seed: of scenes, crops, sets, captions and weights.
        workers: processes that render.
        second: share of a set from which a second kind is named too.

    Returns:
        The decoder, in eval mode; and one dict of smoothed ``loss`` every 50 steps and at the end.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    sampler = SceneSampler(scenes, SIZE, seed, workers, stride=clip.patch)
    names = sampler.synonyms
    things = [c.name for c in PRETRAINING.categories if c.isthing] + ["rider"]
    words = (START, END, PAD, *caption_words(names, things, COLOUR_NAMES))
    decoder = CaptionDecoder(words, clip.width * len(clip.layers))
    found = make_views(clip, sampler, views, decoder, rng)
    return decoder, _train(decoder, found, names, steps=steps, batch=batch, lr=lr, second=second, rng=rng)


def make_views(
    clip: CLIPViT, sampler: SceneSampler, number: int, decoder: CaptionDecoder, rng: np.random.Generator
) -> list[View]:
    """Draw, encode and cluster crops, and set the decoder's mean and deviation of cells.

    Args:
        clip: encodes crops.
        sampler: draws them.
        number: of crops; those without an object are left out.
        decoder: standardizes cells.
        rng: of the clusterings.
    """
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    drawn = []
    for _ in tqdm(range(number), desc="views", unit="view", disable=None):
        data = sampler.batch(1)
        if data.objects[0]:
            drawn.append((clip_cells(clip, (data.images - mean) / std)[0].half(), data))
    sample = torch.cat([cells.flatten(0, 1)[::7].float() for cells, _ in drawn])
    decoder.cell_mean.copy_(sample.mean(0))
    decoder.cell_std.copy_(sample.std(0))
    views = []
    for raw, data in tqdm(drawn, desc="clusters", unit="view", disable=None):
        cells = decoder.standardize(raw.float())
        clusterings = [_clustering(cells, rng) for _ in range(_CLUSTERINGS)]
        views.append(View(cells.half(), data.regions[0], data.objects[0], clusterings))
    return views


def _clustering(cells: Tensor, rng: np.random.Generator) -> Tensor:
    """Cluster cells (h, w, C) as the auto-vocabulary does, with a random number of clusters and weight of positions."""
    points = with_positions(cells.numpy(), float(rng.uniform(0, 1)))
    seed = int(rng.integers(2**31))
    labels = kmeans(points, int(rng.integers(2, 17)), seed, restarts=1, iterations=20)
    return torch.from_numpy(labels).view(cells.shape[:2])


def draw_set(view: View, rng: np.random.Generator) -> Tensor:
    """Draw a set of cells: an object, a kind, a cluster, fragments of two or three objects, or a rectangle.

    Returns:
        (h, w) bool with at least one cell.
    """
    form = list(_SETS)[int(rng.choice(len(_SETS), p=list(_SETS.values())))]
    number, h, w = view.inside.shape
    one = int(rng.integers(number))
    if form == "region":
        return view.inside[one]
    if form == "kind":
        same = [k for k, o in enumerate(view.objects) if o.kind == view.objects[one].kind]
        return view.inside[same].any(0)
    if form == "cluster":
        labels = view.clusterings[int(rng.integers(len(view.clusterings)))]
        return labels == labels[int(rng.integers(h)), int(rng.integers(w))]
    if form == "mixture":
        several = [one, *(int(rng.integers(number)) for _ in range(int(rng.integers(1, 3))))]
        return torch.stack([_fragment(view.inside[k], rng) for k in several]).any(0)
    top, left = int(rng.integers(h)), int(rng.integers(w))
    window = torch.zeros(h, w, dtype=torch.bool)
    window[top : top + int(rng.integers(1, 6)), left : left + int(rng.integers(1, 6))] = True
    return window


def _fragment(inside: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a random part of some cells (h, w)."""
    cells = inside.nonzero()
    kept = cells[rng.permutation(len(cells))[: max(1, int(len(cells) * rng.uniform(0.1, 0.8)))]]
    found = torch.zeros_like(inside)
    found[kept[:, 0], kept[:, 1]] = True
    return found


def parts_of(view: View, inside: Tensor) -> list[Part]:
    """Return what a set of cells (h, w) shows, and how much.

    A kind counts by the share of the set that is its own, and, so that a thin object is named before what is behind it,
    a little by the share of its own cells that the set has. Its objects share this by their cells.
    """
    cells = (view.inside & inside).flatten(1).sum(1).tolist()
    kinds = [thing.kind for thing in view.objects]
    found = []
    for kind in dict.fromkeys(kinds):
        same = [k for k, other in enumerate(kinds) if other == kind]
        own = view.inside[same].any(0)
        both = int((own & inside).sum())
        weight = both / int(inside.sum()) + _WHOLE * both / int(own.sum())
        total = sum(cells[k] for k in same)
        found += [Part(view.objects[k], weight * cells[k] / total) for k in same if cells[k]]
    return found


def draw_batch(
    views: Sequence[View],
    decoder: CaptionDecoder,
    names: Mapping[str, Sequence[str]],
    batch: int,
    second: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw sets of cells with a true caption each.

    Args:
        views: see :func:`make_views`.
        decoder: knows the numbers of words.
        names: kind -> synonyms.
        batch: B.
        second: share of a set from which a second kind is named too.
        rng: draws.

    Returns:
        Cells (B, n, C), where they are padding (B, n), and tokens (B, L).
    """
    sets: list[Tensor] = []
    captions: list[list[int]] = []
    while len(sets) < batch:
        view = views[int(rng.integers(len(views)))]
        inside = draw_set(view, rng)
        parts, size = parts_of(view, inside), int(inside.sum())
        if not parts or sum(part.share for part in parts) < _LEAST_NAMED:
            continue
        place = float(inside.any(0).nonzero().float().mean() + 0.5) / inside.shape[1]
        captions.append(decoder.tokens(set_caption(parts, names, place, rng, second)))
        cells = view.cells[inside]
        sets.append(cells[rng.permutation(size)[:_CELLS]].float())
    most, longest, pad = max(map(len, sets)), max(map(len, captions)), decoder.index[PAD]
    return (
        torch.stack([F.pad(cells, (0, 0, 0, most - len(cells))) for cells in sets]),
        torch.stack([torch.arange(most) >= len(cells) for cells in sets]),
        torch.tensor([tokens + [pad] * (longest - len(tokens)) for tokens in captions]),
    )


def _train(
    decoder: CaptionDecoder,
    views: Sequence[View],
    names: Mapping[str, Sequence[str]],
    *,
    steps: int,
    batch: int,
    lr: float,
    second: float,
    rng: np.random.Generator,
) -> list[dict[str, float]]:
    """Train a decoder in place by cross-entropy of the next word."""
    decayed = [p for p in decoder.parameters() if p.dim() > 1]
    plain = [p for p in decoder.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    warmup = max(1, min(100, steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warmup, 0.5 * (1 + math.cos(math.pi * i / steps)))
    )
    decoder.train()
    history: list[dict[str, float]] = []
    smooth = math.nan
    bar = tqdm(range(steps), desc="captioner", unit="step", disable=None)
    for step in bar:
        cells, padding, tokens = draw_batch(views, decoder, names, batch, second, rng)
        logits = decoder(tokens[:, :-1], cells, padding)
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=decoder.index[PAD])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if step == 0 else 0.95 * smooth + 0.05 * loss.item()
        bar.set_postfix(loss=smooth)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            history.append({"step": step + 1, "loss": smooth})
    decoder.eval()
    return history
