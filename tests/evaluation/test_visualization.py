"""Comparison images: three panels of a readable size, dark void, names where there is room."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from zsseg_d2.evaluation import save_comparison

METADATA = SimpleNamespace(stuff_classes=["road", "car"], stuff_colors=[(128, 64, 128), (0, 0, 142)])


def case(height: int, width: int):
    ids = np.zeros((height, width), np.int32)
    ids[:, : width // 2] = 7
    ids[: height // 2, : width // 4] = 26001
    segments = [{"id": 7, "category_id": 0}, {"id": 26001, "category_id": 1, "iscrowd": 1}]
    return np.full((height, width, 3), 90, np.uint8), (ids, segments)


@pytest.mark.parametrize("size, panel", [((256, 512), 640), ((1024, 2048), 1024), ((60, 40), 640)])
def test_three_panels_of_a_readable_width(tmp_path, size, panel):
    image, truth = case(*size)
    save_comparison(tmp_path / "new" / "a.png", image, (truth[0] * 0, []), truth, METADATA)
    shown = np.asarray(Image.open(tmp_path / "new" / "a.png"))
    assert shown.shape[1] == 3 * panel + 12 and shown.shape[2] == 3
    right = shown[-size[0] // 4, -panel:].astype(int)
    assert right[: panel // 3].mean() > right[-panel // 3 :].mean() + 20  # a road, and dark void
    white = (shown[shown.shape[0] // 4 :, -panel:] > 250).all(-1)
    assert white.sum() > 3 * panel / 4  # edges and names


def test_sizes_must_agree(tmp_path):
    image, truth = case(60, 80)
    with pytest.raises(ValueError, match=r"\(60, 80\)"):
        save_comparison(tmp_path / "a.png", image, (truth[0][:9], []), truth, METADATA)


def colors(sheet: np.ndarray, panel: int, mask: np.ndarray) -> set:
    """The colors of a panel's pixels in `mask` (H, W); panels have the size of the image here."""
    height, width = mask.shape
    head = round(1.8 * round(width / 40))
    part = sheet[head : head + height, panel * (width + 6) : panel * (width + 6) + width]
    return {tuple(int(v) for v in c) for c in np.unique(part[mask], axis=0)}


def test_a_class_has_one_color_whatever_its_place_in_the_list(tmp_path):
    """Three segments of each class, in another order in the truth; a few pixels away from edges and names."""
    height, width = 120, 640
    image, ids = np.full((height, width, 3), 90, np.uint8), np.arange(width)[None].repeat(height, 0) // 100 + 1
    segments = [{"id": k, "category_id": k % 2} for k in range(1, 7)]
    save_comparison(tmp_path / "a.png", image, (ids, segments), (ids, segments[::-1]), METADATA)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    for k in range(6):
        inside = np.zeros((height, width), bool)
        inside[5:20, 100 * k + 10 : 100 * k + 90] = True  # names are in the middle
        color = np.maximum(METADATA.stuff_colors[(k + 1) % 2], 40)
        expected = tuple(int(v) for v in (0.62 * color + 0.38 * 90).astype(np.uint8))
        assert colors(sheet, 1, inside) == colors(sheet, 2, inside) == {expected}


@pytest.mark.parametrize("size", [(4000, 40), (5000, 2), (2, 5000)])
def test_strips_stay_small(tmp_path, size):
    ids = np.ones(size, np.int32)
    segments = (ids, [{"id": 1, "category_id": 0}])
    save_comparison(tmp_path / "a.png", np.full((*size, 3), 90, np.uint8), segments, segments, METADATA)
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.width <= 3 * 1024 + 12 and drawn.height <= 4 * 640 + 100
