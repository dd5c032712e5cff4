"""Depth maps in files of 8 or 16 bits: metres, or relative values, and which direction is near."""

from __future__ import annotations

import os

import msgspec
import numpy as np
from PIL import Image

from ...reading import printable
from ..errors import DatasetError
from ..images.opening import opened_image

DESCRIPTION = "depth.json"
"""File beside the splits of a folder of parts that says what their depth maps hold."""
METRIC, RELATIVE = "metric", "relative"
KINDS = (METRIC, RELATIVE)
"""Values of "depth_kind": metres, or values in [0, 1] that grow with the distance, without a unit."""
NEAR_IS = ("small", "large")
"""Values of "near_is": whether near pixels have small values (a distance) or large ones (an inverse depth)."""


def depth_name(kind: str) -> str:
    """Return what folders and files with depth of a kind are called, so that no metre is read from relative depth."""
    return "relative_depth" if kind == RELATIVE else "depth"


class DepthFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the values of depth files mean.

    Attributes:
        kind: "metric" or "relative".
        unit: metres of one step of a metric map, such as 0.001 for millimetres.
        near_is: "small" or "large": of relative maps, whether near pixels have small or large values.
    """

    kind: str = METRIC
    unit: float = 1 / 256
    near_is: str = "small"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind}: choose one of {', '.join(KINDS)}")
        if self.near_is not in NEAR_IS:
            raise ValueError(f"near_is={self.near_is}: choose one of {', '.join(NEAR_IS)}")
        if self.kind == METRIC and (self.near_is != "small" or not 0 < self.unit < 1e6):
            raise ValueError("metric depth is a distance: its unit is positive, and near_is is small")

    def decode(self, values: np.ndarray, bits: int) -> np.ndarray:
        """Return the depth of stored values.

        Args:
            values: (H, W) integers.
            bits: 8 or 16, the range of a relative map.

        Returns:
            (H, W) float32: metres, or values in [0, 1] that grow with the distance.
        """
        if self.kind == METRIC:
            return (values * self.unit).astype(np.float32)
        share = values / float(2**bits - 1)
        return (share if self.near_is == "small" else 1 - share).astype(np.float32)

    def encode(self, depth: np.ndarray) -> np.ndarray:
        """Return the (H, W) uint16 values that are stored for a depth; see :meth:`decode`.

        Raises:
            DatasetError: 16 bits of this unit cannot hold it.
        """
        if self.kind == METRIC:
            steps = depth / self.unit
        else:
            steps = (depth if self.near_is == "small" else 1 - depth) * 65535.0
        rounded = np.rint(steps)
        if not (np.isfinite(depth).all() and rounded.min() >= 0 and rounded.max() <= 65535):
            raise DatasetError(
                f"depth from {np.nanmin(depth):g} to {np.nanmax(depth):g} does not fit in 16 bits of {self.unit:g} "
                "metres. Fix: choose a larger unit."
            )
        return rounded.astype(np.uint16)


def read_depth(path: str | os.PathLike, format: DepthFormat, size: tuple[int, int]) -> np.ndarray:
    """Read a depth map of 8 or 16 bits.

    Args:
        path: the file.
        format: what its values mean.
        size: (H, W) of its image in pixels.

    Returns:
        (H, W) float32; see :meth:`DepthFormat.decode`.

    Raises:
        DatasetError: the file is missing or damaged, of another size, or not grey with 8 or 16 bits.
    """
    with opened_image(path, "depth map", size=size) as image:
        mode, container = image.mode, image.format
        if mode in ("I;16", "I;16B", "I;16L") or (mode == "I" and container in ("PNG", "PPM")):
            bits = 16
        elif mode == "L":
            bits = 8
        else:
            raise DatasetError(
                f"{printable(path)}: is of mode {mode}, and depth maps are grey with 8 or 16 bits. "
                "Fix: save it as a grey PNG."
            )
        return format.decode(np.asarray(image), bits)


def write_depth(path: str | os.PathLike, depth: np.ndarray, format: DepthFormat) -> None:
    """Write a depth map as a 16-bit grey PNG.

    Raises:
        DatasetError: 16 bits of this unit cannot hold it.
    """
    Image.fromarray(format.encode(depth)).save(path, format="PNG", compress_level=1)
