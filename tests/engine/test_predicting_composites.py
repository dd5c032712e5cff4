"""Mask, depth and cut-out of pictures, through the program."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zsseg_d2.cli import predict_composite
from zsseg_d2.data.composites.depth import DepthFormat, read_depth

ROOT = Path(__file__).resolve().parents[2]
PICTURE, BACKGROUND = ROOT / "docs/composite_input.png", ROOT / "docs/composite_background.png"


def run(*words) -> int | None:
    return predict_composite.main([str(word) for word in words])


def pixels(path):
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("composites")
    assert not run("--image", PICTURE, "--background", BACKGROUND, "--output", folder / "found")
    return folder / "found"


def test_the_object_is_found(found):
    """Beside the pixels that differ much from the background, which show most of the object and little else."""
    mask = pixels(found / "composite_input_mask.png")
    assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
    picture, background = (pixels(path)[..., :3].astype(int) for path in (PICTURE, BACKGROUND))
    differs = np.abs(picture - background).max(-1) > 60
    common, union = (differs & (mask > 0)).sum(), (differs | (mask > 0)).sum()
    assert mask.shape == differs.shape and common / union > 0.7


def test_the_cutout_is_the_picture_where_the_object_is(found):
    cutout, mask = pixels(found / "composite_input_cutout.png"), pixels(found / "composite_input_mask.png")
    np.testing.assert_array_equal(cutout[..., :3], pixels(PICTURE)[..., :3])
    assert (cutout[mask == 0, 3] == 0).all() and (cutout[mask > 0, 3] > 127).all()


def test_depth_says_what_it_is_and_reads_as_metres(found):
    told = json.loads((found / "depth.json").read_text())
    assert (told["kind"], told["near_is"]) == ("metric", "small") and told["unit"] == pytest.approx(80 / 65535)
    size = pixels(PICTURE).shape[:2]
    metres = read_depth(found / "composite_input_depth.png", DepthFormat(**told), size)
    stored = pixels(found / "composite_input_depth.png").astype(float)
    np.testing.assert_allclose(metres, stored * 80 / 65535, rtol=1e-6)
    assert metres.min() > 0 and metres.max() <= 80
    assert metres[:10].mean() > 2 * metres[-10:].mean()  # sky and meadow


def test_relative_depth_has_no_unit(tmp_path):
    words = ("--image", PICTURE, "--background", BACKGROUND, "--output", tmp_path, "MODEL.COMPOSITES.DEPTH_MAX", 1.0)
    assert not run(*words, "INPUT.COMPOSITES.DEPTH_KIND", "relative")
    assert json.loads((tmp_path / "depth.json").read_text()) == {"kind": "relative", "near_is": "small"}
    assert {path.name for path in tmp_path.glob("*depth*.png")} == {"composite_input_relative_depth.png"}


def test_metres_stay_metres_if_the_largest_is_one(tmp_path):
    run("--image", PICTURE, "--background", BACKGROUND, "--output", tmp_path, "MODEL.COMPOSITES.DEPTH_MAX", 1.0)
    told = json.loads((tmp_path / "depth.json").read_text())
    assert told["kind"] == "metric" and told["unit"] == pytest.approx(1 / 65535)


def test_one_background_serves_all_and_grey_pictures_are_read(tmp_path):
    Image.open(PICTURE).convert("L").save(tmp_path / "grey.png")
    run("--image", PICTURE, tmp_path / "grey.png", "--background", BACKGROUND, "--output", tmp_path / "found")
    names = {path.name for path in (tmp_path / "found").glob("*_mask.png")}
    assert names == {"composite_input_mask.png", "grey_mask.png"}


def test_mistakes_are_one_message_and_nothing_is_written(tmp_path, capsys):
    small, damaged, output = tmp_path / "small.png", tmp_path / "damaged.png", tmp_path / "found"
    Image.new("RGB", (50, 40)).save(small)
    damaged.write_bytes(PICTURE.read_bytes()[:2000])
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / PICTURE.name
    twin.write_bytes(PICTURE.read_bytes())
    cases = [
        (("--image", PICTURE, "--background", small), "different sizes, 96x96 and 50x40"),
        (("--image", PICTURE), "give --background"),
        (("--image", PICTURE, damaged, "--background", BACKGROUND), "damaged.png"),
        (("--image", PICTURE, twin, "--background", BACKGROUND), "two images are called 'composite_input'"),
        (("--image", PICTURE, "--background", BACKGROUND, small, small), "1 images need one --background"),
        (("--image", tmp_path / "none.png", "--background", BACKGROUND), "none.png"),
    ]
    for words, message in cases:
        with pytest.raises(SystemExit) as stop:
            run(*words, "--output", output)
        said = str(stop.value) + capsys.readouterr().err
        assert message in said and "Traceback" not in said, said
        assert not output.exists(), words
