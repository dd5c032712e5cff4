"""Deletion: what a configuration takes away, and that registrar and tool give the same records and pixels."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from zsseg_d2.cli import delete_classes as tool
from zsseg_d2.data import (
    CONFIGURATIONS,
    DatasetError,
    delete_from_record,
    load_cityscapes_panoptic,
    read_panoptic_png,
    register_cityscapes_panoptic,
    resolve_classes,
)
from zsseg_d2.data.class_deletion import label_maps
from zsseg_d2.data.class_deletion.configurations import chosen_configurations
from zsseg_d2.data.panoptic.cityscapes import CATEGORIES

from .tiny_cityscapes import TRAIN_IDS, make_tiny_cityscapes, panoptic_json


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_tiny_cityscapes(tmp_path_factory.mktemp("source") / "cityscapes", images=5)


def snapshot(folder: Path) -> dict:
    """Every file's content and mode and every link's target, by relative path."""
    return {
        str(p.relative_to(folder)): str(p.readlink()) if p.is_symlink() else (p.read_bytes(), p.stat().st_mode)
        for p in sorted(folder.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def run(root: Path, output: Path, *arguments: str) -> int:
    try:
        return tool.main(["--root", str(root), "--output", str(output), "--num-workers", "1", *arguments])
    except SystemExit as stop:
        print(stop.code, file=sys.stderr)
        return 1


def visible_ids(record: dict) -> np.ndarray:
    """(H, W) segment ids as a consumer sees them: ids that are not listed are void."""
    ids = read_panoptic_png(record["pan_seg_file_name"], (record["height"], record["width"]))
    return np.where(np.isin(ids, [s["id"] for s in record["segments_info"]]), ids, 0)


def without_paths(records: list[dict]) -> list[dict]:
    return [{k: v for k, v in r.items() if not k.endswith("file_name")} for r in records]


def test_the_configurations():
    things = (24, 25, 26, 27, 28, 31, 32, 33)
    assert {f"00{n}": things[:n] for n in range(9)} == CONFIGURATIONS


def test_classes_by_name_label_id_train_id_and_configuration():
    assert resolve_classes(["Traffic_Light", "26", 24], CATEGORIES) == (19, 24, 26)
    assert resolve_classes([0, "18", "person"], CATEGORIES, train_ids=True) == (7, 24, 33)
    assert resolve_classes("003", CATEGORIES) == (24, 25, 26)
    assert resolve_classes("person", CATEGORIES) == resolve_classes(24, CATEGORIES) == (24,)
    assert resolve_classes((), CATEGORIES) == ()


@pytest.mark.parametrize("wrong", ["009", "pedestrian", ["pedestrian"], [29], [0], ["008"], [True], [24.0], [-1], [""]])
def test_unknown_classes_and_configurations(wrong):
    with pytest.raises(DatasetError, match="There is no"):
        resolve_classes(wrong, CATEGORIES)


def test_deletion_leaves_its_argument_alone(root):
    record = load_cityscapes_panoptic(root, "train")[0]
    before = copy.deepcopy(record)
    deleted = delete_from_record(record, {s["category_id"] for s in record["segments_info"]})
    assert deleted["segments_info"] == [] and record == before


@pytest.fixture(scope="module")
def all_nine(root, tmp_path_factory):
    output = tmp_path_factory.mktemp("all")
    for image in (root / "leftImg8bit").rglob("*.png"):
        image.chmod(0o640)  # links must not change what they point to
    before = snapshot(root)
    assert tool.main(["--root", str(root), "--output", str(output), "--all", "--num-workers", "2"]) == 0
    assert snapshot(root) == before, "the tool wrote into its input"
    return output


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_registrar_and_tool_agree(root, all_nine, name):
    gone = set(CONFIGURATIONS[name])
    dataset = f"tests_{name}"
    register_cityscapes_panoptic(dataset, root, "train", deleted=name)
    register_cityscapes_panoptic(f"{dataset}_tool", all_nine / name, "train")
    try:
        registered, written = DatasetCatalog.get(dataset), DatasetCatalog.get(f"{dataset}_tool")
    finally:
        for each in (dataset, f"{dataset}_tool"):
            DatasetCatalog.remove(each)
            MetadataCatalog.remove(each)
    assert without_paths(registered) == without_paths(written)
    complete = load_cityscapes_panoptic(root, "train")
    assert len(registered) == len(complete) == 5
    for registered_record, written_record, whole in zip(registered, written, complete):
        kept = [s for s in whole["segments_info"] if CATEGORIES[s["category_id"]].id not in gone]
        assert registered_record["segments_info"] == kept
        pixels = read_panoptic_png(written_record["pan_seg_file_name"])
        assert np.array_equal(visible_ids(registered_record), pixels)  # nothing deleted is left in the written PNG
        assert np.array_equal(visible_ids(written_record), pixels)
        assert Path(written_record["file_name"]).is_symlink()
        assert np.array_equal(
            np.asarray(Image.open(written_record["file_name"])), np.asarray(Image.open(registered_record["file_name"]))
        )
        _check_label_maps(root, all_nine / name, registered_record, gone)


def _check_label_maps(root: Path, output: Path, record: dict, gone: set[int]) -> None:
    city = Path(record["file_name"]).parent.name
    relative = f"gtFine/train/{city}/{record['image_id']}_gtFine"

    def read(folder: Path, kind: str) -> np.ndarray:
        return np.asarray(Image.open(f"{folder / relative}_{kind}.png")).astype(np.int64)

    labels, instances = read(root, "labelIds"), read(root, "instanceIds")
    deleted = np.isin(labels, list(gone))
    assert np.array_equal(read(output, "labelIds"), np.where(deleted, 0, labels))
    assert np.array_equal(read(output, "instanceIds"), np.where(deleted, 0, instances))
    expected = np.vectorize(lambda label: 255 if label in gone else TRAIN_IDS[label])(labels)
    assert np.array_equal(read(output, "labelTrainIds"), expected)


@pytest.mark.parametrize("name", ["000", "003", "008"])
def test_together_and_alone_the_files_are_the_same(root, all_nine, tmp_path, name):
    assert run(root, tmp_path / "alone", "--configuration", name) == 0

    def files(folder: Path) -> dict:
        return {k: v for k, v in snapshot(folder).items() if "leftImg8bit" not in k}  # links are relative

    assert files(tmp_path / "alone") == files(all_nine / name)


def test_a_image_without_deleted_classes_is_copied_byte_for_byte(root, all_nine):
    copied = changed = 0
    for name, label_ids in CONFIGURATIONS.items():
        for kind in ("instanceIds", "labelIds"):
            for path in sorted(root.glob(f"gtFine/train/*/*_{kind}.png")):
                values = np.asarray(Image.open(path)).astype(int)
                labels = np.where(values >= 1000, values // 1000, values)
                same = (all_nine / name / path.relative_to(root)).read_bytes() == path.read_bytes()
                assert same == (not np.isin(labels, label_ids).any())
                copied, changed = copied + same, changed + (not same)
        for path in sorted(root.glob("gtFine/cityscapes_panoptic_train/*.png")):
            ids = read_panoptic_png(path)
            labels = np.where(ids >= 1000, ids // 1000, ids)
            same = (all_nine / name / path.relative_to(root)).read_bytes() == path.read_bytes()
            assert same == (not np.isin(labels, label_ids).any())
    assert copied > 10 and changed > 10


def test_no_file_is_shared(root, all_nine):
    """Who edits a file of one copy changes neither another copy nor the source."""
    paths = [p for folder in (root, all_nine) for p in folder.rglob("*_gtFine*.png")]
    inodes = {p.stat().st_ino for p in paths}
    assert len(inodes) == len(paths) and not any(p.is_symlink() for p in paths)


def test_label_maps_of_another_depth_are_written_in_the_usual_one(tmp_path):
    """Instance ids in 8 bits (an image of stuff), label ids in 16: the same labels, in Cityscapes' formats."""
    root = make_tiny_cityscapes(tmp_path / "in", images=1)
    (instance_path,) = root.glob("gtFine/train/*/*_instanceIds.png")
    (label_path,) = root.glob("gtFine/train/*/*_labelIds.png")
    labels = np.asarray(Image.open(label_path))
    Image.fromarray(labels).save(instance_path)
    Image.fromarray(labels.astype(np.uint16)).save(label_path)
    assert run(root, tmp_path / "out", "--configuration", "000") == 0
    for path, dtype in ((instance_path, np.uint16), (label_path, np.uint8)):
        written = Image.open(tmp_path / "out" / path.relative_to(root))
        assert (written.mode == "L") == (dtype is np.uint8)
        assert np.array_equal(np.asarray(written), labels)


