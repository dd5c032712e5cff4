"""Composites in files: both naming schemes, resuming, boxes, the check of a folder, channel statistics."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import zsseg_d2.data.composites.writer as writer_module
from tests.data.test_composites import parts_in
from tests.data.tiny_composites import write_parts
from zsseg_d2.cli.make_composites import main
from zsseg_d2.data import DatasetError
from zsseg_d2.data.composites.check import check_folder
from zsseg_d2.data.composites.composer import Composer
from zsseg_d2.data.composites.depth import DepthFormat
from zsseg_d2.data.composites.numbering import Choice
from zsseg_d2.data.composites.schemes import mask_stem, parse, stem
from zsseg_d2.data.composites.settings import CompositeSettings
from zsseg_d2.data.composites.statistics import ChannelStatistics, EdgeStatistics, edges_of_files, merged
from zsseg_d2.data.composites.writer import CompositeWriter, Output


@pytest.fixture(scope="module")
def composer(tmp_path_factory) -> Composer:
    parts = parts_in(write_parts(tmp_path_factory.mktemp("parts"), foregrounds=2, backgrounds=2))
    return Composer(parts, CompositeSettings(side=32, per_pair=20, scale=(0.4, 0.8)))


@pytest.fixture(params=[1, 2])
def written(request, composer, tmp_path) -> Path:
    output = Output(tmp_path / "out", request.param)
    assert CompositeWriter(composer, output).write(range(len(composer)), 0) == 160
    return output.folder


def files(folder: Path) -> dict[str, bytes]:
    names = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in names}


def test_what_is_written_is_what_training_sees(written, composer):
    manifest = json.loads((written / "manifest.json").read_text())
    assert manifest["complete"] and manifest["count"] == 160 and manifest["depth"]["kind"] == "metric"
    assert manifest["depth"]["direction"] == "larger is farther" and manifest["depth"]["metres_per_step"] == 1 / 256
    rows = list(csv.DictReader((written / "boxes.csv").open()))
    assert [int(row["index"]) for row in rows] == list(range(160))
    for index in (0, 21, 47, 159):
        made, row = composer[index], rows[index]
        assert (np.asarray(Image.open(written / "composites" / row["composite"])) == made.image).all()
        mask = Image.open(written / "masks" / row["mask"])
        assert mask.mode == "L" and (np.asarray(mask) == made.mask * 255).all()
        depth = Image.open(written / "depth" / row["composite"])
        assert depth.mode == "I;16" and (np.asarray(depth) / 256 == made.depth).all()
        background = Image.open(written / "backgrounds" / f"bg{made.choice.background + 1}.png")
        assert (np.asarray(background) == made.background).all()
        y, x = np.nonzero(made.mask)
        box = [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1, len(x)]
        assert [int(row[key]) for key in ("x", "y", "width", "height", "area")] == box
        assert Choice(*(int(row[key]) for key in Choice._fields)) == made.choice


def test_names_of_the_schemes(written):
    names = {path.stem for path in (written / "composites").iterdir()}
    masks = {path.stem for path in (written / "masks").iterdir()}
    if json.loads((written / "manifest.json").read_text())["scheme"] == 1:
        assert {"composites_plain_fg_001_bg_001_01", "composites_flip_fg_002_bg_002_20"} <= names
        assert "compositesflip_mask_002-mask_bg_black_002_20" in masks
    else:
        assert {"fg001_bg1_01", "fg002flip_bg2_20"} <= names and names == masks
    assert len(names) == len(masks) == 160


@given(st.builds(Choice, *[st.integers(0, 2000)] * 2, st.integers(0, 1), st.integers(0, 150)))
@settings(max_examples=60)
def test_names_are_read_back(choice):
    two, one, mask = parse(stem(2, choice)), parse(stem(1, choice)), parse(mask_stem(1, choice))
    assert two[:2] == (2, False) and one[:2] == (1, False) and mask[:2] == (1, True)
    assert (int(two[2].foreground), int(two[2].background), two[2].position) == tuple(
        n + 1 for n in (choice.foreground, choice.background, choice.position)
    )
    assert one[2].set == mask[2].set and one[2].foreground == mask[2].foreground
    assert int(one[2].background) == int(mask[2].background) and one[2].position == mask[2].position
    assert parse("IMG_2041") is None


def test_a_stopped_run_goes_on_to_the_same_files(composer, tmp_path, monkeypatch):
    whole = Output(tmp_path / "whole")
    CompositeWriter(composer, whole).write(range(160), 0)
    part, calls = Output(tmp_path / "part"), []
    encoded = CompositeWriter._encoded

    def stop(self, index):
        calls.append(index)
        if len(calls) == 110:
            raise KeyboardInterrupt
        return encoded(self, index)

    monkeypatch.setattr(CompositeWriter, "_encoded", stop)
    with pytest.raises(KeyboardInterrupt):
        CompositeWriter(composer, part).write(range(160), 0)
    assert not json.loads((part.folder / "manifest.json").read_text())["complete"]
    assert not (part.folder / "boxes.csv").exists()
    monkeypatch.setattr(CompositeWriter, "_encoded", encoded)
    assert CompositeWriter(composer, part).write(range(160), 0) == 96, "the first 64 were there"
    assert files(part.folder) == files(whole.folder)
    assert CompositeWriter(composer, part).write(range(160), 0) == 0
    (part.folder / "masks" / "fg002_bg1_03.png").unlink()
    assert CompositeWriter(composer, part).write(range(160), 0) == 64
    assert files(part.folder) == files(whole.folder)


def test_workers_write_the_same_files(composer, tmp_path):
    for name, workers in (("one", 0), ("two", 2)):
        CompositeWriter(composer, Output(tmp_path / name)).write(range(160), workers)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_other_settings_and_foreign_folders_are_refused(composer, tmp_path):
    output = Output(tmp_path / "out")
    CompositeWriter(composer, output).write(range(3), 0)
    other = Composer(composer.parts, replace(composer.settings, seed=1))
    with pytest.raises(DatasetError, match="has composites with other settings. Fix: choose another folder"):
        CompositeWriter(other, output).write(range(3), 0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("…")
    with pytest.raises(DatasetError, match="is not empty"):
        CompositeWriter(composer, Output(tmp_path / "mine")).write(range(3), 0)


def test_the_estimate_is_near_and_a_full_disk_is_told_before_work(composer, tmp_path, monkeypatch):
    writer = CompositeWriter(composer, Output(tmp_path / "out"))
    estimate = writer.estimate(range(160))
    full = type("usage", (), {"free": 1000})()
    monkeypatch.setattr(writer_module.shutil, "disk_usage", lambda _: full)
    with pytest.raises(DatasetError, match="are needed, and 1 kB are free"):
        writer.write(range(160), 0)
    assert not files(tmp_path / "out")
    monkeypatch.undo()
    writer.write(range(160), 0)
    used = sum(-(-len(data) // 4096) * 4096 for name, data in files(tmp_path / "out").items() if "/" in name)
    assert 0.9 < estimate / used < 1.1


def test_a_written_folder_passes_the_check(written):
    report = check_folder(written)
    assert (report.composites, report.masks, report.depth) == (160, 160, 160)
    assert not report.wrong and not report.notes


def only(report, kind):
    assert list(report.wrong) == [kind], report.lines()
    return report.wrong[kind]


def mask_of(written: Path, number: int) -> Path:
    return sorted((written / "masks").iterdir())[number]


def damage(written: Path, number: int, change) -> str:
    path = mask_of(written, number)
    with Image.open(path) as image:
        changed = change(np.asarray(image))
    Image.fromarray(changed).save(path)
    return path.name


def test_missing_partners_are_named(written):
    gone = mask_of(written, 5)
    gone.unlink()
    report = check_folder(written)
    finding = only(report, "composites without a mask")
    assert finding.count == 1 and finding.examples[0].startswith("composites/")
    key = parse(gone.stem)[2]
    assert parse(Path(finding.examples[0]).stem)[2].position == key.position
    next((written / "composites").iterdir()).unlink()
    assert {"masks without a composite", "depth maps without a composite"} <= set(check_folder(written).wrong)


def test_grey_masks_are_named_with_their_values(written):
    """Such as those that were saved as JPEG: 2.9 % of the original's mask pixels are grey."""
    name = damage(written, 7, lambda m: np.where(np.arange(32) == 3, 128, m).astype(np.uint8))
    finding = only(check_folder(written), "masks with grey pixels")
    assert name in finding.examples[0] and "3.1% between 0 and 255, such as 128" in finding.examples[0]


