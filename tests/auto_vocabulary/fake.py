"""A captioner for tests: cells are mean colors, and a cell says what its color is called."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zsseg_d2.auto_vocabulary.registry import CAPTIONER_REGISTRY

SAYS = ("a photo of a car", "there is a green tree", "the blue sky")
"""What is said of red, green and blue cells; of seed 1 and above, a closing word is added."""


class ColorCaptioner:
    patch = 16

    def __init__(self, weights: str = "", decoding: object = None, device: str = "cpu") -> None:
        self.weights, self.decoding, self.device = weights, decoding, device
        self.calls: list[tuple[tuple[int, int], tuple[int, ...]]] = []

    def encode(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        self.calls.append((size, tuple(image.shape)))
        cells = F.adaptive_avg_pool2d(image.float()[None], (size[0] // 16, size[1] // 16))
        return cells[0].permute(1, 2, 0) / 25

    def caption(self, cells: Tensor, seeds: Sequence[int]) -> list[str]:
        mean = cells.mean(0)
        if mean.max() - mean.min() < 1:
            return ["" for _ in seeds]
        return [SAYS[int(mean.argmax())] + (" and a road" if seed % 2 else "") for seed in seeds]


if "colors" not in CAPTIONER_REGISTRY:
    CAPTIONER_REGISTRY.register_as("colors")(ColorCaptioner)


def stripes(*colors: tuple[int, int, int], height: int = 64, width: int = 48) -> Tensor:
    """Make an image of vertical stripes of `width` pixels each; (3, height, width · len(colors)) uint8."""
    return torch.cat([torch.tensor(c, dtype=torch.uint8).view(3, 1, 1).expand(3, height, width) for c in colors], 2)


RED, GREEN, BLUE, GRAY = (220, 20, 20), (20, 200, 30), (30, 30, 210), (120, 120, 120)