def test_manifest(root, all_nine):
    records = load_cityscapes_panoptic(root, "train")
    segments = [s for r in records for s in r["segments_info"]]
    for name, label_ids in CONFIGURATIONS.items():
        manifest = json.loads((all_nine / name / "manifest.json").read_text())
        entry = manifest["splits"]["train"]
        assert manifest["tool"]["version"] and entry["arguments"]["source"] == str(root.resolve())
        assert (entry["configuration"], entry["images"]) == (name, 5)
        assert entry["deleted"] == [c.name for c in CATEGORIES if c.id in label_ids]
        for k, category in enumerate(CATEGORIES):
            of_class = [s for s in segments if s["category_id"] == k]
            found = entry["classes"][category.name]
            assert found["deleted"] == (category.id in label_ids)
            assert (found["segments"], found["pixels"]) == (len(of_class), sum(s["area"] for s in of_class))
        assert sum(entry["segments"].values()) == len(segments)


def test_other_classes_by_name_with_copied_images(root, tmp_path):
    assert run(root, tmp_path / "out", "--classes", "road", "26", "--copy-images") == 0
    records = load_cityscapes_panoptic(tmp_path / "out", "train")
    assert without_paths(records) == without_paths(load_cityscapes_panoptic(root, "train", (7, "car")))
    for record in records:
        assert Path(record["file_name"]).is_file() and not Path(record["file_name"]).is_symlink()