def test_rgb_inverted_and_0_1_masks_are_told_apart(written):
    first = damage(written, 0, lambda m: np.dstack([m] * 3))
    assert first in only(check_folder(written), "masks that are not grey").examples[0]
    damage(written, 0, lambda m: m[..., 0])
    second = damage(written, 1, lambda m: 255 - m)
    assert second in only(check_folder(written), "masks that seem inverted").examples[0]
    damage(written, 1, lambda m: 255 - m)
    third = damage(written, 2, lambda m: m // 255)
    finding = only(check_folder(written), "masks with 0 and 1 in place of 0 and 255")
    assert third in finding.examples[0] and "0, 1" in finding.examples[0]


def test_other_sizes_are_named(written):
    name = damage(written, 0, lambda m: m[::2, ::2].copy())
    finding = only(check_folder(written), "masks of another size")
    assert name in finding.examples[0] and "is 16x16, its composite 32x32" in finding.examples[0]


def test_depth_at_half_size_as_jpeg_and_flat_is_told(written):
    """The original's depth: 96 for composites of 192, 8-bit JPEG."""
    path = sorted((written / "depth").iterdir())[0]
    path.unlink()
    Image.new("L", (16, 16), 9).save(path.with_suffix(".jpg"))
    report = check_folder(written)
    assert set(report.wrong) == {"depth maps of another size", "depth maps of one value"}
    assert "depth maps as JPEG, with rounded and blurred values" in report.notes


def test_scheme_1_counts_the_backgrounds_of_masks(tmp_path):
    """The published masks number the backgrounds from 1 in place of naming them."""
    for background in ("bg2", "bg10"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"in_a_fg_dog_bg_{background}_01.png")
    for number in (1, 2):
        mask = np.zeros((8, 8), np.uint8)
        mask[3, 3] = 255
        Image.fromarray(mask).save(tmp_path / f"ina_mask_dog-mask_bg_black_{number:03}_01.png")
    assert not check_folder(tmp_path).wrong
    (tmp_path / "in_a_fg_dog_bg_bg10_01.png").unlink()
    finding = check_folder(tmp_path).wrong["masks without a composite"]
    assert finding.examples == ["ina_mask_dog-mask_bg_black_002_01.png"]


def test_a_folder_of_no_scheme_is_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "IMG_1.png")
    with pytest.raises(DatasetError, match="no file has a name like"):
        check_folder(tmp_path)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1)), min_size=1, max_size=9),
    st.data(),
)
@settings(max_examples=50)
def test_statistics_are_numpys_in_any_order(shapes, data):
    images = [np.random.default_rng(s).integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w, s in shapes]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]).astype(np.float64) / 255
    order = data.draw(st.permutations(range(len(images))))
    cut = data.draw(st.integers(0, len(images)))
    groups = ([ChannelStatistics.of(images[k]) for k in part] for part in (order[:cut], order[cut:]))
    found = merged(map(merged, groups))
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=0, atol=1e-12)
    assert found == merged(map(ChannelStatistics.of, images)), "to the last bit"


