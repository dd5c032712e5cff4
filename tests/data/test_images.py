"""Image files to pixels: every mode and depth, orientations, limits before decoding, damaged files."""

from __future__ import annotations

import argparse
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import get_cfg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from zsseg_d2 import add_zsseg_config
from zsseg_d2.cli import image_arguments
from zsseg_d2.data import DatasetError, read_panoptic_png, write_panoptic_png
from zsseg_d2.data.images import opening
from zsseg_d2.data.images.opening import open_image
from zsseg_d2.data.images.pixels import to_rgb
from zsseg_d2.data.images.reading import EXIF_RULES, ImageRules, annotated_size, read_annotated_rgb, read_rgb

H, W = 8, 256
RAMP = np.tile(np.arange(W, dtype=np.uint8), (H, 1))
GREY = np.repeat(RAMP[..., None], 3, -1)
COLOR = np.stack((RAMP, RAMP[:, ::-1], np.full_like(RAMP, 77)), -1)
OPAQUE = np.full((H, W, 1), 255, np.uint8)

# mode -> image, expected pixels, tolerance
MODES = {
    "1": (Image.fromarray(RAMP > 127), np.where(GREY > 127, 255, 0), 0),
    "L": (Image.fromarray(RAMP), GREY, 0),
    "LA": (Image.fromarray(np.dstack((RAMP[..., None], OPAQUE)), "LA"), GREY, 0),
    "La": (Image.fromarray(np.dstack((RAMP[..., None], OPAQUE)), "LA").convert("La"), GREY, 0),
    "P": (Image.fromarray(RAMP).convert("P"), GREY, 0),
    "PA": (Image.fromarray(RAMP).convert("P").convert("PA"), GREY, 0),
    "RGB": (Image.fromarray(COLOR), COLOR, 0),
    "RGBA": (Image.fromarray(np.dstack((COLOR, OPAQUE))), COLOR, 0),
    "RGBa": (Image.fromarray(np.dstack((COLOR, OPAQUE))).convert("RGBa"), COLOR, 0),
    "RGBX": (Image.fromarray(np.dstack((COLOR, OPAQUE)), "RGBX"), COLOR, 0),
    "CMYK": (Image.fromarray(COLOR).convert("CMYK"), COLOR, 0),
    "YCbCr": (Image.fromarray(COLOR).convert("YCbCr"), COLOR, 3),
    "HSV": (Image.fromarray(COLOR).convert("HSV"), COLOR, 12),  # hue has 256 steps
    "I;16": (Image.fromarray(RAMP.astype(np.uint16) * 257), GREY, 0),
    "I;16L": (Image.frombytes("I;16L", (W, H), (RAMP.astype("<u2") * 257).tobytes()), GREY, 0),
    "I;16B": (Image.frombytes("I;16B", (W, H), (RAMP.astype(">u2") * 257).tobytes()), GREY, 0),
    "I;16N": (Image.frombytes("I;16N", (W, H), (RAMP.astype("=u2") * 257).tobytes()), GREY, 0),
    "F": (Image.fromarray(RAMP.astype(np.float32) / 255), GREY, 0),
    "I": (Image.fromarray(RAMP.astype(np.int32) * 257), "32-bit integers is not known", 0),
    "LAB": (Image.new("LAB", (W, H)), "LAB pixels cannot be converted", 0),
}


