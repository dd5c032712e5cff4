"""Phrases as tensors: sizes, the square crop, negative phrases, prompts, and images of every mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.tiny_phrasecut import H, W, make_tiny_phrasecut, task
from zsseg_d2.data import DatasetError, load_phrasecut
from zsseg_d2.data.phrasecut.folder import WRONG_SIZE_IMAGES
from zsseg_d2.data.phrasecut.phrase_mapper import PhraseMapper, random_square_crop, read_task_image
from zsseg_d2.data.phrasecut.prompts import PROMPTS, NegativePhrases, prompt_templates
from zsseg_d2.data.phrasecut.visual_prompts import SupportTasks, visual_prompt


@pytest.fixture
def records(tmp_path):
    tasks = [task(1), task(1, 11, "bus"), task(2, phrase="bus"), task(3, phrase="green tree")]
    return load_phrasecut(make_tiny_phrasecut(tmp_path, test=tasks), "test")


def test_the_plain_item_is_the_whole_image(records):
    item = PhraseMapper(40)({**records[0], "dataset_name": "tiny"})
    assert item["image"].shape == (3, 40, 40) and item["image"].dtype == torch.uint8 and item["image"].is_contiguous()
    expected = Image.open(records[0]["file_name"]).resize((40, 40), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(item["image"].numpy(), np.asarray(expected).transpose(2, 0, 1))
    assert item["mask"].shape == (40, 40) and item["mask"].dtype == torch.bool
    assert abs(item["mask"].float().mean() - 25 / (H * W)) < 0.01
    kept = {
        k: item[k] for k in ("image_id", "task_id", "height", "width", "phrase", "prompt", "negative", "dataset_name")
    }
    assert kept == {
        "image_id": 1,
        "task_id": "1__10",
        "height": H,
        "width": W,
        "phrase": "red car",
        "prompt": "red car",
        "negative": False,
        "dataset_name": "tiny",
    }
    assert item["polygons"].mask(H, W).sum() == 25


def test_a_crop_shows_image_and_mask_at_the_same_place(records):
    """The mask drawn into the image as a colour stays on the colour, at a side that needs no resizing."""
    record = records[0]
    pixels = np.zeros((H, W, 3), np.uint8)
    pixels[record["polygons"].mask(H, W)] = 255
    path = record["file_name"].replace("1.jpg", "1.png")
    Image.fromarray(pixels).save(path)
    np.random.seed(0)
    starts = set()
    for _ in range(60):
        item = PhraseMapper(H, crop=True)({**record, "file_name": path})
        np.testing.assert_array_equal(item["image"][0].numpy() == 255, item["mask"].numpy())
        assert item["mask"].sum() >= 0.05 * 25
        starts.add(int(item["mask"].numpy().any(0).argmax()))
    assert len(starts) > 1


@pytest.mark.parametrize("shape", [(20, 90), (90, 20), (30, 30)])
def test_squares_keep_enough_of_the_mask(shape):
    """Against all squares in turn: those that keep enough are drawn, and no others."""
    rng = np.random.default_rng(1)
    mask = np.zeros(shape, bool)
    for y, x in rng.integers(0, shape, (12, 2)):
        mask[y : y + 4, x : x + 4] = True
    side, longer = min(shape), max(shape)
    flat = mask if shape[1] == longer else mask.T
    for share in (0.05, 0.4, 1.0):
        enough = {s for s in range(longer - side + 1) if flat[:, s : s + side].sum() >= share * mask.sum()}
        drawn = set()
        for _ in range(300):
            rows, columns = random_square_crop(mask, share)
            assert mask[rows, columns].shape == (side, side)
            drawn.add((columns if shape[1] == longer else rows).start)
        best = max(range(longer - side + 1), key=lambda s: (flat[:, s : s + side].sum(), -s))
        assert drawn <= (enough or {best}) and len(drawn) >= min(len(enough or {best}), 5)
    assert random_square_crop(np.zeros(shape, bool), 0.05)[0].stop <= shape[0]


def test_negative_phrases_are_of_other_images_and_empty_the_mask(records):
    negatives = NegativePhrases(records)
    np.random.seed(1)
    mapper = PhraseMapper(24, negatives=negatives, negative_probability=0.5)
    items = [mapper(records[0]) for _ in range(80)]
    share = np.mean([item["negative"] for item in items])
    assert 0.3 < share < 0.7
    for item in items:
        assert item["negative"] == (item["phrase"] == "green tree")  # the only one not used of image 1
        assert bool(item["mask"].any()) != item["negative"]
    assert len(negatives) == 3 and NegativePhrases(records[:2]).draw(1) is None
    assert PhraseMapper(24, negatives=NegativePhrases(records[:2]), negative_probability=1.0)(records[0])["mask"].any()


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.9, 1.0])
def test_the_share_of_negative_phrases_is_the_one_asked_for(records, probability):
    np.random.seed(3)
    mapper = PhraseMapper(8, negatives=NegativePhrases(records), negative_probability=probability)
    share = np.mean([mapper(records[0])["negative"] for _ in range(300)])
    assert abs(share - probability) <= 4 * (probability * (1 - probability) / 300) ** 0.5


def test_prompts_surround_the_phrase(records):
    np.random.seed(2)
    mapper = PhraseMapper(24, templates=prompt_templates("shuffle+"))
    prompts = {mapper(records[0])["prompt"] for _ in range(200)}
    assert prompts == {t.format("red car") for t in PROMPTS["shuffle+"]} and len(prompts) == 9
    with pytest.raises(ValueError, match="no prompts 'other'; choose one of plain"):
        prompt_templates("other")


def test_a_visual_prompt_shows_another_task_with_the_phrase(records):
    mapper = PhraseMapper(24, supports=SupportTasks(records))
    alone, paired = mapper(records[0]), mapper(records[1])
    assert not alone["has_visual_prompt"] and not alone["visual_prompt"].any()
    assert paired["has_visual_prompt"] and paired["visual_prompt"].shape == (3, 24, 24)
    other = np.asarray(Image.open(records[2]["file_name"]))
    expected = visual_prompt(other, records[2]["polygons"].mask(H, W), 24)
    np.testing.assert_array_equal(paired["visual_prompt"].numpy(), expected.transpose(2, 0, 1))


def test_visual_prompts_keep_the_region_and_darken_the_rest():
    image, mask = np.full((40, 60, 3), 200, np.uint8), np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    whole = visual_prompt(image, mask, 40, crop=False, blur=0)
    assert set(np.unique(visual_prompt(image, mask, 60, crop=False)[:5])) == {20}
    assert whole.shape == (40, 40, 3) and whole.max() == 200
    cropped = visual_prompt(image, mask, 24, blur=0)  # 20 pixels and 2 on each side: rows 3..27, columns 28..52
    np.testing.assert_array_equal(cropped[..., 0] == 200, mask[3:27, 28:52])
    assert (visual_prompt(image, mask, 24, background=1.0) == 200).all()
    np.testing.assert_array_equal(visual_prompt(image, np.zeros_like(mask), 40), np.full((40, 40, 3), 200))
    assert visual_prompt(image, np.ones_like(mask), 8).shape == (8, 8, 3)  # no room for the square


@pytest.mark.parametrize(
    "arguments",
    [
        {"side": 0},
        {"side": 8, "min_visible": 2},
        {"side": 8, "negative_probability": 0.5},
        {"side": 8, "templates": ()},
    ],
)
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(ValueError):
        PhraseMapper(**arguments)


def test_another_size_is_refused_but_for_the_known_images(tmp_path):
    path = str(tmp_path / "a.png")
    Image.new("RGB", (9, 7)).save(path)
    record = {"file_name": path, "image_id": 1, "height": 4, "width": 5}
    with pytest.raises(DatasetError, match="a.png is 9x7 pixels, but image_data_split.json says 5x4"):
        read_task_image(record)
    assert read_task_image({**record, "image_id": min(WRONG_SIZE_IMAGES)}).shape == (4, 5, 3)
    with pytest.raises(DatasetError, match="missing"):
        read_task_image({**record, "file_name": str(tmp_path / "b.png")})
