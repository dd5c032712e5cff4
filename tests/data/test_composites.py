"""Composites by their numbers: the bijection, places, blending, bytes, splits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.tiny_composites import disc, write_parts, write_splits
from zsseg_d2.data import DatasetError
from zsseg_d2.data.composites.blending import blend, blend_depth, layer
from zsseg_d2.data.composites.composer import Composer
from zsseg_d2.data.composites.dataset import CompositeRecords, load_split
from zsseg_d2.data.composites.depth import DepthFormat
from zsseg_d2.data.composites.numbering import Choice, Numbering
from zsseg_d2.data.composites.parts import Part, Parts, find_parts
from zsseg_d2.data.composites.placement import Placement, grid_point, place, random_offset
from zsseg_d2.data.composites.settings import CompositeSettings
from zsseg_d2.data.composites.splits import check_disjoint, split_parts

PUBLISHED = Numbering(100, 100, 2, 20)


def parts_in(root: Path) -> Parts:
    return find_parts(
        *(root / name for name in ("foregrounds", "backgrounds", "foreground_depth", "background_depth")),
        DepthFormat("metric", 1 / 256),
    )


def test_the_published_numbers_are_all_choices_each_once():
    """Counted by loops, as the original made its files."""
    expected = ((f, b, m, p) for f in range(100) for b in range(100) for m in range(2) for p in range(20))
    for number, choice in enumerate(expected):
        assert PUBLISHED.choice(number) == choice and PUBLISHED.number(Choice(*choice)) == number
    assert number == 399_999


@given(st.tuples(*[st.integers(1, 50)] * 4), st.data())
def test_any_numbering_is_a_bijection(counts, data):
    numbering = Numbering(*counts)
    number = data.draw(st.integers(0, numbering.size - 1))
    choice = numbering.choice(number)
    assert numbering.number(choice) == number and all(0 <= a < b for a, b in zip(choice, counts))


@pytest.mark.parametrize("number", [-1, 400_000])
def test_numbers_beyond_the_end_are_refused(number):
    with pytest.raises(IndexError, match="0 to 399999"):
        PUBLISHED.choice(number)
    with pytest.raises(IndexError):
        PUBLISHED.number(Choice(0, 100, 0, 0))


def test_the_published_grid_overhangs_at_192_as_was_measured():
    """40 % of the positions overhang, none at 224; read in the original: x = 28 i, y = 28 j, j from 4 to 1."""
    points = [grid_point(k, 28) for k in range(20)]
    assert sorted(set(points)) == sorted((28 * j, 28 * i) for j in (1, 2, 3, 4) for i in range(5))
    assert sum(y + 96 > 192 or x + 96 > 192 for y, x in points) / 20 == 0.4
    assert not any(y + 112 > 224 or x + 112 > 224 for y, x in points)


def test_random_places_reach_both_borders_equally_often():
    """The original never reached the last one."""
    drawn = [random_offset((k + 0.5) / 1000, 10, 7) for k in range(1000)]
    assert [drawn.count(offset) for offset in range(-1, 5)] == [0, 250, 250, 250, 250, 0]
    assert {random_offset(k / 99.01, 10, 7, overhang=0.3) for k in range(99)} == set(range(-2, 6))
    assert {random_offset(k / 99.01, 7, 10) for k in range(99)} == {-3, -2, -1, 0}, "longer than the canvas"


@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=60)
def test_places_keep_the_shape_of_a_foreground_and_lie_inside(index, height, width):
    made = place(CompositeSettings(side=96, scale=(0.2, 0.9)), index, 0, (height, width))
    assert 0.2 * 96 - 0.5 <= max(made.height, made.width) <= 0.9 * 96 + 0.5
    assert abs(made.height * width - made.width * height) <= max(height, width) or min(made.height, made.width) == 1
    assert 0 <= made.y <= 96 - made.height and 0 <= made.x <= 96 - made.width


def slow_blend(background, rgba, y, x):
    """Pixel by pixel in Python's floating point."""
    composite, mask = background.copy(), np.zeros(background.shape[:2], bool)
    for i in range(rgba.shape[0]):
        for j in range(rgba.shape[1]):
            if 0 <= y + i < background.shape[0] and 0 <= x + j < background.shape[1]:
                alpha = int(rgba[i, j, 3]) / 255
                for c in range(3):
                    value = alpha * int(rgba[i, j, c]) + (1 - alpha) * int(background[y + i, x + j, c])
                    composite[y + i, x + j, c] = round(value)
                mask[y + i, x + j] = alpha > 0.5
    return composite, mask


