"""How often a captioner's first noun names the class of a true region, on scenes that nothing was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from ...auto_vocabulary.captioner import Captioner
from ...auto_vocabulary.cells import encoding_size
from ...auto_vocabulary.nouns import noun_phrases
from ...auto_vocabulary.word_lists import read_word_lists
from ...data.synthetic import CITY, PRETRAINING, Scene, World, render_scene
from ...evaluation.auto_vocabulary import ClassFinder

WORLDS = {"MiniWorld val": PRETRAINING, "MiniCity val": CITY}
VAL_SEED = 500_000
"""Seed of the first scene of both validation sets."""
_LEAST_PIXELS = 150
_LARGE = 0.01  # share of the image


@dataclass(frozen=True)
class NounAccuracy:
    """Regions whose first noun means their class, and all regions: of any size, and of at least 1 % of the image."""

    right: int
    regions: int
    large_right: int
    large: int

    def __str__(self) -> str:
        return (
            f"{self.right / max(1, self.regions):.3f} of {self.regions} regions, "
            f"{self.large_right / max(1, self.large):.3f} of {self.large} with at least 1 % of the image"
        )


def regions_of(scene: Scene, world: World) -> Iterator[tuple[int, np.ndarray]]:
    """Yield class and mask (H, W) of each annotated region: a thing or a crowd, or all stuff of a class.

    Regions of fewer than 150 pixels are left out.
    """
    names = [category.name for category in world.categories]
    stuff: dict[int, list[int]] = {}
    for thing in scene.objects:
        if thing.kind in names:
            k = names.index(thing.kind)
            if world.categories[k].isthing:
                stuff[-thing.index] = [k, thing.index]
            else:
                stuff.setdefault(k + 1, [k]).append(thing.index)
    for k, *indices in stuff.values():
        mask = np.isin(scene.index, indices)
        if mask.sum() >= _LEAST_PIXELS:
            yield k, mask


def noun_accuracy(captioner: Captioner, world: World, seeds: Sequence[int], side: int) -> NounAccuracy:
    """Caption the true regions of scenes, and compare the first noun with their class.

    Args:
        captioner: with the likeliest words, for one caption of each region.
        world: what is rendered.
        seeds: of the scenes.
        side: short side at which scenes are encoded, in pixels.
    """
    lists, finder = read_word_lists(), ClassFinder([category.synonyms for category in world.categories])
    counts = np.zeros((2, 2), int)
    for seed in tqdm(seeds, desc=world.name, unit="scene", disable=None):
        scene = render_scene(world, seed)
        image = torch.from_numpy(scene.image).permute(2, 0, 1)
        height, width = scene.index.shape
        cells = captioner.encode(image, encoding_size(height, width, side, captioner.patch, square=False))
        grid = (cells.shape[0], cells.shape[1])
        for k, mask in regions_of(scene, world):
            share = F.adaptive_avg_pool2d(torch.from_numpy(mask).float()[None], grid)[0]
            inside = (share > 0.3) | (share == share.max())
            phrases = noun_phrases(captioner.caption(cells[inside], [0])[0], lists)
            found = finder.find(phrases[0].text) if phrases else None
            counts[: 1 + int(mask.mean() >= _LARGE)] += (found is not None and found[0] == k, 1)
    return NounAccuracy(*map(int, counts.ravel()))
