"""Visual prompts: an image of the meant region, cropped, sharp and bright, instead of words.

Source: Lüddecke and Ecker, Image Segmentation Using Text and Image Prompts (CLIPSeg), section 3.3; blur, background and
context are those of its published configuration ``crop_blur_highlight352``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image


def visual_prompt(
    image: np.ndarray,
    mask: np.ndarray,
    side: int,
    *,
    crop: bool = True,
    context: float = 0.1,
    blur: float = 3.0,
    background: float = 0.1,
) -> np.ndarray:
    """Make an image that shows CLIP the masked region.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool; if it is empty, the image is only resized.
        side: S, height and width of the result in pixels.
        crop: crop to a square around the region, as far as the image reaches.
        context: margin of the square on each side, as a share of the region's longer side.
        blur: standard deviation in pixels of the blur of the rest; 0 leaves it sharp.
        background: brightness of the rest; 1 leaves it as it is (no highlight).

    Returns:
        (S, S, 3) uint8.
    """
    from scipy import ndimage  # slow to import, and used by few runs

    if mask.any():
        rest = image.astype(np.float32)
        if blur > 0:
            rest = ndimage.gaussian_filter(rest, (blur, blur, 0), mode="nearest")
        image = np.where(mask[..., None], image, np.rint(background * rest).clip(0, 255).astype(np.uint8))
        if crop:
            image = image[_square(mask, context)]
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def _square(mask: np.ndarray, context: float) -> tuple[slice, slice]:
    """Return rows and columns of the square around the mask, moved into the image, and cut off if it is too large."""
    extents = []  # first and last index of the mask along rows and columns
    for axis in (1, 0):
        present = np.flatnonzero(mask.any(axis=axis))
        extents.append((int(present[0]), int(present[-1]) + 1))
    length = round(max(stop - start for start, stop in extents) * (1 + 2 * context))
    rows, columns = (_window(*extent, length, size) for extent, size in zip(extents, mask.shape))
    return rows, columns


def _window(start: int, stop: int, length: int, size: int) -> slice:
    """Return `length` positions around [start, stop), moved into [0, size) and cut off if it is too long."""
    first = max(0, min((start + stop - length) // 2, size - length))
    return slice(first, min(first + length, size))


class SupportTasks:
    """The tasks that can show the meaning of each phrase.

    Args:
        records: of tasks, see :func:`zsseg_d2.data.phrasecut.dataset.load_phrasecut`; kept, not copied.
    """

    def __init__(self, records: Sequence[dict]) -> None:
        self._records = records
        self._of_phrase: dict[str, list[int]] = defaultdict(list)
        for number, record in enumerate(records):
            self._of_phrase[record["phrase"]].append(number)

    def draw(self, phrase: str, task_id: str) -> dict | None:
        """Draw the record of another task with this phrase by ``numpy.random``; None if there is none."""
        numbers = self._of_phrase.get(phrase, ())
        others = [n for n in numbers if self._records[n]["task_id"] != task_id]
        return self._records[others[np.random.randint(len(others))]] if others else None