@given(st.integers(0, 2**32 - 1), st.integers(-12, 12), st.integers(-12, 12))
@settings(max_examples=60, deadline=None)
def test_blending_is_the_plain_formula_at_every_place(seed, y, x):
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    rgba = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    rgba[..., 3] = rng.choice([0, 1, 127, 128, 254, 255], (5, 7))
    before = background.copy()
    image, mask = blend(background, layer(rgba, (5, 7)), Placement(5, 7, y, x))
    expected, expected_mask = slow_blend(background, rgba, y, x)
    assert (mask == expected_mask).all() and np.abs(image.astype(int) - expected).max() <= 1
    assert (image != expected).mean() < 0.02, "float32 against float64, at ties alone"
    assert (background == before).all()


def test_alpha_blending_by_hand():
    """Half of red over blue; the mask is strictly above one half: 127 / 255 is not in it, and 128 / 255 is."""
    background = np.full((1, 4, 3), (0, 0, 200), np.uint8)
    rgba = np.array([[(100, 0, 0, 255), (100, 0, 0, 128), (100, 0, 0, 127), (100, 0, 0, 0)]], np.uint8)
    image, mask = blend(background, layer(rgba, (1, 4)), Placement(1, 4, 0, 0))
    assert image[0].tolist() == [[100, 0, 0], [50, 0, 100], [50, 0, 100], [0, 0, 200]]
    assert mask[0].tolist() == [True, True, False, False]


def test_colors_of_transparent_pixels_do_not_show():
    """The original's bitwise AND with a grey mask changed colors; so does resizing without alpha's weight."""
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[..., 1] = 255  # transparent pixels are green
    rgba[5:15, 5:15] = (200, 0, 0, 255)
    image, mask = blend(np.zeros((9, 9, 3), np.uint8), layer(rgba, (9, 9)), Placement(9, 9, 0, 0))
    assert image[..., 1].max() == 0 and image[..., 0].max() == 200 and mask.any()


def test_depth_is_the_objects_where_visible_and_the_backgrounds_elsewhere():
    depth = np.full((4, 4), 2.5, np.float32)
    pasted = layer(np.dstack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 255, np.uint8)]), (4, 4), depth)
    background = np.full((6, 6), 9.0, np.float32)
    where = Placement(4, 4, 4, -1)  # two rows and three columns are visible
    _, mask = blend(np.zeros((6, 6, 3), np.uint8), pasted, where)
    made = blend_depth(background, pasted, where, mask)
    assert mask.sum() == 6 and mask[4:, :3].all()
    assert (made[mask] == 2.5).all() and (made[~mask] == 9).all() and (background == 9).all()


@pytest.fixture(scope="module")
def composer(tmp_path_factory) -> Composer:
    parts = parts_in(write_parts(tmp_path_factory.mktemp("parts")))
    return Composer(parts, CompositeSettings(side=32, per_pair=3, scale=(0.4, 0.8)))


def test_composites_differ_from_their_backgrounds_by_the_foreground_alone(composer):
    assert len(composer) == 4 * 3 * 2 * 3
    for made in (composer[k] for k in range(0, len(composer), 5)):
        assert made.image.shape == made.background.shape == (32, 32, 3) and made.mask.shape == (32, 32)
        inside = np.zeros((32, 32), bool)
        inside[made.place.y : made.place.y + made.place.height, made.place.x : made.place.x + made.place.width] = True
        assert (made.image == made.background)[~inside].all() and not made.mask[~inside].any() and made.mask.any()
        assert (made.depth[made.mask] == 3 + made.choice.foreground).all() and made.depth_kind == "metric"
        assert made.depth[~made.mask].min() >= 10


