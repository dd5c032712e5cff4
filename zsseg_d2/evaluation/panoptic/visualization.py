"""Draw image, prediction and ground truth next to each other, with class names written on the segments."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.data import Metadata
from PIL import Image, ImageDraw

from ...files import atomic_path
from ..drawing import fitted
from ..labels import Label, label

PANEL_WIDTH = (640, 1024)  # pixels: smaller images are enlarged, larger ones reduced
COLOR_WEIGHT = 0.62  # of the class colour over the image
DARKEST = 40  # of a class colour's channels: void is darker
GAP = 6
_ROWS = 256  # of an image that are painted at a time
_MOST_EXACT = 1024  # pixels of a box in which the widest place of a segment is found exactly
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
    from scipy.ndimage import find_objects  # slow to import

    ids = np.asarray(ids)
    rows, columns = (np.arange(new) * old // new for new, old in zip(image.shape[:2], ids.shape))  # nearest neighbour
    numbers = _numbered(ids[rows[:, None], columns], segments)
    table = np.array([(0, 0, 0), *(np.maximum(s.color, DARKEST) for s in segments)], float)
    edge = np.zeros(numbers.shape, bool)
    edge[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    edge[1:] |= numbers[1:] != numbers[:-1]
    painted = np.empty(image.shape, np.uint8)
    for top in range(0, len(image), _ROWS):  # in floating point, a large image would take much memory
        part = slice(top, top + _ROWS)
        band = numbers[part]
        stripes = (
            np.add.outer(top + np.arange(len(band)), np.arange(band.shape[1])) // 5 % 2
        )  # void is dark and striped
        void = 0.2 * image[part] + 30 * stripes[..., None]
        mixed = np.where(band[..., None] > 0, COLOR_WEIGHT * table[band] + (1 - COLOR_WEIGHT) * image[part], void)
        mixed[edge[part]] = 255
        painted[part] = mixed.astype(np.uint8)
    panel = Image.fromarray(painted)
    draw = ImageDraw.Draw(panel)
    taken: list[Box] = []
    areas = np.bincount(numbers.ravel(), minlength=len(segments) + 1)[1:]
    boxes = find_objects(numbers, len(segments)) if segments else []
    for k in np.argsort(-areas, kind="stable"):
        if boxes[k] is not None:
            corner = (boxes[k][0].start, boxes[k][1].start)
            _write_name(
                draw, numbers[boxes[k]] == k + 1, corner, label(segments[k].caption, font_size), font_size, taken
            )
    return panel


def _numbered(ids: np.ndarray, segments: Sequence[PaintedSegment]) -> np.ndarray:
    """Convert (H, W) segment ids to i + 1 at the pixels of ``segments[i]``, 0 elsewhere."""
    if not segments:
        return np.zeros(ids.shape, np.int32)
    listed = np.array([s.id for s in segments])
    order = np.argsort(listed)
    place = np.searchsorted(listed[order], ids).clip(max=len(listed) - 1)
    index = order.astype(np.int32)[place]
    return np.where(listed[index] == ids, index + 1, 0)


def _write_name(
    draw: ImageDraw.ImageDraw,
    mask: np.ndarray,
    corner: tuple[int, int],
    text: Label,
    font_size: int,
    taken: list[Box],
) -> None:
    """Write a name at the widest place of its segment, if there is room.

    Args:
        draw: on the whole image.
        mask: (h, w) bool, the segment in its box.
        corner: top and left of the box.
        text: the name.
        font_size: in pixels.
        taken: places of other names; that of this one is added.
    """
    from scipy.ndimage import distance_transform_edt  # slow to import

    step = max(1, max(mask.shape) // _MOST_EXACT)
    distance = step * distance_transform_edt(np.pad(mask[::step, ::step], 1))
    row, column = divmod(int(distance.argmax()), distance.shape[1])
    width = draw.textlength(text.text, font=text.font)
    if distance[row, column] < 0.45 * font_size or mask.shape[1] - 1 < 0.6 * width:
        return
    (top, left), (whole_width, whole_height) = corner, draw.im.size
    x = min(max(float(step * (column - 1) + left), width / 2 + 2), whole_width - width / 2 - 2)
    y = min(max(float(step * (row - 1) + top), font_size / 2 + 1), whole_height - font_size / 2 - 1)
    box = (x - width / 2, y - 0.55 * font_size, x + width / 2, y + 0.55 * font_size)
    if any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
        return
    taken.append(box)
    white, black = (255, 255, 255), (0, 0, 0)
    draw.text((x, y), text.text, white, text.font, anchor="mm", stroke_width=2, stroke_fill=black)
