"""Paired augmentation, disturbances of the background alone, depth files and models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.test_composites import parts_in
from tests.data.tiny_composites import write_parts
from zsseg_d2.data import DatasetError
from zsseg_d2.data.composites.augmentation import Augmentation, Pair, cropped
from zsseg_d2.data.composites.composer import Composer
from zsseg_d2.data.composites.depth import DepthFormat, read_depth, write_depth
from zsseg_d2.data.composites.depth_model import DepthModel
from zsseg_d2.data.composites.disturbance import Disturbance, jpeg, shifted
from zsseg_d2.data.composites.mapper import CompositeMapper
from zsseg_d2.data.composites.settings import CompositeSettings
from zsseg_d2.data.seeding import numpy_seed


def coordinates(side: int = 24, kind: str = "metric") -> Pair:
    """A pair of which every pixel says where it is, in inputs and targets."""
    y, x = np.mgrid[:side, :side]
    place = np.dstack([y * 10, x * 10, y * 0]).astype(np.uint8)
    return Pair(place, place.copy(), (x >= y), (y * 100 + x).astype(np.float32), kind)


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 1), st.sampled_from([0.0, 1.0]))
@settings(max_examples=50)
def test_one_geometry_for_both_inputs_and_both_targets(seed, crop, mirror):
    with numpy_seed(seed):
        made = Augmentation(crop, mirror)(coordinates(kind="relative"))
    assert (made.image == made.background).all() and made.image.shape == (24, 24, 3)
    y, x = made.depth // 100, made.depth % 100
    assert (made.mask == (x >= y)).all(), "mask and depth are of the same pixels"
    assert np.abs(made.image[..., 0] / 10 - y).max() <= 1 and np.abs(made.image[..., 1] / 10 - x).max() <= 1


def test_a_mirror_by_hand():
    made = Augmentation(mirror=1.0)(coordinates())
    plain = coordinates()
    for name in ("image", "background", "mask", "depth"):
        assert (getattr(made, name) == getattr(plain, name)[:, ::-1]).all()


def test_an_enlarged_view_is_nearer_where_depth_is_metric():
    plain = coordinates()
    metric, relative = cropped(plain, 6, 2, 12), cropped(plain._replace(depth_kind="relative"), 6, 2, 12)
    assert relative.depth[0, 0] == 602 and metric.depth[0, 0] == 301
    assert (relative.depth == 2 * metric.depth).all()


def test_a_shift_by_hand():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert shifted(image, 1, 0)[:, :, 0].tolist() == [[0, 3], [0, 3]]
    assert shifted(image, 0, -1)[:, :, 0].tolist() == [[3, 3], [9, 9]]
    assert (shifted(image, 0, 0) == image).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_each_disturbance_stays_within_its_bounds(seed):
    image = np.random.default_rng(seed).integers(0, 200, (20, 20, 3), dtype=np.uint8)
    with numpy_seed(seed):
        moved = Disturbance(shift=2)(image)
        brighter = Disturbance(exposure=0.1)(image)
        noisy = Disturbance(noise=5)(image)
    inner = moved[2:-2, 2:-2]
    places = [(d, r) for d in range(5) for r in range(5) if (image[d : d + 16, r : r + 16] == inner).all()]
    assert places, "a part of the image, at most two pixels away"
    gain = brighter[image > 100].astype(float).sum() / image[image > 100].astype(float).sum()
    assert 0.89 < gain < 1.11 and np.abs(brighter.astype(float) - image * gain).max() < 2.5
    assert np.abs(noisy.astype(float) - image).max() < 5 * 6


def test_jpeg_is_what_a_jpeg_file_gives(tmp_path):
    y, x = np.mgrid[:32, :32]
    image = np.dstack([y * 8, x * 8, (x + y) * 4]).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=60)
    assert (jpeg(image, 60) == np.asarray(Image.open(tmp_path / "a.jpg"))).all() and (jpeg(image, 60) != image).any()
    assert (Disturbance()(image) == image).all(), "no disturbance"


@pytest.mark.parametrize("wrong", [{"shift": -1}, {"exposure": 1.0}, {"jpeg": (80, 70)}, {"jpeg": (0, 70)}])
def test_disturbances_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        Disturbance(**wrong)


def subtraction(image: np.ndarray, background: np.ndarray) -> np.ndarray:
    return np.abs(image.astype(int) - background.astype(int)).max(axis=-1) > 24


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def test_subtraction_solves_clean_pairs_and_not_disturbed_ones(tmp_path):
    """Why the background is disturbed: .93 against .39 on the published images."""
    made = Composer(parts_in(write_parts(tmp_path)), CompositeSettings(side=48))
    clean, disturbed = [], []
    for k in range(0, len(made), 29):
        one = made[k]
        with numpy_seed(k):
            other = Disturbance(shift=1, exposure=0.08)(one.background)
        clean.append(iou(subtraction(one.image, one.background), one.mask))
        disturbed.append(iou(subtraction(one.image, other), one.mask))
    assert np.mean(clean) > 0.8 and np.mean(disturbed) < 0.5


def test_the_mapper_disturbs_the_background_alone(tmp_path):
    composer = Composer(parts_in(write_parts(tmp_path)), CompositeSettings(side=32))
    record = {"index": 17, "dataset_name": "tiny", "image_id": 17}
    with numpy_seed(3):
        item = CompositeMapper({"tiny": composer}, disturbance=Disturbance(2, 0.1, 4.0, (70, 90)))(record)
    made = composer[17]
    assert (item["image"].numpy() == made.image.transpose(2, 0, 1)).all()
    assert (item["mask"].numpy() == made.mask).all() and (item["depth"].numpy() == made.depth).all()
    assert (item["background"].numpy() != made.background.transpose(2, 0, 1)).any()
    types = {key: value.dtype for key, value in item.items() if isinstance(value, torch.Tensor)}
    assert types == {"image": torch.uint8, "background": torch.uint8, "mask": torch.bool, "depth": torch.float32}
    assert (item["height"], item["width"], item["image_id"], item["depth_kind"]) == (32, 32, 17, "metric")


@pytest.mark.parametrize(
    ("format", "stored", "bits", "expected"),
    [
        (DepthFormat("metric", 0.001), 1500, 16, 1.5),
        (DepthFormat("metric", 0.5), 200, 8, 100.0),
        (DepthFormat("relative"), 65535, 16, 1.0),
        (DepthFormat("relative", near_is="large"), 255, 8, 0.0),
        (DepthFormat("relative", near_is="large"), 51, 8, 0.8),
    ],
)
def test_depth_files_by_hand(tmp_path, format, stored, bits, expected):
    values = np.full((2, 3), stored, np.uint16 if bits == 16 else np.uint8)
    Image.fromarray(values).save(tmp_path / "d.png")
    found = read_depth(tmp_path / "d.png", format, (2, 3))
    assert found.dtype == np.float32 and found.tolist() == [[pytest.approx(expected)] * 3] * 2


@given(st.lists(st.floats(0, 250), min_size=4, max_size=4))
@settings(max_examples=30, deadline=None)
def test_depth_comes_back_to_half_a_step(values):
    import tempfile
    from pathlib import Path

    depth, format = np.array(values, np.float32).reshape(2, 2), DepthFormat("metric", 1 / 256)
    with tempfile.TemporaryDirectory() as folder:
        write_depth(Path(folder, "d.png"), depth, format)
        assert np.abs(read_depth(Path(folder, "d.png"), format, (2, 2)) - depth).max() <= 0.5001 / 256


def test_depth_that_does_not_fit_or_is_colored_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="does not fit in 16 bits"):
        write_depth(tmp_path / "d.png", np.array([[70.0]]), DepthFormat("metric", 0.001))
    with pytest.raises(DatasetError, match="does not fit"):
        write_depth(tmp_path / "d.png", np.array([[np.nan, 1.0]]), DepthFormat())
    Image.new("RGB", (3, 2)).save(tmp_path / "c.png")
    with pytest.raises(DatasetError, match="is of mode RGB"):
        read_depth(tmp_path / "c.png", DepthFormat(), (2, 3))
    with pytest.raises(ValueError, match="metric depth is a distance"):
        DepthFormat("metric", near_is="large")


@pytest.fixture(scope="module")
def depth_model(tmp_path_factory):
    """A DPT with two tiny layers and random weights, as a folder."""
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dpt")
    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    DPTForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_a_depth_model_of_transformers(depth_model):
    """Against transformers' own output: inverse, stretched to 0 (nearest) … 1."""
    from transformers import DPTForDepthEstimation, DPTImageProcessor

    image = np.random.default_rng(0).integers(0, 256, (40, 32, 3), dtype=np.uint8)
    model = DepthModel(depth_model)
    found = model(image)
    with torch.inference_mode():
        inputs = DPTImageProcessor.from_pretrained(depth_model)(images=image, return_tensors="pt")
        inverse = DPTForDepthEstimation.from_pretrained(depth_model)(**inputs).predicted_depth[None]
        inverse = torch.nn.functional.interpolate(inverse, size=(40, 32), mode="bilinear")[0, 0].double().numpy()
    expected = (inverse.max() - inverse) / (inverse.max() - inverse.min())
    assert model.kind == "relative" and found.shape == (40, 32) and found.min() == 0 and found.max() == 1
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(DatasetError, match="there is no such folder"):
        DepthModel(tmp_path / "none")
    with pytest.raises(DatasetError, match="holds no depth model"):
        DepthModel(tmp_path)
