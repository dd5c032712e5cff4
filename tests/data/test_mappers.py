"""Masks, classes and images after augmentation, against maps drawn by hand."""

from __future__ import annotations

import detectron2.data.transforms as T
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from PIL import Image

from zsseg_d2 import add_zsseg_config
from zsseg_d2.data import DatasetError, write_panoptic_png
from zsseg_d2.data.panoptic.augmentations import ColorJitter, jitter_color
from zsseg_d2.data.panoptic.mapper import PanopticMapper, mapper_kind

H, W = 20, 32
MAP = np.zeros((H, W), np.int64)  # void, unless:
MAP[:10] = 70_001  # class 1
MAP[10:, :16] = 2  # class 0
MAP[12:18, 20:26] = 26_000  # class 3
MAP[12:18, 26:30] = 26_001  # class 3
MAP[18:, 20:24] = 24  # class 2, a crowd
SEGMENTS = ((2, 0, 0), (70_001, 1, 0), (26_000, 3, 0), (26_001, 3, 0), (24, 2, 1))


def write(folder, ids=MAP, image=None, segments=SEGMENTS) -> dict:
    """A record on disk; the image's red channel is the column, its green channel the row."""
    if image is None:
        image = np.stack(
            (np.tile(np.arange(W) * 8, (H, 1)), np.tile(np.arange(H)[:, None] * 12, (1, W)), ids % 251), -1
        )
    Image.fromarray(image.astype(np.uint8)).save(folder / "image.png")
    write_panoptic_png(folder / "panoptic.png", ids)
    return {
        "file_name": str(folder / "image.png"),
        "image_id": "a",
        "height": H,
        "width": W,
        "pan_seg_file_name": str(folder / "panoptic.png"),
        "segments_info": [{"id": i, "category_id": c, "iscrowd": crowd, "isthing": c > 1} for i, c, crowd in segments],
        "dataset_name": "drawn",
    }


@pytest.fixture
def record(tmp_path):
    return write(tmp_path)


def config(*options):
    cfg = get_cfg()
    add_zsseg_config(cfg)
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", (H,), "INPUT.RANDOM_FLIP", "none", *options])
    return cfg


def masks_by_id(item) -> dict:
    """Class and pixels of every target: {(class, area)}."""
    instances = item["instances"]
    return {(int(c), int(m.sum())) for c, m in zip(instances.gt_classes, instances.gt_masks)}


def test_untouched_image_gives_the_drawn_masks(record):
    item = PanopticMapper(config(), training=True)(record)
    assert item["image"].shape == (3, H, W) and item["image"].dtype == torch.uint8
    instances = item["instances"]
    assert instances.gt_classes.dtype == torch.int64 and instances.gt_masks.dtype == torch.bool
    assert instances.gt_classes.tolist() == [0, 1, 3, 3]  # the crowd gives no target
    for mask, segment in zip(instances.gt_masks.numpy(), (2, 70_001, 26_000, 26_001)):
        np.testing.assert_array_equal(mask, segment == MAP)
    assert "ignore" not in item
    assert {k: item[k] for k in ("height", "width", "image_id", "dataset_name")} == {
        "height": H,
        "width": W,
        "image_id": "a",
        "dataset_name": "drawn",
    }


def test_ignore_holds_all_pixels_without_target(record):
    item = PanopticMapper(config("ZSSEG.DELETED_PIXELS", "ignore"), training=True)(record)
    np.testing.assert_array_equal(item["ignore"].numpy(), ~np.isin(MAP, (2, 70_001, 26_000, 26_001)))


def test_flip_moves_image_and_masks_together(record):
    plain = PanopticMapper(config(), training=True)(record)
    flipped = PanopticMapper([T.RandomFlip(1.0)], training=True)(record)
    assert torch.equal(flipped["image"], plain["image"].flip(-1))
    assert torch.equal(flipped["instances"].gt_masks, plain["instances"].gt_masks.flip(-1))


def test_crop_drops_segments_that_are_gone(record):
    item = PanopticMapper([T.CropTransform(18, 8, 8, 10)], training=True)(record)  # columns 18-25, rows 8-17
    expected = MAP[8:18, 18:26]
    assert item["instances"].gt_classes.tolist() == [1, 3]
    for mask, segment in zip(item["instances"].gt_masks.numpy(), (70_001, 26_000)):
        np.testing.assert_array_equal(mask, expected == segment)
    assert item["instances"].gt_masks.flatten(1).any(1).all()


def test_crop_of_void_alone_gives_no_target_and_keeps_shapes(record):
    item = PanopticMapper([T.CropTransform(17, 10, 3, 8)], training=True, ignore_uncovered=True)(record)
    assert item["instances"].gt_masks.shape == (0, 8, 3) and item["instances"].gt_classes.shape == (0,)
    assert item["ignore"].all()


