"""Draw image, prediction and ground truth next to each other, with class names written on the segments."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.data import Metadata
from PIL import Image, ImageDraw, ImageFont

from ...files import atomic_path
from ..drawing import fitted
from ..labels import label

PANEL_WIDTH = (640, 1024)  # pixels: smaller images are enlarged, larger ones reduced
COLOR_WEIGHT = 0.62  # of the class colour over the image
DARKEST = 40  # of a class colour's channels: void is darker
GAP = 6
VOID_CAPTION = "dark stripes: no class (void)"

Segments = tuple[np.ndarray, Sequence[Mapping]]
"""(H, W) segment ids and the list of segments; pixels whose id is not listed are void."""


Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


class PaintedSegment(NamedTuple):
    """How a segment is painted: its id, its RGB color, and the text on it."""

    id: int
    color: Sequence[int]
    caption: str


def save_comparison(
    path: str | os.PathLike, image: np.ndarray, pred: Segments, gt: Segments, metadata: Metadata
) -> None:
    """Write a PNG of image, prediction and ground truth, from left to right.

    A class has its own color everywhere; white lines separate segments.

    Args:
        path: the file to write; missing folders are created.
        image: (H, W, 3) uint8 RGB.
        pred: map and segments of the prediction, each segment with id and category_id in [0, K).
        gt: map and segments of the ground truth; crowd segments are marked.
        metadata: of the dataset, with ``stuff_classes``, K names, and ``stuff_colors``, K RGB triples.

    Raises:
        ValueError: image and maps differ in size.
    """
    image = np.asarray(image)
    for ids, _ in (pred, gt):
        if tuple(ids.shape) != image.shape[:2]:
            raise ValueError(
                f"The image is {image.shape[:2]} (height, width), but a segment map is {tuple(ids.shape)}."
            )
    panel = min(max(image.shape[1], PANEL_WIDTH[0]), PANEL_WIDTH[1])
    size = fitted(image, panel)
    font_size = max(14, round(panel / 40))
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    panels = [
        Image.fromarray(resized),
        *(_panel(resized, *segments, metadata, font_size) for segments in (pred, gt)),
    ]
    head = round(1.8 * font_size)
    sheet = Image.new("RGB", (3 * panel + 2 * GAP, size[1] + 2 * head), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for k, (title, part) in enumerate(zip(("image", "prediction", "ground truth"), panels)):
        left = k * (panel + GAP)
        text, font = label(title, font_size)
        draw.text((left + panel / 2, head / 2), text, fill=(20, 20, 20), font=font, anchor="mm")
        sheet.paste(part, (left + (panel - size[0]) // 2, head))
    text, font = label(VOID_CAPTION, font_size)
    draw.text((sheet.width - 2, sheet.height - head / 2), text, fill=(90, 90, 90), font=font, anchor="rm")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _panel(
    image: np.ndarray,
    ids: np.ndarray,
    segments: Sequence[Mapping],
    metadata: Metadata,
    font_size: int,
) -> Image.Image:
    """Paint the (H, W) segments and their names over an (h, w, 3) image."""
    painted = [
        PaintedSegment(
            s["id"],
            metadata.stuff_colors[s["category_id"]],
            metadata.stuff_classes[s["category_id"]] + (" (crowd)" if s.get("iscrowd") else ""),
        )
        for s in segments
    ]
    return paint_segments(image, ids, painted, font_size)


def paint_segments(
    image: np.ndarray, ids: np.ndarray, segments: Sequence[PaintedSegment], font_size: int
) -> Image.Image:
    """Paint segments and their captions over an image; pixels of no segment are dark and striped.

    Args:
        image: (h, w, 3) uint8 RGB.
        ids: (H, W) segment ids, resized to the image.
        segments: what to paint.
        font_size: in pixels.

    Returns:
        An RGB image of the size of `image`.
    """
    ids = np.asarray(ids)
    rows, columns = (np.arange(new) * old // new for new, old in zip(image.shape[:2], ids.shape))  # nearest neighbour
    ids = ids[rows[:, None], columns]
    color = np.zeros(image.shape)
    masks = []
    for segment in segments:
        mask = ids == segment.id
        color[mask] = np.maximum(segment.color, DARKEST)
        masks.append(mask)
    listed = np.any(masks, axis=0) if masks else np.zeros(ids.shape, bool)
    stripes = np.add.outer(np.arange(ids.shape[0]), np.arange(ids.shape[1])) // 5 % 2  # void is dark and striped
    void = 0.2 * image + 30 * stripes[..., None]
    mixed = np.where(listed[..., None], COLOR_WEIGHT * color + (1 - COLOR_WEIGHT) * image, void)
    edge = np.zeros(ids.shape, bool)
    edge[:, 1:] = ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    mixed[edge] = 255
    panel = Image.fromarray(mixed.astype(np.uint8))
    draw = ImageDraw.Draw(panel)
    taken: list[Box] = []
    for k in sorted(range(len(masks)), key=lambda k: -int(masks[k].sum())):
        _write_name(draw, masks[k], *label(segments[k].caption, font_size), font_size, taken)
    return panel


def _write_name(
    draw: ImageDraw.ImageDraw,
    mask: np.ndarray,
    name: str,
    font: ImageFont.FreeTypeFont,
    font_size: int,
    taken: list[Box],
) -> None:
    """Write a name at the widest place of its segment, if there is room."""
    from scipy.ndimage import distance_transform_edt  # slow to import

    if not mask.any():
        return
    ys, xs = np.nonzero(mask)
    top, left = ys.min(), xs.min()
    inner = np.pad(mask[top : ys.max() + 1, left : xs.max() + 1], 1)
    distance = distance_transform_edt(inner)
    row, column = divmod(int(distance.argmax()), distance.shape[1])
    width = draw.textlength(name, font=font)
    if distance[row, column] < 0.45 * font_size or xs.max() - left < 0.6 * width:
        return
    x = min(max(float(column + left - 1), width / 2 + 2), mask.shape[1] - width / 2 - 2)
    y = min(max(float(row + top - 1), font_size / 2 + 1), mask.shape[0] - font_size / 2 - 1)
    box = (x - width / 2, y - 0.55 * font_size, x + width / 2, y + 0.55 * font_size)
    if any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
        return
    taken.append(box)
    draw.text((x, y), name, font=font, anchor="mm", fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