def test_the_default_output_lies_beside_the_root():
    options = tool.parse_arguments(["--root", "/data/cityscapes", "--classes", "25", "person"])
    assert [c.output for c in tool.planned_copies(options)] == [Path("/data/cityscapes_without_24_25")]
    options = tool.parse_arguments(["--root", "/data/cityscapes", "--all"])
    assert [c.output.name for c in tool.planned_copies(options)] == [f"cityscapes_{name}" for name in CONFIGURATIONS]


def test_several_configurations():
    known = tuple(CONFIGURATIONS)
    assert chosen_configurations(["all"]) == chosen_configurations(["000-008"]) == known
    assert chosen_configurations(["008", "002-004", "003"]) == ("002", "003", "004", "008")
    assert chosen_configurations(["005-005"]) == ("005",) and chosen_configurations([]) == ()
    for wrong in ("009", "007-009", "8", "", "-", "-008", "1-3", "ALL"):
        with pytest.raises(DatasetError, match="There is no configuration"):
            chosen_configurations([wrong])
    for wrong in ("005-002", "002-"):
        with pytest.raises(DatasetError, match=f"'{wrong}' is not a range"):
            chosen_configurations([wrong])

    def outputs(*arguments: str) -> list[str]:
        return [str(c.output) for c in tool.planned_copies(tool.parse_arguments(["--root", "/d/city", *arguments]))]

    assert outputs("--configurations", "001", "007-008") == ["/d/city_001", "/d/city_007", "/d/city_008"]
    assert outputs("--configurations", "007-008", "--output", "/o") == ["/o/007", "/o/008"]
    assert outputs("--configuration", "007", "--output", "/o") == ["/o"]
    assert outputs("--all") == outputs("--configurations", "all") == [f"/d/city_{name}" for name in known]


def test_two_splits_share_an_output(tmp_path):
    root = make_tiny_cityscapes(tmp_path / "in", "train", 2)
    make_tiny_cityscapes(root, "val", 3)
    assert run(root, tmp_path / "out", "--configuration", "002", "--split", "train", "val") == 0
    assert set(json.loads((tmp_path / "out" / "manifest.json").read_text())["splits"]) == {"train", "val"}
    assert len(load_cityscapes_panoptic(tmp_path / "out", "val")) == 3


def test_an_interrupted_run_looks_incomplete_and_goes_on(root, tmp_path, monkeypatch, capsys):
    output, written = tmp_path / "out", []
    original = label_maps._write_image

    def fails_at_third(task):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(task.record["image_id"])
        return original(task)

    monkeypatch.setattr(label_maps, "_write_image", fails_at_third)
    assert run(root, output, "--configuration", "008") == 130
    assert not (output / "manifest.json").exists()
    with pytest.raises(DatasetError, match="missing"):
        load_cityscapes_panoptic(output, "train")

    def rest(task):
        assert task.record["image_id"] not in written, "an image was written again"
        return original(task)

    monkeypatch.setattr(label_maps, "_write_image", rest)
    with (output / ".delete_classes_train.jsonl").open("a") as journal:
        journal.write('["half a li')  # what a killed process leaves
    assert run(root, output, "--configuration", "008") == 0
    expected = tmp_path / "at_once"
    monkeypatch.setattr(label_maps, "_write_image", original)
    assert run(root, expected, "--configuration", "008") == 0
    assert snapshot(output) == snapshot(expected)
    capsys.readouterr()
    assert run(root, output, "--configuration", "008") == 0
    assert "complete already" in capsys.readouterr().out