def test_statistics_of_many_bright_images_do_not_cancel():
    """The sum of squares of 10^11 pixels is beyond float64's whole numbers."""
    one = ChannelStatistics.of(np.array([[[254, 254, 254], [255, 255, 255]]], np.uint8))
    total, squares = (tuple(value * 10**11 for value in sums) for sums in (one.total, one.squares))
    many = ChannelStatistics(one.count * 10**11, total, squares)
    assert many.std == pytest.approx((0.5 / 255,) * 3, abs=1e-15) and many.mean == pytest.approx((254.5 / 255,) * 3)


def test_edges_by_hand():
    """Two of eight pixels are covered (128 is above one half, 127 is not), three are partly transparent."""
    alpha = np.array([[0, 1, 127, 128], [255, 0, 0, 0]], np.uint8)
    assert EdgeStatistics.of(alpha) == (2 / 8, 3 / 8)


def test_edges_of_smaller_foregrounds_are_wider(tmp_path):
    """A hard edge is spread over the pixels on both of its sides (triangle filter): here 4x2 inside, 6x4 in all."""
    alpha = np.zeros((16, 8), np.uint8)
    alpha[4:12, 2:6] = 255
    Image.fromarray(np.dstack([np.zeros((16, 8, 3), np.uint8), alpha])).save(tmp_path / "a.png")
    assert edges_of_files([tmp_path / "a.png"]) == [(32 / 128, 0.0)]
    assert edges_of_files([tmp_path / "a.png"], longer_side=8) == [(8 / 32, 24 / 32)]