@pytest.mark.parametrize("factor", [2, 3])
def test_enlarging_repeats_pixels_exactly(record, factor):
    item = PanopticMapper(config("INPUT.MIN_SIZE_TRAIN", (H * factor,)), training=True)(record)
    assert item["image"].shape == (3, H * factor, W * factor)
    expected = np.kron(MAP, np.ones((factor, factor), np.int64))
    for mask, segment in zip(item["instances"].gt_masks.numpy(), (2, 70_001, 26_000, 26_001)):
        np.testing.assert_array_equal(mask, expected == segment)


def test_masks_stay_aligned_with_the_image_when_resized(tmp_path):
    """A shape painted into the image lies under its mask after an odd resize, to half a pixel."""
    ids = np.zeros((H, W), np.int64)
    ids[5:15, 8:24] = 9
    image = np.stack((np.where(ids == 9, 255, 0),) * 3, -1)
    record = write(tmp_path, ids, image, ((9, 0, 0),))
    item = PanopticMapper(config("INPUT.MIN_SIZE_TRAIN", (33,), "INPUT.MAX_SIZE_TRAIN", 200), training=True)(record)
    mask, painted = item["instances"].gt_masks[0], item["image"][0] > 127
    assert torch.equal(mask[16], painted[16]) and torch.equal(mask[:, 26], painted[:, 26])  # corners are rounded


def test_semantic_merges_the_segments_of_a_class(record):
    item = PanopticMapper(config("INPUT.DATASET_MAPPER_NAME", "mask_former_semantic"), training=True)(record)
    assert item["instances"].gt_classes.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(item["instances"].gt_masks[2].numpy(), np.isin(MAP, (26_000, 26_001)))


def test_deleted_segments_are_void(record):
    kept = {**record, "segments_info": [s for s in record["segments_info"] if s["category_id"] != 3]}
    item = PanopticMapper(config("ZSSEG.DELETED_PIXELS", "ignore"), training=True)(kept)
    assert item["instances"].gt_classes.tolist() == [0, 1]
    listed = [s["id"] for s in kept["segments_info"] if not s["iscrowd"]]
    np.testing.assert_array_equal(item["ignore"].numpy(), ~np.isin(MAP, listed))


def test_jitter_never_pads(record):
    cfg = config("INPUT.DATASET_MAPPER_NAME", "coco_panoptic_lsj", "INPUT.IMAGE_SIZE", 24, "INPUT.MIN_SCALE", 0.3)
    mapper, shapes = PanopticMapper(cfg, training=True), set()
    for seed in range(20):
        np.random.seed(seed)
        item = mapper(record)
        height, width = item["image"].shape[1:]
        shapes.add((height, width))
        assert max(height, width) <= 24 and item["instances"].gt_masks.shape[1:] == (height, width)
    assert len(shapes) > 5 and (24, 24) in shapes


def test_crop_limits_the_area_of_a_class(record):
    options = ("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute", "INPUT.CROP.SIZE", [10, 10])
    mapper = PanopticMapper(config(*options, "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", 0.8), training=True)
    shares = []
    for seed in range(30):
        np.random.seed(seed)
        instances = mapper(record)["instances"]
        areas = instances.gt_masks.flatten(1).sum(1)
        by_class = torch.zeros(4).index_add(0, instances.gt_classes, areas.float())
        shares.append(float(by_class.max() / by_class.sum()))
    assert sum(share < 0.8 for share in shares) > 25  # a try can fail ten times


def test_colour_leaves_masks_alone(record):
    plain = PanopticMapper(config(), training=True)(record)
    np.random.seed(1)
    item = PanopticMapper(config("INPUT.COLOR_AUG_SSD", True), training=True)(record)
    assert not torch.equal(item["image"], plain["image"])
    assert torch.equal(item["instances"].gt_masks, plain["instances"].gt_masks)


