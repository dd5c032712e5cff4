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