def test_masks_and_depth_are_never_jpeg(composer, tmp_path):
    """2.9 % of the original's mask pixels were grey."""
    CompositeWriter(composer, Output(tmp_path / "out", jpeg=80)).write(range(12), 0)
    names = {path.parent.name: path.suffix for path in (tmp_path / "out").glob("*/*")}
    assert names == {"composites": ".jpg", "backgrounds": ".jpg", "masks": ".png", "depth": ".png"}
    for k, path in enumerate(sorted((tmp_path / "out" / "masks").iterdir())):
        assert (np.asarray(Image.open(path)) == composer[k].mask * 255).all()


def test_relative_depth_has_a_folder_of_its_own(tmp_path):
    parts = parts_in(write_parts(tmp_path / "parts", foregrounds=1, backgrounds=1))
    made = Composer(replace(parts, depth=DepthFormat("relative")), CompositeSettings(side=16))
    CompositeWriter(made, Output(tmp_path / "out")).write(range(3), 0)
    assert len(list((tmp_path / "out" / "relative_depth").iterdir())) == 3 and not (tmp_path / "out" / "depth").exists()
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["depth"]["kind"] == "relative"
    assert check_folder(tmp_path / "out").depth == 3


def run(*words) -> int:
    return main([str(word) for word in words]) or 0


def test_the_program_writes_checks_and_counts(tmp_path, capsys):
    root = write_parts(tmp_path / "parts", foregrounds=3, backgrounds=3)
    mine = ["--foregrounds", root / "foregrounds", "--backgrounds", root / "backgrounds", "--size", "24", "--split"]
    options = [*mine, "all", "--positions", "grid", "--count", "50", "--scheme", "1", "--num-workers", "0"]
    out = tmp_path / "out"
    assert run("--output", out, *options) == 0
    assert "50 of 360 composites, about" in capsys.readouterr().out
    assert not (out / "depth").exists() and json.loads((out / "manifest.json").read_text())["depth"] is None
    assert run("--output", out, *options) == 0 and "0 written, 50 were there" in capsys.readouterr().out
    assert run("--check", out) == 0 and "Nothing is wrong." in capsys.readouterr().out
    assert run("--statistics", out, "--num-workers", "0") == 0
    pixels = np.stack([np.asarray(Image.open(path)) for path in (out / "composites").iterdir()]) / 255.0
    told = capsys.readouterr().out.splitlines()
    assert [float(v) for v in told[1].split()[1:]] == pytest.approx(pixels.mean(axis=(0, 1, 2)), abs=1e-6)
    assert [float(v) for v in told[2].split()[1:]] == pytest.approx(pixels.std(axis=(0, 1, 2)), abs=1e-6)
    assert run("--edges", root / "foregrounds", "--num-workers", "0") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("3 foregrounds") and told[1].startswith("covered 0.6")
    shutil.rmtree(out / "masks")
    assert run("--check", out) == 1 and "composites without a mask: 50" in capsys.readouterr().out
    assert run("--output", tmp_path / "val", *mine, "val", "--num-workers", "0") == 0
    manifest = json.loads((tmp_path / "val" / "manifest.json").read_text())
    assert len(manifest["foregrounds"]) == len(manifest["backgrounds"]) == 1
    with pytest.raises(SystemExit, match=r"has no image \(foregrounds\)"):
        run("--output", out, "--foregrounds", root, "--backgrounds", root / "backgrounds")
