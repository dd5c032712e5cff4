"""The embedded parts of composites: cut-out objects and views of scenes, with the renderer's depth."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from zsseg_d2.data.composites.composer import Composer
from zsseg_d2.data.composites.dataset import load_split
from zsseg_d2.data.composites.settings import CompositeSettings
from zsseg_d2.data.synthetic.composites import write_composite_parts
from zsseg_d2.data.synthetic.cutouts import KINDS, NATIVE_SIDE, render_cutout
from zsseg_d2.data.synthetic.scene import render_scene
from zsseg_d2.data.synthetic.worlds import CITY, PRETRAINING


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_whole_and_alone(kind):
    rgba, depth = render_cutout(PRETRAINING, kind, 3)
    alpha = rgba[..., 3]
    assert all(side.any() for side in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])), "cut to its box"
    assert 130 < max(alpha.shape) < 250 and 0.1 < (alpha > 127).mean() < 0.97
    assert ((alpha > 0) & (alpha < 255)).any(), "soft edges"
    assert depth.shape == alpha.shape and 0.6 < depth.min() == depth.max() < 80
    again, _ = render_cutout(PRETRAINING, kind, 3)
    assert (again == rgba).all() and (render_cutout(PRETRAINING, kind, 4)[0].shape != rgba.shape or kind != "car")


def test_depth_tells_the_size_of_a_cut_out():
    """A ball of 0.8 m: focal length times size over distance is its size in pixels."""
    rgba, depth = render_cutout(CITY, "ball", 1)
    metres = rgba.shape[1] * depth[0, 0] / (0.6 * 2 * NATIVE_SIDE)
    assert metres == pytest.approx(0.8, rel=0.15)


def test_the_ground_of_a_scene_is_as_far_as_the_camera_says():
    """Below the horizon, depth falls with the row; the sky is the farthest."""
    scene = render_scene(CITY, 2, 128, 256)
    ground = {o.index for o in scene.objects if o.kind in ("road", "sidewalk")}
    inside = np.isin(scene.index, list(ground))
    assert inside.any() and scene.depth.shape == (128, 256)
    rows, columns = np.nonzero(inside[:-1] & inside[1:])
    assert (scene.depth[rows + 1, columns] < scene.depth[rows, columns]).mean() > 0.99
    inverse = [1 / scene.depth[row][inside[row]].mean() for row in range(128) if inside[row].sum() > 20]
    steps = np.diff(inverse)[5:-5]
    assert np.ptp(steps) < 0.05 * steps.mean(), "inverse depth is linear in the row"
    sky = [o.index for o in scene.objects if o.kind == "sky"]
    assert (scene.depth[np.isin(scene.index, sky)] == 400).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    counts = {f"{split}_{part}": 3 for split in ("train", "val", "test") for part in ("foregrounds", "backgrounds")}
    return write_composite_parts(tmp_path_factory.mktemp("root"), num_workers=1, side=64, **counts)


def test_the_embedded_set_has_exact_depth_and_separate_splits(folder):
    seen: dict[str, set[bytes]] = {"foregrounds": set(), "backgrounds": set()}
    for split in ("train", "val", "test"):
        parts = load_split(folder, split)
        composer = Composer(parts, CompositeSettings(side=64))
        assert composer.depth_kind == "metric" and len(composer) == 3 * 3 * 2 * 20
        made = composer[77]
        front = parts.foregrounds[made.choice.foreground]
        rgba, stored = Image.open(front.image), np.asarray(Image.open(front.depth)) / 256
        enlarged = max(made.place.height, made.place.width) / max(rgba.size) * NATIVE_SIDE / 64
        assert made.depth[made.mask] == pytest.approx(stored.max() / enlarged, rel=1e-6)
        back = np.asarray(Image.open(parts.backgrounds[made.choice.background].depth)) / 256
        assert (made.depth[~made.mask] == back[~made.mask]).all() and back.max() <= 80
        for what, found in seen.items():
            new = {np.asarray(Image.open(part.image)).tobytes() for part in getattr(parts, what)}
            assert len(new) == 3 and not new & found
            found |= new
