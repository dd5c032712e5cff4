"""The report about a download: every fault is counted, and none stops it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.tiny_phrasecut import SQUARE, H, W, make_tiny_phrasecut, task
from zsseg_d2.cli import prepare_phrasecut as tool
from zsseg_d2.data.images.reading import ImageRules
from zsseg_d2.data.phrasecut.check import OFFICIAL_COUNTS, check_phrasecut
from zsseg_d2.data.phrasecut.folder import WRONG_SIZE_IMAGES
from zsseg_d2.data.phrasecut.polygons import Polygons


def counted(root: Path, **splits: tuple[int, int]) -> None:
    """A manifest with the counts of a dataset that this package made."""
    content = {"splits": {s: {"images": images, "phrases": phrases} for s, (images, phrases) in splits.items()}}
    (root / "manifest.json").write_text(json.dumps(content))


def test_a_sound_folder_passes(tmp_path, capsys):
    root = make_tiny_phrasecut(tmp_path, test=[task(), task(ann_id=11), task(2)], miniv=[task(4)])
    counted(root, test=(2, 3), miniv=(1, 1))
    assert tool.main(["check", "--root", str(root), "--split", "test", "miniv", "--decode"]) == 0
    printed = capsys.readouterr().out
    assert "2 images        3 phrases, as expected" in printed and "Nothing is wrong" in printed


def test_every_fault_is_counted(tmp_path, capsys):
    far, nothing = [[[[-9, -9], [99, 3], [3, 99]]]], [[[[3, 3]]]]
    odd = min(WRONG_SIZE_IMAGES)
    tasks = [
        task(),
        task(),
        task(2, phrase=""),
        task(3, polygons=[[[[1, float("nan")], [2, 2]]]]),
        task(4, polygons=far),
        task(5, polygons=nothing),
        task(6, polygons=[[[[90, 90], [95, 95]]]]),
        task(7),
        task(8),
        task(9),
        task(10),
        task(odd),
        task(11, 3),
        task(12),
    ]
    root = make_tiny_phrasecut(tmp_path, skip=["11__3"], sizes={8: (5, 6)}, test=tasks, val=[task(12)])
    images = root / "images"
    (images / "7.jpg").unlink()
    Image.new("L", (W, H)).save(images / "8.jpg")  # also grey
    (images / "9.jpg").write_text("not an image")
    (images / "10.jpg").write_bytes((images / "10.jpg").read_bytes()[:-200])
    Image.new("RGB", (W + 1, H)).save(images / f"{odd}.jpg")
    table = json.loads((root / "image_data_split.json").read_text())
    (root / "image_data_split.json").write_text(json.dumps([e for e in table if e["image_id"] != 1]))

    (report,) = check_phrasecut(root, ["test"], progress=False)
    assert (report.images, report.phrases, report.expected) == (11, 14, OFFICIAL_COUNTS["test"])
    assert {kind: f.count for kind, f in report.wrong.items()} == {
        "duplicate task": 1,
        "empty phrase": 1,
        "bad polygon": 1,
        "phrase without a mask": 2,
        "unknown image": 1,
        "missing image": 1,
        "image of another size than annotated": 1,
        "unusable image": 1,
        "image of another split": 1,
        "other counts than expected": 1,
    }
    assert {kind: f.count for kind, f in report.notes.items()} == {
        "polygon beyond the image, cut off": 3,
        "named in skip.json, left out": 1,
        "converted to RGB": 1,
        "image of another size than annotated": 1,
    }
    assert "8.jpg is 30x20, its entry says 6x5" in report.wrong["image of another size than annotated"].examples[0]
    (decoded,) = check_phrasecut(root, ["test"], decode=True, progress=False)
    assert decoded.wrong["unusable image"].count == 2
    assert tool.main(["check", "--root", str(root), "--split", "test", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["splits"][0]["wrong"]["bad polygon"]["count"] == 1


def test_turned_images_count_in_the_way_they_are_shown(tmp_path):
    root = make_tiny_phrasecut(tmp_path, test=[task()])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((W, H, 3), np.uint8)).save(root / "images" / "1.jpg", exif=exif)
    counted(root, test=(1, 1))
    (report,) = check_phrasecut(root, ["test"], progress=False, rules=ImageRules(exif="apply"))
    assert not report.wrong and report.notes["turned by EXIF"].count == 1
    (report,) = check_phrasecut(root, ["test"], progress=False)
    assert set(report.wrong) == {"turned by EXIF", "image of another size than annotated"}


def test_sizes_are_compared_before_images_and_masks_are_made(tmp_path, monkeypatch):
    root = make_tiny_phrasecut(tmp_path, sizes={2: (13000, 13000)}, test=[task(1), task(2)])
    counted(root, test=(2, 2))
    rules = ImageRules(max_pixels=H * W)
    drawn = []
    monkeypatch.setattr(Polygons, "is_empty", lambda self, *size: drawn.append(size))
    (report,) = check_phrasecut(root, ["test"], decode=True, progress=False, rules=rules)
    assert drawn == [(H, W)]
    assert report.wrong["image too large"].count == 1 and "13000x13000" in report.wrong["image too large"].examples[0]
    (report,) = check_phrasecut(root, ["test"], progress=False, rules=ImageRules(max_pixels=H * W - 1))
    assert (
        report.wrong["unusable image"].count == 2 and "INPUT.MAX_PIXELS" in report.wrong["unusable image"].examples[0]
    )


@pytest.mark.parametrize("name", ["refer_test.json", "image_data_split.json", "skip.json", "name_att_rel_count.json"])
@pytest.mark.parametrize("text", ["", "[{", "{}", None])
def test_no_file_is_needed_to_report(tmp_path, name, text):
    root = make_tiny_phrasecut(tmp_path, skip=[], test=[task()])
    (root / name).unlink() if text is None else (root / name).write_text(text)
    (report,) = check_phrasecut(root, ["test"], progress=False)
    optional = name == "skip.json" and text is None
    assert any(kind.startswith("unusable") for kind in report.wrong) != optional


def test_an_empty_folder_is_reported(tmp_path, capsys):
    assert tool.main(["check", "--root", str(tmp_path / "none")]) == 1
    printed = capsys.readouterr().out
    assert all(split in printed for split in OFFICIAL_COUNTS) and "refer_train.json is missing" in printed


def test_val_may_be_counted_with_miniv(tmp_path, monkeypatch):
    root = make_tiny_phrasecut(tmp_path, val=[task(1), task(2)], miniv=[task(4)])
    monkeypatch.setitem(OFFICIAL_COUNTS, "val", (3, 3))
    monkeypatch.setitem(OFFICIAL_COUNTS, "miniv", (1, 1))
    val, miniv = check_phrasecut(root, ["val", "miniv"], progress=False)
    assert not val.wrong and not miniv.wrong and "fewer than published" in val.notes


def test_a_task_in_two_splits_is_a_duplicate(tmp_path):
    root = make_tiny_phrasecut(tmp_path, train=[task(polygons=SQUARE)], test=[task()])
    train, test = check_phrasecut(root, ["train", "test"], progress=False)
    assert "duplicate task" in test.wrong and "duplicate task" not in train.wrong
    assert "image of another split" in train.wrong  # the table knows image 1 as one of test
    assert H < W
