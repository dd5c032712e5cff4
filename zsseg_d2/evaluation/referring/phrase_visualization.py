"""Draw phrases and their masks: overlays, sheets of panels, and an evaluator that writes them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluator
from PIL import Image, ImageDraw, ImageFont

from ...data.images.reading import ImageRules
from ...data.images.writing import encode_image
from ...data.phrasecut.phrase_mapper import read_task_image
from ...files import atomic_path
from ..drawing import fitted
from ..labels import label

logger = logging.getLogger(__name__)

COLOURS = ((230, 60, 60), (50, 130, 235), (45, 170, 95), (240, 160, 30), (150, 90, 210), (20, 180, 190))
_GAP = 6

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def paint_mask(image: np.ndarray, mask: np.ndarray, colour: Sequence[int] = COLOURS[0]) -> np.ndarray:
    """Colour the masked region, draw a white rim around it and darken the rest.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
        colour: RGB, in [0, 255].

    Returns:
        (H, W, 3) uint8.
    """
    return paint_masks(image, [mask], [colour])


def paint_masks(image: np.ndarray, masks: Sequence[np.ndarray], colours: Sequence[Sequence[int]]) -> np.ndarray:
    """Colour several regions, draw a white rim around each and darken the rest.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: N times (H, W) bool; they may overlap, and the last is on top.
        colours: N times RGB, in [0, 255].

    Returns:
        (H, W, 3) uint8.
    """
    from scipy import ndimage  # slow to import

    painted = 0.4 * image
    for mask, colour in zip(masks, colours, strict=True):
        painted[mask] = 0.5 * image[mask] + 0.5 * np.asarray(colour, np.float64)
    for mask in masks:
        width = max(1, round(max(mask.shape) / 256))
        painted[ndimage.binary_dilation(mask, iterations=width) & ~mask] = 255
    return painted.astype(np.uint8)


def panel(image: np.ndarray, caption: str, width: int) -> Image.Image:
    """Resize an (H, W, 3) uint8 image to `width` pixels and write a caption above, wrapped into lines.

    Very high images are drawn narrower, in the middle of the panel.
    """
    font_size = max(11, round(width / 18))
    text, font = label(caption, font_size)
    resized = Image.fromarray(image).resize(fitted(image, width), Image.Resampling.BICUBIC)
    lines = _wrap(text, font, width - 6)
    line_height = round(1.25 * font_size)
    head = line_height * len(lines) + 6
    whole = Image.new("RGB", (width, resized.height + head), "white")
    draw = ImageDraw.Draw(whole)
    for k, line in enumerate(lines):
        draw.text((3, 3 + k * line_height), line, fill=(20, 20, 20), font=font)
    whole.paste(resized, ((width - resized.width) // 2, head))
    return whole


def _wrap(text: str, font: Font, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels; words that are longer, as in Chinese, too."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
        while font.getlength(lines[-1]) > width and len(lines[-1]) > 1:
            end = next(k for k in range(len(lines[-1]) - 1, 0, -1) if k == 1 or font.getlength(lines[-1][:k]) <= width)
            lines[-1:] = [lines[-1][:end], lines[-1][end:]]
    return lines


def sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Arrange panels in rows on white, the panels of a row aligned at the bottom."""
    heights = [max(p.height for p in row) for row in rows]
    width = max(sum(p.width + _GAP for p in row) - _GAP for row in rows)
    whole = Image.new("RGB", (width, sum(heights) + _GAP * (len(rows) - 1)), "white")
    top = 0
    for row, height in zip(rows, heights):
        left = 0
        for p in row:
            whole.paste(p, (left, top + height - p.height))
            left += p.width + _GAP
        top += height + _GAP
    return whole


def save_image(image: Image.Image, path: Path, **options) -> None:
    """Write an image atomically in the format of the path's suffix; missing folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        kind = path.suffix.lstrip(".").upper().replace("JPG", "JPEG")
        temporary.write_bytes(encode_image(image, kind, **options))


class PhraseVisualizer(DatasetEvaluator):
    """Write some images with all their phrases, the prediction above and the ground truth below."""

    def __init__(
        self, dataset_name: str, folder: Path, count: int, threshold: float = 0.5, rules: ImageRules | None = None
    ) -> None:
        """
        Args:
            dataset_name: a registered dataset of phrases.
            folder: where ``<image_id>.png`` are written.
            count: number of images, evenly spread over the dataset.
            threshold: a pixel is predicted if its probability is greater.
            rules: limits of images, and what their EXIF orientation means; None: the defaults.
        """
        images = list(dict.fromkeys(record["image_id"] for record in DatasetCatalog.get(dataset_name)))
        count = min(count, len(images))
        self._images = {images[k * len(images) // count] for k in range(count)}
        self._folder, self._threshold, self._rules = folder, threshold, rules

    def reset(self) -> None:
        """Do nothing: no state is kept between images."""

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Write the chosen images of a batch."""
        for image_id in self._images & {item["image_id"] for item in inputs}:
            pairs = [(item, output) for item, output in zip(inputs, outputs) if item["image_id"] == image_id]
            size = pairs[0][0]["height"], pairs[0][0]["width"]
            image = read_task_image(pairs[0][0], self._rules)
            above, below = [panel(image, "prediction", 256)], [panel(image, "truth", 256)]
            for k, (item, output) in enumerate(pairs):
                colour = COLOURS[k % len(COLOURS)]
                predicted = (output["mask_logits"].float().sigmoid() > self._threshold).cpu().numpy()
                above.append(panel(paint_mask(image, predicted, colour), item["phrase"], 256))
                below.append(panel(paint_mask(image, item["polygons"].mask(*size), colour), "", 256))
            save_image(sheet([above, below]), self._folder / f"{image_id}.png")

    def evaluate(self) -> OrderedDict:
        """Log where the images are; there is no score."""
        logger.info("Visualizations of %d images are in %s", len(self._images), self._folder)
        return OrderedDict()
