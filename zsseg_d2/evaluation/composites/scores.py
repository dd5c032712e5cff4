"""Scores of a mask and a depth as pure functions: one image to counts and sums, and those of N images to scores.

Counts are whole numbers and sums are kept per image, so that scores do not depend on batches, their order, or the
number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

METRIC, RELATIVE = "metric", "relative"
"""Values of ``depth_kind``: metres, or depth up to a scale and a shift."""

_TOLERANCE = 0.008  # of the boundary F, as a share of the image's diagonal (Perazzi et al. 2016)
_SSIM = {"sigma": 1.5, "truncate": 3.5, "mode": "mirror"}  # a window of 11×11 pixels
_C1, _C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class MaskCounts:
    """Pixel counts of one image."""

    intersection: int
    predicted: int
    truth: int
    pixels: int
    boundary_f: float = math.nan

    @property
    def iou(self) -> float:
        """Intersection over union; 1 if prediction and truth are empty."""
        union = self.predicted + self.truth - self.intersection
        return self.intersection / union if union else 1.0

    @property
    def dice(self) -> float:
        """Twice the intersection over the sum of both areas; 1 if both are empty."""
        both = self.predicted + self.truth
        return 2 * self.intersection / both if both else 1.0

    @property
    def correct(self) -> int:
        """Number of pixels on the right side."""
        return self.pixels - self.predicted - self.truth + 2 * self.intersection


def compare_masks(predicted: np.ndarray, truth: np.ndarray) -> MaskCounts:
    """Compare an (H, W) bool mask with the truth.

    Raises:
        ValueError: shapes differ.
    """
    _check_shapes(predicted, truth)
    return MaskCounts(
        int((predicted & truth).sum()),
        int(predicted.sum()),
        int(truth.sum()),
        truth.size,
        boundary_f(predicted, truth),
    )


def boundary_f(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Compute the F-measure of boundaries (Perazzi et al. 2016, section 4).

    A boundary pixel is one of the mask with a neighbor above, below, left or right outside of it; the border of the
    image is no boundary. It is matched if the other boundary is within 0.008 of the image's diagonal, rounded up to
    pixels.

    Args:
        predicted: (H, W) bool.
        truth: (H, W) bool.

    Returns:
        2PR / (P + R) of precision and recall, in [0, 1]; 1 if neither mask has a boundary.
    """
    tolerance = math.ceil(_TOLERANCE * math.hypot(*truth.shape))
    one, other = _boundary(predicted), _boundary(truth)
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    precision = float((ndimage.distance_transform_edt(~other)[one] <= tolerance).mean())
    recall = float((ndimage.distance_transform_edt(~one)[other] <= tolerance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, border_value=True)


@dataclass(frozen=True)
class DepthSums:
    """Sums over the pixels of one image whose depth is known."""

    kind: str
    pixels: int
    squared: float  # Σ (d - d̂)²
    relative: float  # Σ |d - d̂| / d
    close: int  # pixels where max(d / d̂, d̂ / d) < 1.25
    aligned: float  # Σ (d - s·d̂ - t)² with the scale s and the shift t that fit best
    ssim: float
    truth: float  # Σ d
    truth_squared: float  # Σ d²
    nearest: float
    farthest: float


def compare_depths(predicted: np.ndarray, truth: np.ndarray, kind: str, span: float) -> DepthSums | None:
    """Compare an (H, W) depth with the truth, where that is finite and positive.

    Args:
        predicted: (H, W) positive.
        truth: (H, W) in the same unit; other values are unknown.
        kind: "metric" or "relative".
        span: the data range of SSIM, in the unit of both.

    Returns:
        The sums; None if no depth is known.

    Raises:
        ValueError: shapes differ, or a prediction is not finite.
    """
    _check_shapes(predicted, truth)
    known = np.isfinite(truth) & (truth > 0)
    if not known.any():
        return None
    d, p = truth[known].astype(np.float64), predicted[known].astype(np.float64)
    if not np.isfinite(p).all():
        raise ValueError("the predicted depth is not finite everywhere")
    ratio = np.maximum(d / np.maximum(p, 1e-12), p / d)
    fitted = _fitted(p, d)
    whole = np.where(known, predicted, 0.0).astype(np.float64)
    if kind == RELATIVE:
        whole[known] = fitted
    return DepthSums(
        kind=kind,
        pixels=len(d),
        squared=float(((d - p) ** 2).sum()),
        relative=float((np.abs(d - p) / d).sum()),
        close=int((ratio < 1.25).sum()),
        aligned=float(((d - fitted) ** 2).sum()),
        ssim=float(ssim(whole / span, np.where(known, truth, 0.0) / span)[known].mean()),
        truth=float(d.sum()),
        truth_squared=float((d**2).sum()),
        nearest=float(d.min()),
        farthest=float(d.max()),
    )


def _fitted(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return `predicted` with the scale and the shift that fit `truth` best (MiDaS, Ranftl et al. 2020, equation 2)."""
    columns = np.stack([predicted, np.ones_like(predicted)], 1)
    return columns @ np.linalg.lstsq(columns, truth, rcond=None)[0]


def ssim(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Compute the structural similarity of each pixel in float64 (Wang et al. 2004), with a data range of 1.

    Args:
        one: (H, W).
        two: (H, W).
    """
    one, two = one.astype(np.float64), two.astype(np.float64)
    a, b, aa, bb, ab = (ndimage.gaussian_filter(x, **_SSIM) for x in (one, two, one * one, two * two, one * two))
    light = (2 * a * b + _C1) / (a * a + b * b + _C1)
    return light * (2 * (ab - a * b) + _C2) / (aa - a * a + bb - b * b + _C2)


def mask_scores(counts: Sequence[MaskCounts]) -> dict[str, float]:
    """Compute the scores of N masks, in percent.

    Returns:
        ``mask_iou``, ``mask_dice`` and ``boundary_f`` are means over images; ``cum_iou`` (ΣI / ΣU) and
        ``pixel_accuracy`` count all pixels together.
    """
    intersection = sum(c.intersection for c in counts)
    union = sum(c.predicted + c.truth - c.intersection for c in counts)
    return {
        "mask_iou": 100 * _mean([c.iou for c in counts]),
        "mask_dice": 100 * _mean([c.dice for c in counts]),
        "boundary_f": 100 * _mean([c.boundary_f for c in counts]),
        "pixel_accuracy": 100 * sum(c.correct for c in counts) / sum(c.pixels for c in counts),
        "cum_iou": 100 * (intersection / union if union else 1.0),
    }


def depth_scores(sums: Sequence[DepthSums]) -> dict[str, float]:
    """Compute the scores of N depths of one kind.

    Returns:
        Of metric depth ``depth_rmse`` in metres, ``abs_rel`` and ``delta_1.25``; of relative depth ``aligned_rmse``.
        ``depth_rmse_percent`` or ``aligned_rmse_percent`` is this error in percent of the range of the truth, farthest
        minus nearest; ``constant_rmse_percent`` is the same of the best constant. Of both ``depth_ssim``. Errors count
        all pixels together, SSIM is a mean over images. All but errors in the unit of depth are in percent.

    Raises:
        ValueError: metric and relative depth are mixed.
    """
    kinds = {s.kind for s in sums}
    if len(kinds) > 1:
        raise ValueError("metric and relative depth cannot be scored together")
    pixels = sum(s.pixels for s in sums)
    span = max(s.farthest for s in sums) - min(s.nearest for s in sums)
    mean = math.fsum(s.truth for s in sums) / pixels
    spread = math.sqrt(max(0.0, math.fsum(s.truth_squared for s in sums) / pixels - mean**2))
    metric = kinds == {METRIC}
    name, squared = ("depth", [s.squared for s in sums]) if metric else ("aligned", [s.aligned for s in sums])
    rmse = math.sqrt(math.fsum(squared) / pixels)
    found = {f"{name}_rmse": rmse, f"{name}_rmse_percent": 100 * rmse / span if span else math.nan}
    if metric:
        found |= {
            "abs_rel": 100 * math.fsum(s.relative for s in sums) / pixels,
            "delta_1.25": 100 * sum(s.close for s in sums) / pixels,
        }
    return {
        **found,
        "constant_rmse_percent": 100 * spread / span if span else math.nan,
        "depth_ssim": 100 * _mean([s.ssim for s in sums]),
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _check_shapes(predicted: np.ndarray, truth: np.ndarray) -> None:
    if predicted.shape != truth.shape:
        raise ValueError(f"the prediction has {predicted.shape} pixels, and the truth {truth.shape}")