def test_colour_jitter_is_exact_where_it_can_be():
    image = np.array([[[10, 100, 200], [0, 0, 0], [255, 128, 3]]], np.uint8)
    nothing = {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    for last in (False, True):
        np.testing.assert_array_equal(jitter_color(image, **nothing, contrast_last=last), image)
        bright = jitter_color(image, **{**nothing, "brightness": 20.0}, contrast_last=last)
        np.testing.assert_array_equal(bright, np.clip(image.astype(int) + 20, 0, 255))
        dark = jitter_color(image, **{**nothing, "contrast": 0.5}, contrast_last=last)
        np.testing.assert_array_equal(dark, image // 2)
    red = np.full((1, 1, 3), (200, 0, 0), np.uint8)
    turned = jitter_color(red, **{**nothing, "hue": 1 / 3}, contrast_last=False)[0, 0]
    assert turned[1] > 190 and turned[0] < 10 and turned[2] < 10  # a third of the circle: green
    grey = jitter_color(red, **{**nothing, "saturation": 0.5}, contrast_last=False)[0, 0]
    assert grey[0] == 200 and abs(int(grey[1]) - 100) <= 2


def test_colour_jitter_follows_the_seed():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)

    def draw(seed):
        np.random.seed(seed)
        return ColorJitter().get_transform(image).apply_image(image)

    np.testing.assert_array_equal(draw(1), draw(1))
    assert len({draw(seed).tobytes() for seed in range(8)}) > 4


def test_more_segments_than_a_byte_holds(tmp_path):
    ids = np.arange(1, H * W + 1).reshape(H, W) * 300
    record = write(tmp_path, ids, segments=[(int(i), int(i) % 5, 0) for i in ids.ravel()])
    item = PanopticMapper(config(), training=True)(record)
    assert len(item["instances"]) == H * W
    assert torch.equal(item["instances"].gt_masks.flatten(1).float().argmax(1), torch.arange(H * W))


def test_test_items_have_no_targets(record):
    del record["pan_seg_file_name"], record["segments_info"]
    item = PanopticMapper(config("INPUT.MIN_SIZE_TEST", 40, "INPUT.MAX_SIZE_TEST", 50), training=False)(record)
    assert item["image"].shape == (3, 31, 50)
    assert set(item) == {"image", "height", "width", "file_name", "image_id", "dataset_name"}


@pytest.mark.parametrize("size", [(8, 4000), (4000, 8), (1, 3000), (2, 5000)])
@pytest.mark.parametrize(
    "options",
    [
        ("INPUT.DATASET_MAPPER_NAME", "panoptic_lsj"),
        ("INPUT.MIN_SIZE_TRAIN", (800,)),
        ("INPUT.MIN_SIZE_TRAIN", (800,), "INPUT.MAX_SIZE_TRAIN", 300),
        ("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "relative", "INPUT.CROP.SIZE", [0.3, 0.3]),
        ("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "relative_range", "INPUT.CROP.SIZE", [0.1, 0.1]),
    ],
)
def test_strips_keep_at_least_a_pixel_and_stay_bounded(tmp_path, size, options):
    """Their short side would be rounded to 0 in some draws."""
    ids = np.full(size, 2)
    record = {**write(tmp_path, ids, np.zeros((*size, 3)), [(2, 0, 0)]), "height": size[0], "width": size[1]}
    mapper = PanopticMapper(config(*options), training=True)
    np.random.seed(0)
    for _ in range(30):
        item = mapper(record)
        assert min(item["image"].shape[1:]) >= 1 and max(item["image"].shape[1:]) <= 1333
        assert item["instances"].gt_masks.all() and item["instances"].gt_masks.shape[1:] == item["image"].shape[1:]
    tested = PanopticMapper(config("INPUT.MIN_SIZE_TEST", 800, "INPUT.MAX_SIZE_TEST", 1333), training=False)(record)
    assert sorted(tested["image"].shape[1:]) == [max(1, round(1333 * min(size) / max(size))), 1333]


def test_labelled_images_are_read_by_the_rules_of_the_config(record):
    exif = Image.Exif()
    exif[0x0112] = 3
    stored = Image.open(record["file_name"])
    upright = torch.from_numpy(np.array(stored.transpose(Image.Transpose.ROTATE_180))).permute(2, 0, 1)
    stored.save(record["file_name"], exif=exif)
    for training in (True, False):
        with pytest.raises(DatasetError, match="image.png: has the EXIF orientation 3"):
            PanopticMapper(config(), training=training)(record)
        with pytest.raises(DatasetError, match="INPUT.MAX_PIXELS"):
            PanopticMapper(config("INPUT.MAX_PIXELS", H * W - 1), training=training)(record)
    item = PanopticMapper(config("INPUT.EXIF_ORIENTATION", "apply"), training=True)(record)
    assert torch.equal(item["image"], upright)
    item = PanopticMapper(config("INPUT.EXIF_ORIENTATION", "ignore"), training=True)(record)
    assert torch.equal(item["image"], upright.flip(1, 2))


def test_errors_name_the_file(record, tmp_path):
    mapper = PanopticMapper(config(), training=True)
    with pytest.raises(DatasetError, match="image.png.*32x20.*annotation says 30x20"):
        mapper({**record, "width": 30})
    with pytest.raises(DatasetError, match="panoptic.png.*segment id 77"):
        mapper({**record, "segments_info": [*record["segments_info"], {"id": 77, "category_id": 0, "iscrowd": 0}]})
    with pytest.raises(DatasetError, match="missing"):
        mapper({**record, "file_name": str(tmp_path / "none.png")})
    data = (tmp_path / "image.png").read_bytes()
    (tmp_path / "image.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match="image.png"):
        mapper(record)


def test_names_of_fc_clip_are_known_and_others_are_not():
    assert mapper_kind("mask_former_panoptic") == "panoptic" and mapper_kind("coco_panoptic_lsj") == "panoptic_lsj"
    with pytest.raises(ValueError, match="'coco_instance_lsj': unknown.*no instance mapper"):
        mapper_kind("coco_instance_lsj")
