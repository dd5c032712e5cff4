"""The procedural scenes and the datasets written from them."""

from __future__ import annotations

import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import id2label, name2label
from PIL import Image

from tests.contents import snapshot
from zsseg_d2.data.synthetic import CITY, PRETRAINING, folders, minicity, miniphrases, miniworld, render_scene
from zsseg_d2.data.synthetic.palette import COLOUR_NAMES, name_pixels

VAL_SEEDS = range(500_000, 500_050)


@pytest.fixture(scope="module")
def city_scenes():
    return [render_scene(CITY, seed) for seed in VAL_SEEDS]


@pytest.fixture(scope="module")
def pretraining_scenes():
    return [render_scene(PRETRAINING, seed) for seed in range(60)]


@pytest.fixture(scope="module")
def written_city(tmp_path_factory) -> Path:
    return minicity.write_minicity(tmp_path_factory.mktemp("data"), train=9, val=3, height=96, width=192, num_workers=2)


@pytest.fixture(scope="module")
def written_world(tmp_path_factory) -> Path:
    return miniworld.write_miniworld(
        tmp_path_factory.mktemp("data"), train=9, val=2, height=96, width=192, num_workers=2
    )


def _decode(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(np.int64) @ np.array([1, 256, 65536])


@pytest.mark.parametrize("world", [CITY, PRETRAINING], ids=lambda w: w.name)
def test_same_arguments_same_scene(world):
    first = render_scene(world, 11, 128, 256)
    render_scene(world, 12, 128, 256)  # what came before does not matter
    again = render_scene(world, 11, 128, 256)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.index, again.index)
    assert first.objects == again.objects
    assert (first.image != render_scene(world, 12, 128, 256).image).any()


@pytest.mark.parametrize("height, width, seed", [(32, 512, 0), (256, 32, 0), (128, 256, -1)])
def test_impossible_arguments_are_refused(height, width, seed):
    with pytest.raises(ValueError):
        render_scene(CITY, seed, height, width)


def test_objects_describe_the_index_map(city_scenes, pretraining_scenes):
    for scene in city_scenes[:10] + pretraining_scenes[:10]:
        assert scene.image.shape == (256, 512, 3) and scene.image.dtype == np.uint8
        assert scene.index.shape == (256, 512) and scene.index.dtype == np.int32
        assert [o.index for o in scene.objects] == list(range(1, len(scene.objects) + 1))
        for o in scene.objects:
            y, x = np.nonzero(scene.index == o.index)
            assert o.area == len(x)
            assert o.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
            assert o.size in ("small", "medium", "large")


def test_city_categories_are_cityscapes_own():
    evaluated = [label for label in id2label.values() if not label.ignoreInEval and label.id >= 0]
    assert [(c.name, c.id, c.isthing) for c in CITY.categories] == [(e.name, e.id, e.hasInstances) for e in evaluated]
    assert all(name2label[kind].ignoreInEval for kind in CITY.void_kinds)


def test_every_class_is_in_several_validation_images(city_scenes):
    for category in CITY.categories:
        count = sum(any(o.kind == category.name and not o.crowd for o in s.objects) for s in city_scenes)
        assert count >= 6, f"{category.name}: {count} of {len(city_scenes)} images"


def test_cars_and_people_outnumber_trains(city_scenes):
    kinds = [o.kind for s in city_scenes for o in s.objects]
    assert kinds.count("train") * 4 < min(kinds.count("car"), kinds.count("person"))


def test_void_and_crowds_occur(city_scenes):
    objects = [o for s in city_scenes for o in s.objects]
    assert sum(o.crowd for o in objects) >= 5
    for kind in CITY.void_kinds:
        assert any(o.kind == kind for o in objects), kind


def test_pretraining_draws_but_does_not_annotate_pole_and_rider(pretraining_scenes):
    names = {c.name for c in PRETRAINING.categories}
    drawn = {o.kind for s in pretraining_scenes for o in s.objects}
    assert {"pole", "rider"} <= drawn - names
    assert drawn <= names | set(PRETRAINING.void_kinds)
    assert len(drawn & names) == len(names), names - drawn


def test_named_colour_dominates(city_scenes, pretraining_scenes):
    named = things = 0
    for scene in city_scenes[:20] + pretraining_scenes[:20]:
        for o in scene.objects:
            if not o.is_thing or o.crowd or o.kind.startswith("traffic"):
                continue
            things += 1
            if o.colour is None:
                continue
            named += 1
            counts = np.bincount(name_pixels(scene.image[scene.index == o.index]), minlength=len(COLOUR_NAMES) + 1)[:-1]
            if o.kind in ("bicycle", "motorcycle") and o.colour not in ("black", "white"):
                counts[[COLOUR_NAMES.index("black"), COLOUR_NAMES.index("white")]] = 0
            assert COLOUR_NAMES[counts.argmax()] == o.colour
    assert named > 0.75 * things


