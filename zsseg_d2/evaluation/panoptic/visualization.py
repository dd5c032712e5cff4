"""Pictures to look at: image, prediction and ground truth side by side, with the names written on the segments."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt

from ...files import atomic_path

PANEL_WIDTH = (640, 1024)  # pixels: smaller images are enlarged, larger ones reduced
COLOR_WEIGHT = 0.62  # of the class colour over the image
GAP = 6

Segments = tuple[np.ndarray, Sequence[Mapping]]
"""(H, W) segment ids and the list of segments; pixels whose id is not listed are void."""


def save_comparison(path: str | os.PathLike, image: np.ndarray, pred: Segments, gt: Segments, metadata: object) -> None:
    """Write one PNG: image, prediction, ground truth, from left to right.

    Args:
        path: where to; its folder is made where it is missing.
        image: (H, W, 3) uint8 RGB.
        pred: map and segments of the prediction, each segment with id and category_id (0 .. K-1).
        gt: the same of the annotation; crowd segments are marked so.
        metadata: of the data set: ``stuff_classes`` (K,) names and ``stuff_colors`` (K,) RGB.
    Raises:
        ValueError: image and maps differ in size.
    """
    image = np.asarray(image)
    for ids, _ in (pred, gt):
        if tuple(ids.shape) != image.shape[:2]:
            raise ValueError(
                f"The image is {image.shape[:2]} (height, width), but a map of segments is {tuple(ids.shape)}."
            )
    height, width = image.shape[:2]
    panel = min(max(width, PANEL_WIDTH[0]), PANEL_WIDTH[1])
    size = (panel, max(1, round(height * panel / width)))
    font = ImageFont.load_default(max(12, round(panel / 46)))
    picture = np.asarray(Image.fromarray(image).resize(size, Image.BICUBIC))
    panels = [Image.fromarray(picture), *(_panel(picture, *segments, metadata, font) for segments in (pred, gt))]
    head = round(1.8 * font.size)
    sheet = Image.new("RGB", (3 * panel + 2 * GAP, size[1] + head), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for k, (title, part) in enumerate(zip(("image", "prediction", "ground truth"), panels)):
        left = k * (panel + GAP)
        draw.text((left + panel / 2, head / 2), title, fill=(20, 20, 20), font=font, anchor="mm")
        sheet.paste(part, (left, head))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as beside:
        sheet.save(beside, format="PNG")


def _panel(
    picture: np.ndarray, ids: np.ndarray, segments: Sequence[Mapping], metadata: object, font: ImageFont.FreeTypeFont
) -> Image.Image:
    """(h, w, 3) picture with the (H, W) segments painted over it."""
    ids = np.asarray(ids)
    rows, columns = (np.arange(new) * old // new for new, old in zip(picture.shape[:2], ids.shape))  # nearest neighbour
    ids = ids[rows[:, None], columns]
    color = np.zeros(picture.shape)
    masks = []
    for k, segment in enumerate(segments):
        mask = ids == segment["id"]
        color[mask] = _shade(metadata.stuff_colors[segment["category_id"]], k)
        masks.append(mask)
    listed = np.any(masks, axis=0) if masks else np.zeros(ids.shape, bool)
    stripes = np.add.outer(np.arange(ids.shape[0]), np.arange(ids.shape[1])) // 5 % 2  # void is dark and striped
    void = 0.2 * picture + 30 * stripes[..., None]
    mixed = np.where(listed[..., None], COLOR_WEIGHT * color + (1 - COLOR_WEIGHT) * picture, void)
    edge = np.zeros(ids.shape, bool)
    edge[:, 1:] = ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    mixed[edge] = 255
    panel = Image.fromarray(mixed.astype(np.uint8))
    draw = ImageDraw.Draw(panel)
    taken: list[tuple] = []
    for k in sorted(range(len(masks)), key=lambda k: -int(masks[k].sum())):
        name = metadata.stuff_classes[segments[k]["category_id"]] + (" (crowd)" if segments[k].get("iscrowd") else "")
        _write(draw, masks[k], name, font, taken)
    return panel


def _shade(color: Sequence[int], k: int) -> np.ndarray:
    """The class colour, a little lighter or darker from segment to segment; never as dark as void."""
    return np.clip(np.maximum(color, 40) * (1 + 0.18 * (k % 5 - 2)), 0, 255)


def _write(
    draw: ImageDraw.ImageDraw, mask: np.ndarray, name: str, font: ImageFont.FreeTypeFont, taken: list[tuple]
) -> None:
    """The name where the segment is widest, if there is room for it there."""
    if not mask.any():
        return
    ys, xs = np.nonzero(mask)
    top, left = ys.min(), xs.min()
    inner = np.pad(mask[top : ys.max() + 1, left : xs.max() + 1], 1)
    distance = distance_transform_edt(inner)
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    width = draw.textlength(name, font=font)
    if distance[y, x] < 0.45 * font.size or xs.max() - left < 0.6 * width:
        return
    x = min(max(x + left - 1, width / 2 + 2), mask.shape[1] - width / 2 - 2)
    y = min(max(y + top - 1, font.size / 2 + 1), mask.shape[0] - font.size / 2 - 1)
    box = (x - width / 2, y - 0.55 * font.size, x + width / 2, y + 0.55 * font.size)
    if any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
        return
    taken.append(box)
    draw.text((x, y), name, font=font, anchor="mm", fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
