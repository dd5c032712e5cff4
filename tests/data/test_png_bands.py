"""Banded PNG files against other decoders, and relabelled pictures against the plain look-up."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from zsseg_d2.data import DatasetError, read_panoptic_png
from zsseg_d2.data.class_deletion import relabelled
from zsseg_d2.data.class_deletion.relabelled import RelabelledMap
from zsseg_d2.data.panoptic.png import write_png
from zsseg_d2.data.panoptic.png_bands import BAND, encode_png, rgb_bytes

SIZES = st.tuples(st.integers(1, 3 * BAND + 1), st.integers(1, 6))


@st.composite
def pictures(draw):
    shape = draw(SIZES)
    dtype, shape = draw(st.sampled_from([(np.uint8, shape), (np.uint16, shape), (np.uint8, (*shape, 3))]))
    values = st.sampled_from([0, 1, 7, 200, 255] if dtype is np.uint8 else [0, 1, 255, 256, 26001, 65535])
    return draw(arrays.arrays(dtype, shape, elements=values))


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content) of each chunk of a PNG; checksums must be right."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = [], 8
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        data = content[place + 8 : place + 8 + length]
        assert zlib.crc32(kind + data) == int.from_bytes(content[place + 8 + length : place + 12 + length], "big")
        found.append((kind, data))
        place += 12 + length
    return found


def plain_decode(content: bytes) -> np.ndarray:
    """The PNG standard, byte by byte, for the two filters in use."""
    (kind, header), *rest = chunks(content)
    assert kind == b"IHDR" and rest[-1] == (b"IEND", b"")
    width, height, bits, color, *_ = struct.unpack(">IIBBBBB", header)
    samples = {0: 1, 2: 3}[color]
    step = samples * bits // 8
    # Also refuses a wrong checksum over all bands.
    stream = zlib.decompress(b"".join(data for kind, data in rest[:-1] if kind == b"IDAT"))
    above, rows = [0] * (width * step), []
    for y in range(height):
        kind, *row = stream[y * (width * step + 1) : (y + 1) * (width * step + 1)]
        for k in range(len(row)):
            row[k] = (row[k] + {1: row[k - step] if k >= step else 0, 2: above[k]}[kind]) % 256
        rows.append(row)
        above = row
    pixels = np.array(rows, np.uint8).view(">u2" if bits == 16 else np.uint8)
    return pixels.reshape((height, width, 3) if samples == 3 else (height, width))


@settings(max_examples=100, deadline=None)
@given(pictures())
def test_other_decoders_see_the_pixels(pixels):
    content = encode_png(pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)
    np.testing.assert_array_equal(plain_decode(content), pixels)


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.int32, SIZES, elements=st.integers(0, 256**3 - 1)))
def test_ids_in_three_bytes(ids):
    expected = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], -1)
    np.testing.assert_array_equal(rgb_bytes(ids), expected)
    np.testing.assert_array_equal(rgb_bytes(ids.astype(np.int64)[::-1]), expected[::-1])


def test_a_cut_file_is_an_error_or_whole(tmp_path):
    """Also where it is cut between two bands."""
    ids = np.random.default_rng(0).integers(0, 99999, (3 * BAND, 9)).astype(np.int32)
    path, content = tmp_path / "a.png", encode_png(rgb_bytes(ids))
    ends = np.cumsum([8, *(12 + len(data) for _, data in chunks(content))])
    refused = 0
    for end in ends[:-1]:
        path.write_bytes(content[:end])
        try:
            np.testing.assert_array_equal(read_panoptic_png(path), ids)
        except DatasetError:
            refused += 1
    assert refused >= len(ends) - 4  # all but those that lack the end alone


def test_written_whole_beside_and_renamed(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_png(path, np.zeros((4, 4), np.uint8))
    before = path.read_bytes()
    monkeypatch.setattr("zsseg_d2.data.panoptic.png.encode_png", lambda pixels: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_png(path, np.ones((4, 4), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"] and path.read_bytes() == before


@settings(max_examples=80, deadline=None)
@given(arrays.arrays(np.int32, SIZES, elements=st.sampled_from([0, 3, 7, 11])), st.data())
def test_relabelled_files_equal_the_plain_look_up(tmp_path_factory, values, data):
    folder = tmp_path_factory.mktemp("relabelled")
    picture = RelabelledMap(folder / "no such file.png", values, copies=False)
    for number in range(3):
        dtype = data.draw(st.sampled_from([np.uint8, np.uint16, np.int32]))
        new = data.draw(st.lists(st.integers(0, min(256**3 - 1, int(np.iinfo(dtype).max))), min_size=12, max_size=12))
        table = np.array(new, dtype)
        path = folder / f"{number}.png"
        picture.write(path, table)
        if dtype is np.int32:
            np.testing.assert_array_equal(read_panoptic_png(path), table[values])
        else:
            seen = np.asarray(Image.open(path))
            assert seen.dtype == dtype
            np.testing.assert_array_equal(seen, table[values])


def test_where_nothing_is_replaced_the_bytes_are_copied(tmp_path):
    values = np.repeat(np.arange(8, dtype=np.uint8), 10).reshape(8, 10)
    source = tmp_path / "source.png"
    Image.fromarray(values).save(source, compress_level=9)
    picture = RelabelledMap(source, values)
    table = np.arange(256, dtype=np.uint8)
    table[200] = 0  # is not in the picture
    picture.write(tmp_path / "same.png", table)
    assert (tmp_path / "same.png").read_bytes() == source.read_bytes()
    assert (tmp_path / "same.png").stat().st_ino != source.stat().st_ino
    table[7] = 0
    picture.write(tmp_path / "other.png", table)
    assert (tmp_path / "other.png").read_bytes() != source.read_bytes()
    assert np.asarray(Image.open(tmp_path / "other.png")).max() == 6


def test_bands_that_agree_are_encoded_once(tmp_path, monkeypatch):
    values = np.zeros((4 * BAND, 6), np.int32)
    values[BAND, 2] = 5  # in the second band only
    values[3 * BAND :, 3] = 9
    encoded = []
    original = relabelled.encode_band
    monkeypatch.setattr(relabelled, "encode_band", lambda pixels: encoded.append(len(pixels)) or original(pixels))
    picture = RelabelledMap("none", values, copies=False)
    table = np.arange(10, dtype=np.int32)
    for gone, expected in (((), 4), ((5,), 1), ((5, 9), 1), ((9,), 0), ((7,), 0)):
        encoded.clear()
        mine = np.where(np.isin(table, gone), 0, table).astype(np.int32)
        picture.write(tmp_path / "a.png", mine)
        assert len(encoded) == expected
        np.testing.assert_array_equal(read_panoptic_png(tmp_path / "a.png"), mine[values])
