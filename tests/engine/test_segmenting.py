"""``tools/segment.py``: images of every kind and phrases in, overlays and masks out, one message for a mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zsseg_d2.cli import segment as tool
from zsseg_d2.engine.prediction.phrase_segmentation import (
    DEFAULT_WEIGHTS,
    PhrasePrediction,
    overlays,
    save_masks,
    segment,
    segmentor_config,
)
from zsseg_d2.engine.training.trainer import Trainer
from zsseg_d2.evaluation.referring.phrase_visualization import COLOURS, paint_mask

from . import tiny_phrases

H, W = 40, 60
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model_files(phrase_data, tmp_path_factory):
    """A tiny model with its config file and its weights."""
    folder = tmp_path_factory.mktemp("segmenting")
    cfg = tiny_phrases.config(folder / "out", "INPUT.PHRASE.PROMPTS_TEST", "fixed")
    torch.manual_seed(1)
    model = Trainer.build_model(cfg).eval()
    (folder / "tiny.yaml").write_text(cfg.dump())
    torch.save({"model": model.state_dict()}, folder / "tiny.pth")
    return model, str(folder / "tiny.yaml"), str(folder / "tiny.pth")


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), np.uint8)


@pytest.fixture
def call(model_files, tmp_path, monkeypatch):
    """``call(words, …)``: the program in a folder with the pictures ``a.png`` and ``b.png``."""
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate("ab"):
        Image.fromarray(pixels(k)).save(f"{name}.png")
    _, config, weights = model_files
    tail = ("--config-file", config, "MODEL.WEIGHTS", weights)
    return lambda *words, tail=tail: tool.main([*map(str, words), *tail])


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path))


@torch.no_grad()
def test_phrases_are_segmented_as_the_model_does_it(model_files):
    model, image = model_files[0], pixels()
    small = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))
    tensor = torch.from_numpy(small.transpose(2, 0, 1).copy())
    phrases = ["red car", "sky"]
    found = segment(model, image, phrases, threshold=0.4)
    for phrase, result in zip(phrases, found):
        item = {"image": tensor, "prompt": f"a photo of a {phrase}.", "height": H, "width": W}
        expected = model([item])[0]["mask_logits"].sigmoid().numpy()
        assert result.phrase == phrase and result.probability.shape == (H, W) and result.mask.dtype == bool
        np.testing.assert_allclose(result.probability, expected, atol=1e-5)
        np.testing.assert_array_equal(result.mask, result.probability > 0.4)
    assert np.abs(found[0].probability - found[1].probability).max() > 1e-4


def test_a_score_is_the_mean_probability_of_the_mask():
    probability = np.array([[0.9, 0.7], [0.2, 0.1]], np.float32)
    assert PhrasePrediction("x", probability, probability > 0.5).score == pytest.approx(0.8)
    assert PhrasePrediction("x", probability, probability > 0.95).score == 0.0


def test_overlays_show_picture_and_masks():
    image, mask = np.full((80, 160, 3), 100, np.uint8), np.zeros((80, 160), bool)
    mask[20:60, 40:100] = True
    painted = paint_mask(image, mask, (200, 0, 50))
    assert painted[40, 70].tolist() == [150, 50, 75] and painted[5, 5].tolist() == [40, 40, 40]
    assert painted[19, 70].tolist() == [255, 255, 255] and painted[20, 70].tolist() == [150, 50, 75], (
        "the rim is outside"
    )
    found = [PhrasePrediction(f"phrase {k}", mask.astype(np.float32), mask & (k < 4)) for k in range(5)]
    whole = np.asarray(overlays(image, found))
    assert whole.shape[1] == 4 * 320 + 3 * 6 and whole.shape[0] > 2 * 160
    first_row = whole[whole.shape[0] // 2 - 30]  # low in the first row, below the masks
    assert first_row[10].tolist() == [100, 100, 100] and first_row[336].tolist() == [40, 40, 40]
    last = whole[-80]  # the middle of the second row: phrase 3 with a mask, phrase 4 without
    assert last[140].tolist() == [(100 + c) // 2 for c in COLOURS[3]] and last[326 + 140].tolist() == [40, 40, 40]
    assert last[700].tolist() == [255, 255, 255]


@pytest.mark.parametrize("size", [(4000, 40), (5000, 2), (2, 5000), (1, 1)])
def test_overlays_of_strips_stay_small(size):
    """By width alone, a drawing of 2x5000 pixels would be 640x1,600,000."""
    mask = np.ones(size, bool)
    found = [PhrasePrediction("phrase", mask.astype(np.float32), mask)]
    whole = overlays(np.full((*size, 3), 100, np.uint8), found)
    assert whole.width == 2 * 320 + 6 and whole.height <= 4 * 320 + 60
    assert (np.asarray(whole) == [(100 + c) // 2 for c in COLOURS[0]]).all(-1).any()


HOSTILE = (
    "../../x",
    "/etc/passwd",
    "..",
    "",
    "a\\b:c*?",
    "Ünï €",
    "车",
    "x" * 300,
    "车" * 300,
    "𠀀x" * 99,
    "a\nb\0",
    "con.png",
)


@pytest.mark.parametrize("phrase", HOSTILE)
def test_masks_of_any_phrase_stay_in_their_folder(tmp_path, phrase):
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    found = [
        PhrasePrediction(phrase, 0.6 * mask.astype(np.float32), mask),
        PhrasePrediction(phrase, np.zeros((3, 4), np.float32), ~mask),
    ]
    paths = save_masks(found, tmp_path / "in" / "masks")
    assert len(set(paths)) == 4 and all(p.is_file() and p.parent == tmp_path / "in" / "masks" for p in paths)
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 4
    assert all(len(p.name.encode()) < 90 for p in paths)
    assert [p.name[:3] for p in paths] == ["01_", "01_", "02_", "02_"]
    np.testing.assert_array_equal(read(paths[0]), 255 * mask)
    np.testing.assert_array_equal(read(paths[1]), 153 * mask)  # 0.6 · 255
    np.testing.assert_array_equal(read(paths[2]), 255 * ~mask)


def test_names_of_masks_say_the_phrase(tmp_path):
    nothing = np.zeros((2, 2), np.float32)
    paths = save_masks(
        [PhrasePrediction(p, nothing, nothing > 0) for p in ("Red car", "车", "Café на углу", "!?")], tmp_path
    )
    assert [p.name for p in paths[::2]] == ["01_red_car.png", "02_车.png", "03_café_на_углу.png", "04_phrase.png"]
    assert paths[1].name == "01_red_car_probability.png"


def test_the_tool_writes_overlays_and_masks(call, model_files, tmp_path, capsys):
    words = ("--image", "a.png", "--phrase", "red  car", "--phrase", "sky", "--threshold", 0.48)
    assert call(*words, "--output", "new/out.jpg", "--save-masks", "masks") == 0
    picture = Image.open(tmp_path / "new" / "out.jpg")
    assert picture.format == "JPEG" and picture.width == 3 * 320 + 2 * 6
    expected = segment(model_files[0], pixels(), ["red car", "sky"], threshold=0.48)
    for name, result in zip(("01_red_car", "02_sky"), expected):
        mask, probability = read(f"masks/{name}.png"), read(f"masks/{name}_probability.png")
        assert mask.shape == (H, W) and set(np.unique(mask)) <= {0, 255} and mask.any()
        np.testing.assert_array_equal(mask > 0, result.mask)
        assert np.abs(probability - 255 * result.probability).max() <= 0.51
    assert len(list((tmp_path / "masks").glob("*.png"))) == 4
    assert "a.png: 'red car': score 0." in capsys.readouterr().out


def test_several_pictures_go_to_a_folder(call, tmp_path):
    assert call("--image", "a.png", "b.png", "--phrase", "sky", "--output", "found", "--save-masks", "masks") == 0
    files = {str(p.relative_to(tmp_path)) for folder in ("found", "masks") for p in (tmp_path / folder).rglob("*.png")}
    masks = {f"masks/{name}/01_sky{end}.png" for name in "ab" for end in ("", "_probability")}
    assert files == {"found/a.png", "found/b.png"} | masks
    assert call("--image", "b.png", "--phrase", "sky", "--output", "one", "--save-masks", "alone") == 0
    np.testing.assert_array_equal(read("one/b.png"), read("found/b.png"))
    np.testing.assert_array_equal(read("alone/01_sky.png"), read("masks/b/01_sky.png"))


@pytest.mark.parametrize("kind", ["L", "P", "CMYK", "RGBA", "turned"])
def test_pictures_of_every_kind(call, tmp_path, kind):
    """As the same picture in RGB, and turned as cameras say it."""
    source, path, options = Image.fromarray(pixels()), tmp_path / "x.png", {}
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # shown turned by 90 degrees to the right
        options = {"exif": exif}
    elif kind == "CMYK":
        path, source = tmp_path / "x.jpg", source.convert("CMYK")
    else:
        source = source.convert(kind)
    source.save(path, **options)
    expected = source.rotate(-90, expand=True) if kind == "turned" else Image.open(path).convert("RGB")
    expected.save(tmp_path / "same.png")
    for name, folder in ((path.name, "one"), ("same.png", "two")):
        call("--image", name, "--phrase", "sky", "--output", "out.png", "--save-masks", folder)
    assert read("one/01_sky.png").shape == ((W, H) if kind == "turned" else (H, W))
    np.testing.assert_array_equal(read("one/01_sky_probability.png"), read("two/01_sky_probability.png"))


def test_an_example_takes_the_place_of_a_phrase(call, tmp_path):
    Image.fromarray(np.uint8(255) * (np.arange(W) < 20)[None].repeat(H, 0)).save("meant.png")
    output = ("--output", "out.png", "--save-masks", "masks")
    assert call("--image", "a.png", "--example", "b.png", "--example-mask", "meant.png", *output) == 0
    assert call("--image", "a.png", "--example", "b.png", "--phrase", "sky", *output) == 0
    names = sorted(p.name for p in (tmp_path / "masks").glob("*probability.png"))
    assert names == ["01_b_probability.png", "01_sky_probability.png"]
    assert (read("masks/01_b_probability.png") != read("masks/01_sky_probability.png")).any()


def test_config_keys_may_follow_the_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MODEL.png").write_bytes(b"")
    words = ["--phrase", "x", "--output", "o.png", "--image", "a.jpg", "MODEL.png", "IMG_1.JPG"]
    args = tool.parse_arguments([*words, "MODEL.WEIGHTS", "x", "SEED", "3"])
    assert args.image == ["a.jpg", "MODEL.png", "IMG_1.JPG"] and args.opts == ["MODEL.WEIGHTS", "x", "SEED", "3"]
    args = tool.parse_arguments(
        ["--image", "a.jpg", "MODEL.WEIGHTS", "x", "--phrase", "p", "--output", "o", "SEED", "3"]
    )
    assert args.image == ["a.jpg"] and args.opts == ["MODEL.WEIGHTS", "x", "SEED", "3"] and args.phrase == ["p"]


@pytest.mark.parametrize("folder", ["", "configs/"])
def test_the_default_config_has_the_embedded_weights_by_whatever_name(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert segmentor_config(f"{folder}miniphrases/unet_vit.yaml").MODEL.WEIGHTS == DEFAULT_WEIGHTS
    assert segmentor_config(f"{folder}miniphrases/unet_vit.yaml", ["MODEL.WEIGHTS", "a"]).MODEL.WEIGHTS == "a"


def test_a_bug_keeps_its_traceback(call, monkeypatch):
    def broken(*args, **more):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr("zsseg_d2.engine.prediction.phrase_segmentation.overlays", broken)
    with pytest.raises(ValueError, match="broadcast"):
        call(*PLAIN)


LONG = "the tall person who stands on the left " * 10
PLAIN = ("--image", "a.png", "--phrase", "sky", "--output", "out.png", "--save-masks", "masks")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--image", "none.png"), "none.png"),
        (("--image", "IMG_1.JPG"), "IMG_1.JPG"),
        (("--image", "a.png", "text.png"), "text.png"),
        (("--phrase", " \t"), "--phrase is empty"),
        (("--phrase", f"{LONG}red car", "--phrase", f"{LONG}blue car"), "blue car': CLIP reads only the beginning"),
        (("--output", "out.gif"), "'out.gif' must end in .png or .jpg"),
        (("--image", "a.png", "b.png"), "'out.png' is one file, but there are 2 images; name a folder"),
        (("--image", "a.png", "other/a.png", "--output", "found"), "Two of the images have the same name"),
        (("--output", "a.png"), "--output would overwrite 'a.png', which is read"),
        (("--image", "a.png", "b.png", "--output", "."), "--output would overwrite 'a.png', which is read"),
        (("--example", "b.png", "--output", "b.png"), "--output would overwrite 'b.png', which is read"),
        (("--threshold", "1.5"), "MODEL.REFERRING.THRESHOLD: .*1.5 is not one of them"),
        (("--threshold", "nan"), "THRESHOLD"),
        (
            ("--example", "b.png", "--example-mask", "other/small.png"),
            "'other/small.png' has not the size of 'b.png'",
        ),
        (("MODEL.WEIGHTS", ""), "MODEL.WEIGHTS is empty, and a random decoder finds nothing"),
        (("MODEL.WEIGHTS", "none.pth"), "there are no weights 'none.pth'"),
        (("MODEL.REFERRING.CONDITION", "image"), "CONDITION=image: needs an image prompt. Fix: --example IMAGE"),
        (("MODEL.REFERRING.CONDITON", "image"), "Did you mean MODEL.REFERRING.CONDITION"),
        (("--config-file", "minicity/zero_shot.yaml"), "META_ARCHITECTURE=FCCLIP: phrases need ReferringSegmentor"),
    ],
)
def test_mistakes_are_one_message_and_nothing_is_written(call, model_files, tmp_path, words, told):
    (tmp_path / "other").mkdir()
    Image.fromarray(pixels()).save("other/a.png")
    Image.new("L", (5, 4)).save("other/small.png")
    (tmp_path / "text.png").write_text("no picture")
    before = sorted(tmp_path.rglob("*"))
    keys, flags = {"MODEL.WEIGHTS": model_files[2]}, words
    if words[0].startswith("MODEL"):
        keys, flags = {**keys, words[0]: words[1]}, ()
    # Of a flag that is given twice, the last counts, but phrases add up.
    plain = PLAIN[:2] + PLAIN[4:] if words[0] == "--phrase" else PLAIN
    config = () if words[0] == "--config-file" else ("--config-file", model_files[1])
    with pytest.raises(SystemExit, match=told) as stop:
        call(*plain, *config, *flags, *(word for pair in keys.items() for word in pair), tail=())
    assert str(stop.value.code).startswith("error: ") and "\n" not in stop.value.code
    assert sorted(tmp_path.rglob("*")) == before