def test_the_flip_mirrors_the_foreground_and_not_the_background(tmp_path):
    parts = parts_in(write_parts(tmp_path, foregrounds=1, backgrounds=1))
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, :5] = (250, 10, 10, 255)  # the left is opaque
    Image.fromarray(rgba).save(parts.foregrounds[0].image)
    made = Composer(
        replace(parts, depth=None, foregrounds=(Part(parts.foregrounds[0].image),)),
        CompositeSettings(side=16, positions="grid", scale=(0.5, 0.5), grid_step=2),
    )
    plain, flipped = (made[made.numbering.number(Choice(0, 0, flip, 7))] for flip in (0, 1))
    window = slice(plain.place.y, plain.place.y + 8), slice(plain.place.x, plain.place.x + 8)
    assert plain.place == flipped.place and plain.mask[window][:, :5].all() and not plain.mask[window][:, 5:].any()
    assert (plain.mask[window] == flipped.mask[window][:, ::-1]).all()
    assert (plain.background == flipped.background).all() and plain.depth is None and plain.depth_kind == "none"


DIGESTS = """
import hashlib, json, sys
from multiprocessing import get_context
from tests.data.test_composites import parts_in
from zsseg_d2.data.composites.composer import Composer
from zsseg_d2.data.composites.settings import CompositeSettings
from pathlib import Path
def digest(task):
    composer, k = task
    made = composer[k]
    arrays = made.image, made.background, made.mask, made.depth
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()
if __name__ == "__main__":
    composer = Composer(parts_in(Path(sys.argv[1])), CompositeSettings(side=32, per_pair=3, seed=5))
    tasks = [(composer, k) for k in range(len(composer))]
    if sys.argv[2] == "0":
        found = [digest(task) for task in reversed(tasks)][::-1]
    else:
        with get_context("fork").Pool(int(sys.argv[2])) as pool:
            found = pool.map(digest, tasks, chunksize=7)
    print(json.dumps(found))
"""