def png(content: np.ndarray, color: int) -> bytes:
    """A PNG of 16 bits: (H, W, C) uint16 and PNG's color type; Pillow writes none but grey ones."""
    rows = b"".join(b"\0" + row.tobytes() for row in content.astype(">u2"))
    header = struct.pack(">IIBBBBB", content.shape[1], content.shape[0], 16, color, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def save_tiff(path: Path, values: np.ndarray, **tags: float) -> None:
    """Write a grey TIFF with further tags."""
    numbers = {"MaxSampleValue": 281, "SMaxSampleValue": 341, "PhotometricInterpretation": 262}
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        info[numbers[name]] = value
    Image.fromarray(values).save(path, tiffinfo=info)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_converted_or_refused(mode):
    image, expected, tolerance = MODES[mode]
    assert image.mode == mode
    if isinstance(expected, str):
        with pytest.raises(DatasetError, match=f"a.tif.*{expected}.*Fix: "):
            to_rgb(image, "a.tif")
        return
    rgb = to_rgb(image, "a.png")
    assert rgb.mode == "RGB" and np.abs(np.asarray(rgb).astype(int) - expected).max() <= tolerance


def test_the_table_has_every_mode_of_pillow():
    assert {"1", "L", "P", "I", "F", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"} <= set(MODES)
    assert set(Image.MODES) <= set(MODES)


@pytest.mark.parametrize(
    ("name", "content", "color", "expected"),
    [
        ("grey", RAMP[..., None].astype(np.uint16) * 257, 0, GREY),
        ("rgb", COLOR.astype(np.uint16) * 257, 2, COLOR),
        ("grey and alpha", np.dstack((RAMP, OPAQUE)).astype(np.uint16) * 257, 4, GREY),
        ("rgba", np.dstack((COLOR, OPAQUE)).astype(np.uint16) * 257, 6, COLOR),
    ],
)
def test_png_of_16_bits(tmp_path, name, content, color, expected):
    path = tmp_path / "a.png"
    path.write_bytes(png(content, color))
    np.testing.assert_array_equal(read_rgb(path), expected)
    twelve = (content.astype(int) >> 4).astype(np.uint16)  # 12-bit values in 16 bits
    path.write_bytes(png(twelve, color))
    if color in (0, 2):  # an alpha of 12 bits would be nearly transparent
        with pytest.raises(DatasetError, match="a.png.*fit in 14.*Fix: "):
            read_rgb(path)


def test_grey_as_old_versions_of_pillow_open_it(tmp_path, monkeypatch):
    """Before 10.3, a PNG of 16 bits is an image of 32-bit integers."""
    path = tmp_path / "a.png"
    path.write_bytes(png(RAMP[..., None].astype(np.uint16) * 257, 0))
    image = Image.fromarray(RAMP.astype(np.int32) * 257)
    image.format = "PNG"
    np.testing.assert_array_equal(np.asarray(to_rgb(image, "a.png")), GREY)


@pytest.mark.parametrize(
    ("values", "tags", "expected"),
    [
        (RAMP.astype(np.uint16) * 257, {}, GREY),
        (RAMP.astype(np.uint16) * 16, {}, "fit in 14"),
        (RAMP.astype(np.uint16) * 16, {"MaxSampleValue": 4080}, GREY),
        (RAMP.astype(np.uint16) * 257, {"MaxSampleValue": 4095}, "says that its largest is 4095"),
        (RAMP.astype(np.uint16) * 257, {"PhotometricInterpretation": 0}, 255 - GREY),
        (RAMP.astype(np.int32) * 257, {}, "32-bit integers is not known"),
        (RAMP.astype(np.int32) * 257, {"MaxSampleValue": 65535}, GREY),
        (RAMP.astype(np.int32) - 3, {}, "negative"),
        (RAMP.astype(np.float32) / 255, {}, GREY),
        (RAMP.astype(np.float32), {}, "reach 255"),
        (RAMP.astype(np.float32), {"SMaxSampleValue": 255.0}, GREY),
        (np.full((H, W), np.nan, np.float32), {}, "infinite"),
        (np.zeros((H, W), np.uint16), {}, 0 * GREY),
    ],
)
def test_tiff_is_scaled_by_its_range_or_refused(tmp_path, values, tags, expected):
    path = tmp_path / "a.tif"
    save_tiff(path, values, **tags)
    if isinstance(expected, str):
        with pytest.raises(DatasetError, match=f"a.tif.*{expected}"):
            read_rgb(path)
    else:
        np.testing.assert_array_equal(read_rgb(path), expected)


@pytest.mark.parametrize("suffix", ["bmp", "gif", "ppm", "webp", "jpg", "jp2", "tif", "tga"])
def test_formats(tmp_path, suffix):
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(suffix, {})
    Image.fromarray(COLOR).save(tmp_path / f"a.{suffix}", **options)
    assert np.abs(read_rgb(tmp_path / f"a.{suffix}").astype(int) - COLOR).mean() < 6


# What a viewer shows for each orientation of the EXIF standard, as rotations and reflections of the stored array.
SHOWN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def turned(path: Path, number: object, pixels: np.ndarray = COLOR) -> Path:
    exif = Image.Exif()
    exif[0x0112] = number
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("number", SHOWN)
def test_one_rule_for_every_exif_orientation(tmp_path, number):
    path, shown = turned(tmp_path / "a.png", number), SHOWN[number](COLOR)
    np.testing.assert_array_equal(read_rgb(path), shown)
    apply, ignore = ImageRules(exif="apply"), ImageRules(exif="ignore")
    np.testing.assert_array_equal(read_annotated_rgb(path, shown.shape[:2], apply), shown)
    np.testing.assert_array_equal(read_annotated_rgb(path, (H, W), ignore), COLOR)
    assert annotated_size(path, apply) == shown.shape[:2] and annotated_size(path, ignore) == (H, W)
    if number == 1:
        np.testing.assert_array_equal(read_annotated_rgb(path, (H, W)), COLOR)
        return
    for size in ((H, W), (W, H), None):
        with pytest.raises(DatasetError, match=rf"a.png: has the EXIF orientation {number}.*INPUT.EXIF_ORIENTATION"):
            read_annotated_rgb(path, size)
    wrong = (W, H) if number < 5 else (H, W)
    with pytest.raises(DatasetError, match=rf"EXIF orientation is {number}; INPUT.EXIF_ORIENTATION is apply"):
        read_annotated_rgb(path, wrong, apply)


@pytest.mark.parametrize("number", [0, 9])
def test_orientations_that_do_not_exist_mean_none(tmp_path, number):
    path = turned(tmp_path / "a.png", number)
    np.testing.assert_array_equal(read_annotated_rgb(path, (H, W)), COLOR)


def test_an_unknown_rule():
    with pytest.raises(ValueError, match="INPUT.EXIF_ORIENTATION=up.*refuse, apply, ignore"):
        ImageRules(exif="up")


def header_only(path: Path, width: int, height: int) -> Path:
    """A PNG of any size whose pixels are missing: whoever decodes it fails in another way."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ihdr = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    rest = b"".join(struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind)) for kind in (b"IDAT", b"IEND"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + ihdr + rest)
    return path


def test_a_size_is_read_from_the_header(tmp_path):
    """... alone: neither are pixels decoded, nor are checksums behind it compared."""
    path = header_only(tmp_path / "a.png", 30, 20)
    assert annotated_size(path, ImageRules()) == (20, 30)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the checksum of the last chunk
    path.write_bytes(content)
    assert annotated_size(path, ImageRules()) == (20, 30)
    with pytest.raises(DatasetError, match="a.png is truncated or damaged"):
        read_rgb(path)


def test_sizes_are_compared_before_anything_is_decoded(tmp_path):
    path = header_only(tmp_path / "a.png", 13000, 13000)
    for read in (read_rgb, open_image, read_panoptic_png, lambda p: read_annotated_rgb(p, (13000, 13000))):
        with pytest.raises(DatasetError, match=r"a.png has 13000x13000 = 169,000,000 pixels, and at most 50,000,000"):
            read(path)
    with pytest.raises(DatasetError, match="INPUT.MAX_PIXELS"):
        read_rgb(header_only(tmp_path / "b.png", 20, 10), max_pixels=199)
    with pytest.raises(DatasetError, match="20x10 pixels, but its annotation says 21x10"):
        read_annotated_rgb(tmp_path / "b.png", (10, 21))
    with pytest.raises(DatasetError, match="20x10 pixels, but its image is 20x11"):
        read_panoptic_png(tmp_path / "b.png", (11, 20))


def test_beyond_the_limit_of_pillow(tmp_path):
    with pytest.raises(DatasetError, match="a.png is truncated or damaged"):
        read_rgb(header_only(tmp_path / "a.png", 60000, 60000), max_pixels=178_000_000)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="a.png: is a device or a pipe"):
        read_rgb(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="is a folder, not a file"):
        read_rgb(tmp_path)
    with pytest.raises(DatasetError, match="The image .*b.png is missing"):
        read_rgb(tmp_path / "b.png")
    Image.fromarray(COLOR).save(tmp_path / "c.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "c.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "link.png"), COLOR)


def test_postscript_is_not_run(tmp_path):
    Image.fromarray(COLOR).save(tmp_path / "a.eps")
    with pytest.raises(DatasetError, match="no known image format"):
        read_rgb(tmp_path / "a.eps")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_in_a_label_file_is_told(tmp_path_factory, data):
    """Whichever bit: Pillow alone reads other labels, or fewer rows, for most of those in the pixels."""
    path = tmp_path_factory.mktemp("flipped") / "labels.png"
    ids = np.arange(40 * 50, dtype=np.int32).reshape(40, 50) // 7 * 1000
    write_panoptic_png(path, ids)
    np.testing.assert_array_equal(read_panoptic_png(path), ids)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="labels.png"):
        read_panoptic_png(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged tags
@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(["png", "jpg", "tif", "webp", "gif", "bmp"]))
def test_mutated_files_give_pixels_or_one_error(tmp_path_factory, data, suffix):
    path = tmp_path_factory.mktemp("mutated") / f"a.{suffix}"
    Image.fromarray(COLOR).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content), 400) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        pixels = read_rgb(path)
    except DatasetError as error:
        assert f"a.{suffix}" in str(error) and "\n" not in str(error)
    else:
        assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8


def test_options_of_programs_are_those_of_the_config():
    """Written out in the parser, which must not import the readers."""
    parser = argparse.ArgumentParser()
    image_arguments.add_image_rules(parser)
    assert image_arguments.image_rules(parser.parse_args([])) == ImageRules()
    assert image_arguments.MAX_PIXELS == opening.MAX_PIXELS
    assert (image_arguments.LARGEST_MAX_PIXELS, image_arguments.EXIF_RULES) == (opening.LARGEST_MAX_PIXELS, EXIF_RULES)
    words = ["--max-pixels", "100_000_000", "--exif-orientation", "apply"]
    assert image_arguments.image_rules(parser.parse_args(words)) == ImageRules(100_000_000, "apply")
    with pytest.raises(SystemExit):
        parser.parse_args(["--max-pixels", "200000000"])
    cfg = get_cfg()
    add_zsseg_config(cfg)
    assert ImageRules.from_config(cfg) == ImageRules()
