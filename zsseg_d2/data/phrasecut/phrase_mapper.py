"""Records of phrases -> tensors, by CLIPSeg's training recipe or a plain one.

All random numbers come from ``numpy.random``. Images are never mirrored: "the car on the left" would become wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from ..images.reading import ImageRules, read_annotated_rgb
from .folder import WRONG_SIZE_IMAGES
from .prompts import NegativePhrases
from .visual_prompts import SupportTasks, visual_prompt

KEPT = (
    "file_name",
    "image_id",
    "task_id",
    "height",
    "width",
    "dataset_name",
    "coco_id",
    "phrase_structure",
    "polygons",
)


class PhraseMapper:
    """Map a task to an item of a batch, or an image with its tasks to a list of items that share ``image``.

    Items hold ``image`` ((3, S, S) uint8 RGB), ``mask`` ((S, S) bool), ``phrase`` (the words), ``prompt`` (the words
    in a template), ``negative`` (whether the phrase does not describe the image, so that the mask is empty) and, from
    the record, ``file_name, image_id, task_id, height, width, dataset_name, coco_id, phrase_structure, polygons``.
    Height and width are those of the original image, for which ``polygons.mask(height, width)`` is the complete ground
    truth.

    Args:
        side: S, in pixels; 352 in CLIPSeg.
        crop: take a random square as high or wide as the image (CLIPSeg's training), instead of resizing the whole
            image to a square.
        min_visible: share of the mask's pixels that the square keeps, in [0, 1]. (CLIPSeg's code requires this share of
            the square's pixels, and takes the best of 50 squares for small objects.)
        per_image: number of tasks drawn from an image; None: all, in their order. With `crop`, tasks of which the
            square keeps too little are left out.
        negatives: source of negative phrases.
        negative_probability: share of the items with a negative phrase, in [0, 1]; 0.2 in CLIPSeg.
        templates: one is drawn for each item, see :data:`zsseg_d2.data.phrasecut.prompts.PROMPTS`.
        supports: source of visual prompts (cropped, with blurred and darkened surroundings).
        rules: limits of images, and what their EXIF orientation means; None: the defaults.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        side: int,
        *,
        crop: bool = False,
        min_visible: float = 0.05,
        per_image: int | None = None,
        negatives: NegativePhrases | None = None,
        negative_probability: float = 0.0,
        templates: Sequence[str] = ("{}",),
        supports: SupportTasks | None = None,
        rules: ImageRules | None = None,
    ) -> None:
        if side < 1 or not 0 <= min_visible <= 1 or not 0 <= negative_probability <= 1 or not templates:
            raise ValueError("side must be positive, shares must be in [0, 1], and there must be a template.")
        if negative_probability and negatives is None:
            raise ValueError("negative_probability needs negatives to draw from.")
        self.side, self.crop, self.min_visible, self.per_image = side, crop, min_visible, per_image
        self.negatives, self.negative_probability = negatives, negative_probability
        self.templates = tuple(templates)
        self.supports = supports
        self.rules = rules or ImageRules()

    def __call__(self, record: dict) -> dict | list[dict]:
        """Read one image, and draw masks, phrases and prompts.

        Raises:
            DatasetError: the image is missing or damaged, or of another size than its annotation.
        """
        tasks = [record]
        if "tasks" in record:
            drawn = record["tasks"]
            if self.per_image is not None and self.per_image < len(drawn):
                drawn = [drawn[k] for k in np.random.permutation(len(drawn))[: self.per_image]]
            tasks = [{**record, **task} for task in drawn]
        size = record["height"], record["width"]
        image = read_task_image(record, self.rules)
        masks = [task["polygons"].mask(*size) for task in tasks]
        if self.crop:
            window = random_square_crop(masks[0], self.min_visible)
            cut = [mask[window] for mask in masks]
            kept = [k == 0 or cut[k].sum() >= self.min_visible * masks[k].sum() for k in range(len(tasks))]
            image = image[window]
            tasks, masks = ([x for x, keep in zip(found, kept) if keep] for found in (tasks, cut))
        resized = Image.fromarray(image).resize((self.side, self.side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.asarray(resized).transpose(2, 0, 1).copy())
        items = [self._item(task, pixels, mask) for task, mask in zip(tasks, masks)]
        return items if "tasks" in record else items[0]

    def _item(self, task: dict, image: torch.Tensor, mask: np.ndarray) -> dict:
        other = self._negative(task["image_id"])
        negative = other is not None
        phrase = task["phrase"] if other is None else other
        small = np.asarray(Image.fromarray(mask).resize((self.side, self.side), Image.Resampling.NEAREST))
        return {
            **{key: task[key] for key in KEPT if key in task},
            "image": image,
            "mask": torch.from_numpy(np.zeros_like(small) if negative else small.copy()),
            "phrase": phrase,
            "prompt": self.templates[np.random.randint(len(self.templates))].format(phrase),
            "negative": negative,
            **self._visual_prompt(phrase, task["task_id"]),
        }

    def _visual_prompt(self, phrase: str, task_id: str) -> dict:
        if self.supports is None:
            return {}
        support = self.supports.draw(phrase, task_id)
        if support is None:
            pixels = np.zeros((self.side, self.side, 3), np.uint8)
        else:
            pixels = visual_prompt(*read_task(support, self.rules), self.side)
        tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        return {"visual_prompt": tensor, "has_visual_prompt": support is not None}

    def _negative(self, image_id: int) -> str | None:
        if self.negatives is None or np.random.random() >= self.negative_probability:
            return None
        return self.negatives.draw(image_id)


def read_task(record: dict, rules: ImageRules | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read the image ((H, W, 3) uint8 RGB) and draw the mask ((H, W) bool) of a task.

    Raises:
        DatasetError: see :func:`read_task_image`.
    """
    return read_task_image(record, rules), record["polygons"].mask(record["height"], record["width"])


def random_square_crop(mask: np.ndarray, min_visible: float) -> tuple[slice, slice]:
    """Draw rows and columns of a square as large as the image allows.

    Every square that holds at least `min_visible` of the mask's pixels is equally likely; if none does, the first of
    those with the most pixels is taken.

    Args:
        mask: (H, W) bool.
        min_visible: share of the mask's pixels, in [0, 1].
    """
    height, width = mask.shape
    side = min(height, width)
    along = mask.sum(axis=0 if width > height else 1)  # the mask's pixels along the longer side
    before = np.concatenate(([0], np.cumsum(along)))
    visible = before[side:] - before[:-side]  # (longer - side + 1,) of each square
    good = np.flatnonzero(visible >= min_visible * before[-1])
    start = int(good[np.random.randint(len(good))] if len(good) else visible.argmax())
    part, whole = slice(start, start + side), slice(0, side)
    return (whole, part) if width > height else (part, whole)


def read_task_image(record: Mapping, rules: ImageRules | None = None) -> np.ndarray:
    """Read the image of a task or of an image with tasks, in the size of its annotation.

    Images of ``WRONG_SIZE_IMAGES``, which the official data annotates at another size, are resized to it.

    Args:
        record: with ``file_name``, ``image_id``, ``height`` and ``width``.
        rules: limits of images, and what their EXIF orientation means; None: the defaults.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: see :func:`zsseg_d2.data.images.reading.read_annotated_rgb`.
    """
    return read_annotated_rgb(
        record["file_name"],
        (record["height"], record["width"]),
        rules,
        source="image_data_split.json",
        resize=record["image_id"] in WRONG_SIZE_IMAGES,
    )