def test_the_same_bytes_in_any_process_and_order(tmp_path):
    root = write_parts(tmp_path / "parts", foregrounds=2, backgrounds=2)
    (tmp_path / "digests.py").write_text(DIGESTS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    runs = [
        subprocess.run(
            [sys.executable, tmp_path / "digests.py", root, workers],
            capture_output=True, text=True, env=environment, check=True,
        ).stdout
        for workers in ("0", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1] and len(set(json.loads(runs[0]))) > 20


def test_the_seed_moves_foregrounds_and_nothing_else_does(composer):
    other = Composer(composer.parts, replace(composer.settings, seed=1))
    assert any(composer[k].place != other[k].place for k in range(5))
    larger = Composer(composer.parts, replace(composer.settings, side=64))
    for k in (0, 9, 33):
        small, large = composer[k].place, larger[k].place
        assert all(abs(2 * a - b) <= 4 for a, b in zip(small, large)), "the small version of the large one"


def test_records_are_made_when_asked_for():
    records = CompositeRecords("composites_train", range(10**12))
    assert len(records) == 10**12
    assert records[10**11] == {"index": 10**11, "image_id": 10**11, "dataset_name": "composites_train"}


@given(st.integers(3, 40), st.integers(3, 40), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_splits_share_neither_foregrounds_nor_backgrounds(fronts, backs, seed):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        files = {
            what: [Path(folder, f"{what}{seed}_{k}.png") for k in range(n)] for what, n in (("f", fronts), ("b", backs))
        }
        for paths in files.values():
            for k, path in enumerate(paths):
                path.write_bytes(b"%d" % (k // 2 if len(paths) > 6 else k))  # pairs of copies
        made = split_parts(Parts(tuple(map(Part, files["f"])), tuple(map(Part, files["b"]))))
        check_disjoint(made)
        for what, key in (("f", "foregrounds"), ("b", "backgrounds")):
            divided = [p.image for parts in made.values() for p in getattr(parts, key)]
            assert sorted(divided) == sorted(files[what])
            contents = [{p.image.read_bytes() for p in getattr(parts, key)} for parts in made.values()]
            assert all(contents) and sum(map(len, contents)) == len(set().union(*contents))


def test_a_copy_under_another_name_is_told(tmp_path):
    root = write_splits(tmp_path)
    assert len(load_split(root, "val").foregrounds) == 4
    (root / "test" / "backgrounds" / "b1.png").write_bytes((root / "train" / "backgrounds" / "b2.png").read_bytes())
    with pytest.raises(DatasetError, match=r"b2.png \(train\) and .*b1.png \(test\) are the same file"):
        load_split(root, "val")


def test_too_few_files_for_three_splits(tmp_path):
    parts = parts_in(write_parts(tmp_path, foregrounds=2))
    with pytest.raises(DatasetError, match="2 different foregrounds cannot be divided"):
        split_parts(parts)


def test_foregrounds_without_alpha_or_mask_are_refused(tmp_path):
    parts = parts_in(write_parts(tmp_path))
    path = parts.foregrounds[0].image
    Image.new("RGB", (20, 20)).save(path)
    with pytest.raises(DatasetError, match="no alpha channel.*RGB"):
        Composer(parts, CompositeSettings(side=32))[0]
    Image.fromarray(np.dstack([np.zeros((20, 20, 3), np.uint8), disc(20, 20) // 3])).save(path)
    with pytest.raises(DatasetError, match="above one half.*85 of 255"):
        Composer(parts, CompositeSettings(side=32))[0]


def test_foregrounds_with_a_transparent_palette_or_grey_are_read(tmp_path):
    parts = parts_in(write_parts(tmp_path, foregrounds=1))
    path = parts.foregrounds[0].image
    rgba = np.dstack([np.full((20, 20), 90, np.uint8)] * 3 + [np.where(disc(20, 20) > 127, 255, 0).astype(np.uint8)])
    found = []
    for image in (Image.fromarray(rgba), Image.fromarray(rgba).convert("LA")):
        image.save(path)
        found.append(Composer(parts, CompositeSettings(side=32))[3].image)
    assert (found[0] == found[1]).all()
    palette = Image.fromarray(np.where(rgba[..., 3] > 0, 1, 0).astype(np.uint8), "P")
    palette.putpalette([0, 255, 0, 90, 90, 90])
    palette.save(path, transparency=0)
    assert (Composer(parts, CompositeSettings(side=32))[3].image == found[0]).all()


def test_a_missing_depth_map_is_named(tmp_path):
    write_parts(tmp_path)
    (tmp_path / "foreground_depth" / "f2.png").unlink()
    with pytest.raises(DatasetError, match="no depth map for 1 of 4 foregrounds, such as f2.png"):
        parts_in(tmp_path)
    with pytest.raises(DatasetError, match="depth of backgrounds, and none of foregrounds"):
        find_parts(tmp_path / "foregrounds", tmp_path / "backgrounds", None, tmp_path / "background_depth")


def test_an_enlarged_foreground_is_nearer(tmp_path):
    """On a canvas of the native side, a foreground of its own size is as far as its map says; twice the size, half."""
    parts = replace(parts_in(write_parts(tmp_path, foregrounds=1)), native_side=40)
    for share, metres in ((0.5, 3.0), (1.0, 1.5)):
        made = Composer(parts, CompositeSettings(side=80, scale=(share, share)))[0]
        assert made.depth[made.mask].tolist() == pytest.approx([metres] * int(made.mask.sum()))


def test_large_foregrounds_keep_their_shape_and_place(tmp_path):
    """Photographs are reduced before they are kept; the composite is nearly that of the file itself."""
    parts = parts_in(write_parts(tmp_path, foregrounds=1))
    parts = replace(parts, depth=None)
    made = {}
    for side in (40, 400):
        rgba = np.dstack([np.full((side, side * 2, 3), 77, np.uint8), disc(side, side * 2)])
        Image.fromarray(rgba).save(parts.foregrounds[0].image)
        made[side] = Composer(parts, CompositeSettings(side=32))[4]
    assert made[40].place == made[400].place
    assert (made[40].mask != made[400].mask).mean() < 0.01
