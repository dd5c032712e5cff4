"""MiniCity's extra splits: a longer validation split that begins as "val" does, and a test split of other cities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from zsseg_d2.cli import make_minicity
from zsseg_d2.data import DatasetError
from zsseg_d2.data.synthetic import ensure_minicity_split, write_minicity, write_minicity_split

SMALL = {"height": 64, "width": 128, "num_workers": 1}


def images(folder: Path, split: str) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted(folder.glob(f"leftImg8bit/{split}/*/*.png"))}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("splits")
    write_minicity(folder, train=6, val=3, **SMALL)
    write_minicity_split(folder, "val_large", images=5, **SMALL)
    write_minicity_split(folder, "test", images=5, **SMALL)
    return folder


def test_the_longer_validation_split_begins_with_the_images_of_val(root):
    val, longer = images(root / "minicity", "val"), images(root / "minicity_val_large", "val_large")
    assert len(val) == 3 and len(longer) == 5
    assert {name: longer[name] for name in val} == val
    assert len(set(longer.values())) == 5


def test_the_test_split_has_cities_and_scenes_of_its_own(root):
    told = {**images(root / "minicity", "train"), **images(root / "minicity_val_large", "val_large")}
    held_out = images(root / "minicity_test", "test")
    assert len(held_out) == 5 and not set(held_out.values()) & set(told.values())
    cities = [{name.split("_")[0] for name in names} for names in (told, held_out)]
    assert cities[1] == {"buchenwerth", "erlenfurt", "kiefernau"} and not cities[0] & cities[1]


def test_seeds_of_the_splits_do_not_meet():
    """Train has at most half a million scenes, val and test fifty thousand each, and 600,000 begins MiniPhrases."""
    from zsseg_d2.data.synthetic.minicity import _MOST, _SEEDS

    ranges = sorted((_SEEDS[split], _SEEDS[split] + _MOST[split]) for split in ("train", "val", "test"))
    assert ranges == [(0, 500_000), (500_000, 550_000), (550_000, 600_000)]
    assert _SEEDS["val_large"] == 500_000 and _MOST["val_large"] == 50_000


def test_registered_names_read_their_own_folders(root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    for split in ("val_large", "test"):
        name = f"minicity_panoptic_{split}"
        records = DatasetCatalog.get(name)
        assert [r["image_id"] for r in records] == sorted(r["image_id"] for r in records) and len(records) == 5
        assert all(f"minicity_{split}/leftImg8bit/{split}/" in r["file_name"] for r in records)
        metadata, val = MetadataCatalog.get(name), MetadataCatalog.get("minicity_panoptic_val")
        for key in ("stuff_classes", "vocabulary", "out_contiguous_ids", "evaluator_type"):
            assert metadata.get(key) == val.get(key) is not None


def test_an_extra_split_is_made_when_it_is_used_and_not_before(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    write_minicity(tmp_path, train=1, val=1, **SMALL)
    write_minicity_split(tmp_path, "test", images=2, **SMALL)
    assert len(DatasetCatalog.get("minicity_panoptic_val")) == 1
    lost = next((tmp_path / "minicity_test").glob("leftImg8bit/test/*/*.png"))
    before = lost.read_bytes()
    lost.unlink()
    assert len(DatasetCatalog.get("minicity_panoptic_test")) == 2 and lost.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["minicity", "minicity_test"]


def test_the_program_writes_the_split_that_it_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("zsseg_d2.data.synthetic.minicity.EXTRA_SPLITS", {"val_large": 4, "test": 2})
    size = ["--height", "64", "--width", "128", "--num-workers", "1"]
    assert make_minicity.main(["--root", str(tmp_path), "--split", "test", *size]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "minicity_test")
    manifest = json.loads((tmp_path / "minicity_test" / "manifest.json").read_text())
    assert manifest["parameters"] == {"test": 2, "height": 64, "width": 128, "seed": 0}
    assert ensure_minicity_split(tmp_path, "test") == tmp_path / "minicity_test"
    with pytest.raises(SystemExit):
        make_minicity.main(["--root", str(tmp_path), "--split", "test", "--train", "3"])
    assert "--split is of MiniCity and has its own number of images" in capsys.readouterr().err


@pytest.mark.parametrize(("split", "count", "message"), [("train", 3, "no such extra split"), ("test", -1, "test=-1")])
def test_impossible_splits_are_refused(split, count, message, tmp_path):
    with pytest.raises(DatasetError, match=message):
        write_minicity_split(tmp_path, split, images=count, **SMALL)
    assert not list(tmp_path.iterdir())
