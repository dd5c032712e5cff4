"""``zsseg_d2.Predictor``: the map that an evaluation scores, any words, images of every kind, and its results."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from zsseg_d2.cli import train_net
from zsseg_d2.data import DatasetError, read_panoptic_png
from zsseg_d2.data.synthetic import write_minicity
from zsseg_d2.engine import CheckpointError, ConfigError
from zsseg_d2.engine.prediction.embedded import DRAWN_STREETS
from zsseg_d2.engine.prediction.predictor import Predictor
from zsseg_d2.vocabulary import Vocabulary

CPU = ("MODEL.DEVICE", "cpu", "ZSSEG.TEXT_CACHE", "")
STREET = "road, sidewalk, building, sky, tree, car|cars|automobile, person"


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """Two scenes, and the maps that ``--eval-only`` writes for them."""
    root = tmp_path_factory.mktemp("city")
    write_minicity(root, train=0, val=2, height=128, width=256, num_workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(root))
        words = ["--config-file", "minicity/zero_shot.yaml", "--eval-only", *CPU, "OUTPUT_DIR", str(root / "out")]
        train_net.main([*words, "DATALOADER.NUM_WORKERS", "0", "ZSSEG.SAVE_PREDICTIONS", "True"])
    return root


@pytest.fixture(scope="module")
def images(city):
    return sorted((city / "minicity" / "leftImg8bit" / "val").rglob("*.png"))


@pytest.fixture(scope="module")
def predictor():
    return Predictor(options=CPU, semantic=True, instances=True)


@pytest.fixture(autouse=True)
def _no_words_of_another_test(request):
    yield
    if "predictor" in request.fixturenames:
        request.getfixturevalue("predictor").words = None


CITYSCAPES = Vocabulary.load("cityscapes")


@pytest.mark.parametrize("words", [None, "cityscapes", [list(s) for s in CITYSCAPES.classes], CITYSCAPES])
def test_the_map_is_that_of_an_evaluation_to_the_last_bit(predictor, city, images, words):
    folder = city / "out" / "inference" / "minicity_panoptic_val" / "predictions"
    listed = json.loads((folder / "predictions.json").read_text())["annotations"]
    predictor.words = STREET
    predictor.words = words
    assert len(listed) == len(images) == 2
    for entry in listed:
        (path,) = (p for p in images if p.name.startswith(entry["image_id"]))
        found = predictor(path)
        scored = read_panoptic_png(folder / entry["file_name"])
        assert len(found.segments) > 3 and np.array_equal(found.panoptic, scored)
        told = {s["id"]: (s["category_id"], s["area"]) for s in entry["segments_info"]}
        ours = found.to_coco()["annotations"][0]["segments_info"]
        assert {s["id"]: (s["category_id"], s["area"]) for s in ours} == told


def test_segments_say_what_the_map_holds(predictor, images):
    predictor.words = STREET
    found = predictor(images[0])
    assert found.panoptic.shape == found.image.shape[:2] == (128, 256) and len(found.segments) > 2
    assert [s.area for s in found.segments] == sorted((s.area for s in found.segments), reverse=True)
    assert {s.id for s in found.segments} == set(np.unique(found.panoptic)) - {0}
    for s in found.segments:
        ys, xs = np.nonzero(found.panoptic == s.id)
        assert np.array_equal(s.mask, found.panoptic == s.id) and s.area == len(ys)
        assert s.box == (xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1)
        assert 0 < s.score <= 1 and s.label == predictor.words[s.category]
        assert s.thing == (s.label in ("car", "person"))
    stuff = [s.label for s in found.segments if not s.thing]
    assert len(stuff) == len(set(stuff))
    assert found.semantic.shape == (128, 256) and found.semantic.max() < 7
    top = found.segments[0]
    assert (found.semantic[top.mask] == top.category).mean() > 0.9
    assert found.instances and all(i.label in ("car", "person") for i in found.instances)
    for i in found.instances:
        ys, xs = np.nonzero(i.mask)
        assert i.box == (xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1)
        assert i.mask.shape == (128, 256)
    assert [i.score for i in found.instances] == sorted((i.score for i in found.instances), reverse=True)
    assert repr(found).startswith(f"Prediction('{images[0].stem}', 256x128: ")


def test_in_bfloat16_all_kinds_of_results_are_nearly_the_same(predictor, images):
    halved = Predictor(words=STREET, options=[*CPU, "MODEL.PRECISION", "bfloat16"], semantic=True, instances=True)
    predictor.words = STREET
    found, exact = halved(images[0]), predictor(images[0])
    assert [s.score for s in found.segments] != [s.score for s in exact.segments], "the key changes something"
    assert {s.id for s in found.segments} == set(np.unique(found.panoptic)) - {0}
    maps = []
    for result in (found, exact):
        maps.append(np.full(result.panoptic.shape, -1))
        for s in result.segments:
            maps[-1][result.panoptic == s.id] = s.category
    assert (maps[0] == maps[1]).mean() > 0.95
    assert found.semantic.dtype == exact.semantic.dtype and (found.semantic == exact.semantic).mean() > 0.95
    for theirs in exact.instances[:3]:
        mask = theirs.mask
        ours = max(found.instances, key=lambda i: (i.mask & mask).sum() / (i.mask | mask).sum())
        assert (ours.mask & mask).sum() > 0.9 * (ours.mask | mask).sum()
        assert ours.label == theirs.label and ours.score == pytest.approx(theirs.score, abs=0.03)
        ys, xs = np.nonzero(ours.mask)
        assert ours.box == (xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1)


def test_a_path_an_image_and_an_array_are_the_same(predictor, images):
    by_path = predictor(str(images[0]))
    with Image.open(images[0]) as image:
        assert np.array_equal(predictor(image).panoptic, by_path.panoptic)
        array = np.asarray(image.convert("RGB"))
    found = predictor(array)
    assert np.array_equal(found.panoptic, by_path.panoptic) and found.name == "image"


def test_new_words_cost_only_their_own_rows(predictor, images, monkeypatch):
    predictor.words = [f"thing number {k}" for k in range(50)]
    predictor(images[0])
    embedded = []
    embed = predictor.model.backbone.embed_texts
    monkeypatch.setattr(predictor.model.backbone, "embed_texts", lambda texts: embedded.extend(texts) or embed(texts))
    predictor.words = [f"thing number {k}" for k in range(49, 0, -1)] + ["violet lamp"]
    found = predictor(images[0])
    assert len(embedded) == 14 and all("violet lamp" in text for text in embedded)
    fresh = Predictor(words=list(predictor.words), options=CPU)(images[0])
    assert np.array_equal(found.panoptic, fresh.panoptic)


@pytest.mark.parametrize("count", [1, 5, 40, 1000])
def test_any_number_of_words(predictor, images, count):
    names = ["road", "sky", "car", "person", "tree", *(f"gadget {k} of {k * k}" for k in range(995))]
    predictor.words = names[:count]
    found = predictor(images[1])
    assert len(predictor.words) == count
    assert set(np.unique(found.panoptic)) - {0} == {s.id for s in found.segments}
    assert all(s.label in predictor.words for s in found.segments)
    assert found.semantic.max() < count


def test_seen_words_follow_from_the_pretraining_vocabulary(predictor):
    predictor.words = "Car, lantern fish|cars, lantern fish two"
    assert predictor.classes.seen == (True, True, False)
    assert predictor.cfg.ZSSEG.PRETRAINING_VOCABULARY == "miniworld"


def test_results_in_coco_format_and_as_files(predictor, images, tmp_path):
    predictor.words = STREET
    found = predictor(images[0])
    content = json.loads(json.dumps(found.to_coco(rle=True)))
    assert [c["id"] for c in content["categories"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [c["isthing"] for c in content["categories"]] == [0, 0, 0, 0, 0, 1, 1]
    (image,), (annotation,) = content["images"], content["annotations"]
    assert (image["height"], image["width"]) == (128, 256) and image["id"] == annotation["image_id"]
    for s in annotation["segments_info"]:
        mask = coco_mask.decode(s["segmentation"]).astype(bool)
        assert np.array_equal(mask, found.panoptic == s["id"]) and s["area"] == mask.sum()
    found.save(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert np.array_equal(read_panoptic_png(folder / "panoptic" / f"{found.name}.png"), found.panoptic)
    semantic = np.asarray(Image.open(folder / "semantic" / f"{found.name}.png"))
    assert np.array_equal(semantic, found.semantic + 1)
    saved = json.loads((folder / f"{found.name}.json").read_text())
    assert saved == found.to_coco()
    with Image.open(folder / "overlay" / f"{found.name}.jpg") as shown:
        assert shown.size == found.overlay().size
    shown = Image.open(io.BytesIO(found._repr_png_()))
    assert shown.format == "PNG" and shown.width == 320 and shown.height > 128


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (20, 2000)])
def test_images_of_any_shape(predictor, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = predictor(image)
    assert found.panoptic.shape == size and found.overlay().height > size[0]
    assert {s.id for s in found.segments} == set(np.unique(found.panoptic)) - {0}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F", "exif"])
def test_images_of_any_mode(predictor, tmp_path, mode):
    grey = np.linspace(0, 255, 64 * 96).reshape(64, 96).astype(np.uint8)
    if mode == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(grey.T[::-1].copy()).save(tmp_path / "a.jpg", exif=exif, quality=100)
    path, expected = tmp_path / "a.tif", grey
    if mode == "exif":
        path = tmp_path / "a.jpg"
    elif mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    elif mode == "F":
        Image.fromarray(grey.astype(np.float32) / 255).save(path)
    else:
        Image.fromarray(grey).convert("RGB" if mode == "CMYK" else mode).convert(mode).save(path)
        expected = np.asarray(Image.fromarray(grey).convert("1").convert("L")) if mode == "1" else grey
    found = predictor(path)
    assert found.panoptic.shape == (64, 96)
    assert np.abs(found.image.astype(int) - expected[..., None]).max() <= 3


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((4, 4), np.uint8), r"an array \(4, 4\) of uint8"),
        (np.zeros((4, 4, 3)), "of float64"),
        (np.zeros((0, 4, 3), np.uint8), "4x0 pixels"),
        (Image.new("RGB", (0, 4)), "0x4 pixels"),
        (b"abc", "The image is bytes"),
        ("no_such_image.png", "no_such_image.png is missing"),
    ],
)
def test_what_is_no_image_is_told(predictor, image, told):
    with pytest.raises(DatasetError, match=told):
        predictor(image)


def test_an_image_over_the_limit_is_told():
    small = Predictor(options=[*CPU, "INPUT.MAX_PIXELS", "100"])
    for image in (np.zeros((11, 10, 3), np.uint8), Image.new("RGB", (11, 10))):
        with pytest.raises(DatasetError, match=r"INPUT\.MAX_PIXELS"):
            small(image)


def test_mistakes_are_told_before_weights_are_read(monkeypatch, tmp_path):
    def never(*_):
        raise AssertionError("the model was built")

    monkeypatch.setattr("zsseg_d2.engine.prediction.predictor.Trainer.build_model", never)
    with pytest.raises(ConfigError, match="no words"):
        Predictor(words="", options=CPU)
    long = "very " * 80
    with pytest.raises(ConfigError, match="the same to CLIP"):
        Predictor(words=[f"{long} red car", f"{long} blue car"], options=CPU)
    with pytest.raises(ConfigError, match=r"segments phrases. Fix: use tools/segment.py"):
        Predictor("miniphrases/unet_vit.yaml", options=[*CPU, "MODEL.WEIGHTS", "x.pth"])
    with pytest.raises(ConfigError, match=r"MODEL.WEIGHTS is empty"):
        Predictor(options=[*CPU, "MODEL.WEIGHTS", ""])
    with pytest.raises(CheckpointError, match="nothing.pth"):
        Predictor(options=[*CPU, "MODEL.WEIGHTS", str(tmp_path / "nothing.pth")])


def test_the_embedded_model_says_once_what_it_is_good_for(monkeypatch, caplog):
    monkeypatch.setattr("zsseg_d2.engine.prediction.predictor._model", lambda cfg: None)
    for config in ((), ("configs/minicity/zero_shot.yaml",)):
        caplog.clear()
        other = Predictor(*config, options=CPU)
        other.with_words("car, sky").words = "sky"
        assert caplog.messages.count(DRAWN_STREETS) == 1
    caplog.clear()
    Predictor(other.cfg)
    Predictor("minicity/full_finetune.yaml", options=CPU)
    Predictor(options=[*CPU, "MODEL.WEIGHTS", "mine.pth"])
    assert DRAWN_STREETS not in caplog.messages


def test_a_word_that_is_longer_than_clip_reads_is_a_warning(predictor, images, caplog):
    predictor.words = ["very " * 80 + "violet car", "sky", "ärmlich 車 🚗"]
    assert predictor(images[0]).panoptic.shape == (128, 256)
    assert caplog.text.count("CLIP reads the first 46 of the 95 tokens") == 1


def test_a_mistake_in_new_words_keeps_the_old_ones(predictor):
    predictor.words = "car, sky"
    for words in ("", "car, Car"):
        with pytest.raises(ConfigError):
            predictor.words = words
    assert predictor.words == ("car", "sky")


def test_a_config_object_is_not_changed(predictor, images):
    cfg = predictor.cfg.clone()
    before = cfg.dump()
    again = Predictor(cfg, words=STREET, device="cpu")
    assert cfg.dump() == before and again(images[0]).semantic is None
    torch.testing.assert_close(again.model.pixel_mean, predictor.model.pixel_mean)