def test_a_lost_file_is_written_again(root, tmp_path):
    output = tmp_path / "out"
    assert run(root, output, "--configuration", "001") == 0
    before = snapshot(output)
    next((output / "gtFine" / "cityscapes_panoptic_train").iterdir()).unlink()
    assert run(root, output, "--configuration", "001") == 0
    assert snapshot(output) == before


def test_other_arguments_need_overwrite(root, tmp_path, capsys):
    output = tmp_path / "out"
    assert run(root, output, "--configuration", "001") == 0
    assert run(root, output, "--configuration", "002") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run(root, output, "--configuration", "002", "--overwrite") == 0
    fresh = tmp_path / "fresh"
    assert run(root, fresh, "--configuration", "002") == 0
    assert snapshot(output) == snapshot(fresh)


@pytest.mark.parametrize("place", ["", "gtFine/x", "leftImg8bit", "deleted"])
def test_the_output_may_not_lie_in_the_input(root, place, capsys):
    before = snapshot(root)
    assert run(root, root / place, "--configuration", "008", "--overwrite") == 1
    assert "inside the input" in capsys.readouterr().err
    assert snapshot(root) == before


def test_links_do_not_lead_back_into_the_input(root, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "gtFine").symlink_to(root / "gtFine")
    before = snapshot(root)
    assert run(root, tmp_path / "out", "--configuration", "008", "--overwrite") == 1
    assert "inside the input" in capsys.readouterr().err
    assert snapshot(root) == before


def test_foreign_files_are_left_alone(root, tmp_path, capsys):
    other = make_tiny_cityscapes(tmp_path / "other", images=2)
    before = snapshot(other)
    assert run(root, other, "--configuration", "008", "--overwrite") == 1
    assert "was not made by this tool" in capsys.readouterr().err
    assert snapshot(other) == before


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--configuration", "009"], "There is no configuration '009'"),
        (["--configurations", "001", "008-001"], "'008-001' is not a range"),
        (["--classes", "pedestrian"], "There is no class 'pedestrian'"),
        (["--classes", "24", "--family", "nothing"], "--family nothing: there is no such family"),
        (["--classes", "boat", "--family", "miniworld_panoptic"], "There is no folder .*/images/train"),
        (["--configuration", "008", "--family", "miniworld_panoptic"], "choose one of no_things"),
        (["--classes", "24", "--split", "test"], "There is no folder"),
    ],
)
def test_wrong_arguments(root, tmp_path, capsys, arguments, expected):
    assert run(root, tmp_path / "out", *arguments) == 1
    assert re.search(expected, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def _repaint(path: Path) -> None:
    Image.new("RGB", (64, 40), (255, 1, 0)).save(path)


@pytest.mark.parametrize(
    "pattern, damage, expected",
    [
        ("cityscapes_panoptic_train/*.png", _truncate, "truncated"),
        ("cityscapes_panoptic_train/*.png", _repaint, "is in the JSON but not in the PNG"),
        ("cityscapes_panoptic_train/*.png", lambda p: Image.new("RGB", (9, 9)).save(p), "9x9 pixels"),
        ("train/*/*_instanceIds.png", Path.unlink, "missing"),
        ("train/*/*_labelIds.png", lambda p: Image.new("L", (9, 9)).save(p), "its image is 64x40"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_damaged_sources(tmp_path, capsys, pattern, damage, expected, workers):
    root = make_tiny_cityscapes(tmp_path / "in", images=3)
    damaged = sorted((root / "gtFine").glob(pattern))[1]
    damage(damaged)
    assert run(root, tmp_path / "out", "--configuration", "008", "--num-workers", workers) == 1
    error = capsys.readouterr().err
    assert expected in error and damaged.name in error
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not panoptic_json(tmp_path / "out").exists()