def test_minicity_has_cityscapes_files(written_city):
    images = sorted(written_city.glob("leftImg8bit/*/*/*.png"))
    assert len(images) == 12
    for path in images:
        match = re.fullmatch(r"([a-z]+_\d{6}_\d{6})_leftImg8bit\.png", path.name)
        assert match and match[1].startswith(path.parent.name)
        stem = written_city / "gtFine" / path.parent.parent.name / path.parent.name / f"{match[1]}_gtFine_"
        instances = np.asarray(Image.open(f"{stem}instanceIds.png")).astype(int)
        labels = np.asarray(Image.open(f"{stem}labelIds.png"))
        train_ids = np.asarray(Image.open(f"{stem}labelTrainIds.png"))
        np.testing.assert_array_equal(labels, np.where(instances >= 1000, instances // 1000, instances))
        for value in np.unique(instances):
            label = id2label[int(value) // 1000 if value >= 1000 else int(value)]
            assert label.hasInstances or value < 1000
            assert (train_ids[instances == value] == (label.trainId if label.trainId >= 0 else 255)).all()


def test_minicity_panoptic_files_agree(written_city):
    for split, count in (("train", 9), ("val", 3)):
        document = json.loads((written_city / f"gtFine/cityscapes_panoptic_{split}.json").read_text())
        assert len(document["annotations"]) == len(document["images"]) == count
        assert {c["id"] for c in document["categories"]} == {c.id for c in CITY.categories}
        for annotation in document["annotations"]:
            ids = _decode(written_city / f"gtFine/cityscapes_panoptic_{split}" / annotation["file_name"])
            areas = dict(zip(*(a.tolist() for a in np.unique(ids[ids > 0], return_counts=True))))
            assert areas == {s["id"]: s["area"] for s in annotation["segments_info"]}


def test_minicity_manifest_counts(written_city):
    manifest = json.loads((written_city / "manifest.json").read_text())
    assert manifest["version"] == folders.VERSION and manifest["parameters"]["seed"] == 0
    for split, count in (("train", 9), ("val", 3)):
        summary = manifest["splits"][split]
        assert summary["images"] == count
        assert sum(c["pixels"] for c in summary["classes"].values()) == count * 96 * 192


def test_miniworld_agrees_with_its_pngs(written_world):
    for split, count in (("train", 9), ("val", 2)):
        document = json.loads((written_world / f"panoptic_{split}.json").read_text())
        categories = {c["id"]: c for c in document["categories"]}
        assert all(c["synonyms"] for c in categories.values())
        assert not {"pole", "rider"} & {c["name"] for c in categories.values()}
        assert len(document["images"]) == len(document["annotations"]) == count
        for image, annotation in zip(document["images"], document["annotations"]):
            assert image["id"] == annotation["image_id"]
            file = Image.open(written_world / "images" / split / image["file_name"])
            assert file.size == (image["width"], image["height"]) == (192, 96)
            ids = _decode(written_world / f"panoptic_{split}" / annotation["file_name"])
            assert set(np.unique(ids)) - {0} == {s["id"] for s in annotation["segments_info"]}
            for s in annotation["segments_info"]:
                y, x = np.nonzero(ids == s["id"])
                assert s["area"] == len(x)
                assert s["bbox"] == [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
                assert s["category_id"] in categories and s["iscrowd"] in (0, 1)


def test_crowds_are_one_segment_marked_so(pretraining_scenes):
    crowded = [s for s in pretraining_scenes if any(o.crowd for o in s.objects)]
    assert crowded
    for scene in crowded:
        _, info = miniworld.segment_ids(scene)
        assert any(s["iscrowd"] for s in info)


def test_a_complete_folder_is_reused_and_an_incomplete_one_made_again(tmp_path):
    made = []

    def build(folder: Path) -> dict:
        made.append(folder)
        (folder / "a.txt").write_text("x")
        return {}

    target = folders.provide(tmp_path / "set", {"n": 1}, build, reuse=True)
    folders.provide(target, {"n": 1}, build, reuse=True)
    assert len(made) == 1
    (target / "a.txt").unlink()
    assert not folders.is_complete(target)
    folders.provide(target, {"n": 1}, build, reuse=True)
    assert (target / "a.txt").read_text() == "x"
    folders.provide(target, {"n": 2}, build, reuse=True)
    assert len(made) == 3 and folders.is_complete(target, {"n": 2})


def test_many_at_once_make_it_once(tmp_path):
    made = []

    def build(folder: Path) -> dict:
        made.append(folder)
        time.sleep(6)  # longer than a lock's usual patience
        (folder / "a.txt").write_text("x")
        return {}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: folders.provide(tmp_path / "set", {}, build, reuse=True), range(4)))
    assert len(made) == 1


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    calls = []
    original = minicity._write_frame

    def interrupt(frame):
        calls.append(frame)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(frame)

    monkeypatch.setattr(minicity, "_write_frame", interrupt)
    with pytest.raises(KeyboardInterrupt):
        minicity.write_minicity(tmp_path, train=3, val=1, height=64, width=128, num_workers=1)
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_a_data_set_of_another_size_is_kept(tmp_path):
    folder = minicity.write_minicity(tmp_path, train=1, val=1, height=64, width=128, seed=3, num_workers=1)
    before = folders.read_manifest(folder)
    assert minicity.ensure_minicity(tmp_path) == folder
    assert folders.read_manifest(folder) == before and before["parameters"]["train"] == 1


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "minicity").mkdir()
    (tmp_path / "minicity" / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="minicity.*another root"):
        minicity.ensure_minicity(tmp_path)
    assert (tmp_path / "minicity" / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize("made_earlier", [False, True], ids=["with a list", "without a list of files"])
def test_lost_files_are_made_again_with_the_folders_own_parameters(tmp_path, caplog, made_earlier):
    folder = minicity.write_minicity(tmp_path, train=3, val=2, height=64, width=128, seed=4, num_workers=1)
    before = snapshot(folder)
    if made_earlier:
        (folder / "files.json").unlink()
    lost = [*folder.glob("gtFine/train/*/*labelTrainIds.png"), next(folder.glob("leftImg8bit/val/*/*.png"))]
    lost += [folder / "gtFine" / "cityscapes_panoptic_train.json"]
    for path in lost:
        path.unlink()
    if not made_earlier:  # as many as were lost: a number of files alone would look right
        (folder / "my_notes").mkdir()
        for k in range(len(lost)):
            (folder / "my_notes" / f"{k}.txt").write_text("three weeks of work")
    edited = next(folder.glob("gtFine/val/*/*labelIds.png"))
    edited.write_bytes(b"edited by hand")
    assert minicity.ensure_minicity(tmp_path) == folder
    after = snapshot(folder)
    assert after.pop(str(edited.relative_to(folder))) == b"edited by hand"
    del before[str(edited.relative_to(folder))]
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == (set() if made_earlier else {f"my_notes/{k}.txt" for k in range(len(lost))})
    assert f"minicity: {len(lost) + made_earlier} files were missing" in caplog.text
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["minicity"]


def test_phrases_and_world_are_repaired_too(tmp_path):
    folders_made = (
        miniphrases.write_miniphrases(tmp_path, train=1, val=1, test=1, miniv=1, side=96, num_workers=1),
        miniworld.write_miniworld(tmp_path, train=1, val=1, height=64, width=128, num_workers=1),
    )
    for folder, ensure in zip(folders_made, (miniphrases.ensure_miniphrases, miniworld.ensure_miniworld)):
        before = snapshot(folder)
        next(folder.rglob("*.jpg")).unlink()
        ensure(tmp_path)
        assert snapshot(folder) == before


def test_a_folder_with_files_of_others_is_not_replaced(tmp_path):
    folder = minicity.write_minicity(tmp_path, train=1, val=1, height=64, width=128, num_workers=1)
    (folder / "notes.txt").write_text("mine")
    before = snapshot(folder)
    for reuse in (False, True):
        with pytest.raises(FileExistsError, match=r"minicity would be replaced, .* such as notes\.txt\. Fix:"):
            minicity.write_minicity(tmp_path, train=2, val=1, height=64, width=128, num_workers=1, reuse=reuse)
    (folder / "files.json").unlink()
    with pytest.raises(FileExistsError, match="would be replaced, but it holds .* files and not the"):
        (folder / "more.txt").write_text("mine")
        minicity.write_minicity(tmp_path, train=2, val=1, height=64, width=128, num_workers=1)
    assert {**before, "more.txt": b"mine"} == {**snapshot(folder), "files.json": before["files.json"]}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 10_000,
        '{"generator": "zsseg_d2.data.synthetic"}',
        '{"generator": "zsseg_d2.data.synthetic", "version": 1, "parameters": {"train": "1"}, "files": 3}',
        '{"generator": "zsseg_d2.data.synthetic", "version": 1, "parameters": [], "files": 3}',
        '{"generator": "zsseg_d2.data.synthetic", "version": 1, "parameters": {"n": 1}, "files": 3}',
        '{"generator": "zsseg_d2.data.synthetic", "version": 1, "parameters": {}, "files": NaN}',
    ],
)
def test_a_damaged_manifest_is_told_and_nothing_is_touched(tmp_path, content):
    folder = minicity.write_minicity(tmp_path, train=1, val=1, height=64, width=128, num_workers=1)
    (folder / "manifest.json").write_text(content)
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=r"minicity/manifest\.json: .*Fix: move or delete .*minicity"):
        minicity.ensure_minicity(tmp_path)
    assert {k: v for k, v in snapshot(tmp_path).items() if not k.endswith(".lock")} == {
        k: v for k, v in before.items() if not k.endswith(".lock")
    }
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(ValueError, match="is a device or a pipe"):
        minicity.ensure_minicity(tmp_path)
