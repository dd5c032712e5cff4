"""Comparison images: three panels of a readable size, dark void, names where there is room."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from zsseg_d2.evaluation import save_comparison
from zsseg_d2.evaluation.panoptic import visualization
from zsseg_d2.evaluation.panoptic.overlay import NamedSegment, draw_overlay
from zsseg_d2.evaluation.panoptic.visualization import PaintedSegment, paint_segments

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


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_painting_equals_the_plain_form(monkeypatch, rows):
    """Ids in any order, one that is not listed, and however few rows are painted at a time."""
    monkeypatch.setattr(visualization, "_ROWS", rows)
    rng = np.random.default_rng(0)
    ids = np.kron(rng.choice([0, 3, 900, 5, 26001], (5, 8)), np.ones((4, 5), int))
    image = rng.integers(0, 256, (*ids.shape, 3), np.uint8)
    segments = [
        PaintedSegment(900, (250, 10, 20), ""),
        PaintedSegment(3, (0, 90, 80), ""),
        PaintedSegment(5, (9,) * 3, ""),
    ]
    shown = np.asarray(paint_segments(image, ids, segments, 14))
    listed = np.isin(ids, (900, 3, 5))
    for y, x in np.ndindex(ids.shape):
        neighbors = [(y, x - 1)] * (x > 0) + [(y - 1, x)] * (y > 0)
        if any(ids[y, x] != ids[n] and (listed[y, x] or listed[n]) for n in neighbors):
            expected = [255] * 3
        elif not listed[y, x]:
            expected = [int(0.2 * v + 30 * ((y + x) // 5 % 2)) for v in image[y, x]]
        else:
            color = next(s.color for s in segments if s.id == ids[y, x])
            expected = [int(0.62 * max(c, 40) + 0.38 * v) for c, v in zip(color, image[y, x])]
        assert np.abs(shown[y, x].astype(int) - expected).max() <= 1


def test_an_overlay_has_the_size_of_the_image_and_a_legend():
    image = np.full((200, 500, 3), 90, np.uint8)
    ids = np.zeros((200, 500), np.int32)
    ids[:100], ids[100:, :200], ids[100:, 200:400] = 1, 2, 3
    segments = [
        NamedSegment(1, "sky", (10, 200, 250), 0.9, 50_000),
        NamedSegment(2, "car", (250, 60, 40), 0.8, 20_000),
        NamedSegment(3, "car", (250, 60, 40), 0.7, 20_000),
    ]
    sheet = np.asarray(draw_overlay(image, ids, segments))
    assert sheet.shape[1] == 500 and sheet.shape[0] > 215
    assert tuple(sheet[10, 10]) == tuple(int(0.62 * max(c, 40) + 0.38 * 90) for c in (10, 200, 250))
    legend = sheet[200:].reshape(-1, 3)
    for color in ((10, 200, 250), (250, 60, 40), (40, 40, 40)):
        assert (legend == color).all(-1).sum() > 50, "a swatch for each class, and one for void"
    full = draw_overlay(image, np.ones((200, 500), np.int32), [segments[0]._replace(area=100_000)])
    assert (np.asarray(full)[200:] == (40, 40, 40)).all(-1).sum() < 20, "no void, no entry"


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000)])
def test_overlays_of_any_shape(size):
    names = ("person with a very long name that no legend of this width can hold", "人", "a" * 300)
    segments = [NamedSegment(k + 1, name, (200, 0, 0), 1.0, 1) for k, name in enumerate(names)]
    sheet = draw_overlay(np.zeros((*size, 3), np.uint8), np.ones(size, np.int32), segments)
    assert sheet.width == max(size[1], 320) and size[0] < sheet.height < size[0] + 200


def test_names_stand_inside_their_segments_in_large_images():
    """Where the widest place is found on every so many pixels."""
    ids = np.ones((2500, 3000), np.int32)
    ids[1900:2400, 2000:2900] = 2
    shown = np.asarray(paint_segments(np.full((2500, 3000, 3), 90, np.uint8), ids, [
        PaintedSegment(2, (250, 60, 40), "car")], 100))  # fmt: skip
    white = (shown > 250).all(-1)
    white[1900:2401, [2000, 2900]] = white[[1900, 2400], 2000:2901] = False  # its edge
    ys, xs = np.nonzero(white)
    assert len(ys) > 500 and ys.min() > 1900 and ys.max() < 2400 and xs.min() > 2000 and xs.max() < 2900
    assert abs(ys.mean() - 2150) < 60 and abs(xs.mean() - 2450) < 260
