"""MiniPhrases: its files, its outlines, and that every phrase fits its truth and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from zsseg_d2.cli import make_miniphrases as tool
from zsseg_d2.data import load_phrasecut, polygons_to_mask
from zsseg_d2.data.phrasecut.check import check_phrasecut
from zsseg_d2.data.phrasecut.folder import SPLITS, load_word_counts
from zsseg_d2.data.synthetic import ensure_miniphrases, folders, write_miniphrases
from zsseg_d2.data.synthetic.claims import RELATIONS, Claim, Relation
from zsseg_d2.data.synthetic.miniphrases import SPLIT_SEEDS, tasks_of
from zsseg_d2.data.synthetic.outlines import trace
from zsseg_d2.data.synthetic.phrase_scenes import View, ViewObject, render_view
from zsseg_d2.data.synthetic.phrases import compose, make_phrases, plural

SIZES = {"train": 4, "val": 2, "test": 2, "miniv": 1}
SEEDS = range(SPLIT_SEEDS["val"], SPLIT_SEEDS["val"] + 12)


@pytest.fixture(scope="module")
def views() -> list[tuple[View, list]]:
    return [(view, make_phrases(view, np.random.default_rng(seed))) for seed in SEEDS for view in [render_view(seed)]]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_miniphrases(tmp_path_factory.mktemp("data"), **SIZES, side=128, num_workers=1)


def thing(index: int, kind: str = "car", x: int = 0, depth: float = 9.0, **changes) -> ViewObject:
    """A clear thing 20 pixels wide."""
    values = {"colour": "red", "size": "medium", "is_thing": True, "crowd": False, "clear": True} | changes
    return ViewObject(index=index, kind=kind, box=(x, 10, x + 20, 30), depth=depth, **values)


def view_of(*objects: ViewObject, width: int = 100) -> View:
    index = np.zeros((width, width), np.int32)
    for o in objects:
        x0, y0, x1, y1 = o.box
        index[y0:y1, x0:x1] = o.index
    return View(np.zeros((width, width, 3), np.uint8), index, objects)


def texts(*objects: ViewObject) -> dict[str, tuple]:
    found = make_phrases(view_of(*objects), np.random.default_rng(0), most=100)
    return {phrase.text: phrase.instances for phrase in found}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 3), st.floats(0.05, 0.95))
def test_outlines_give_the_mask_back(seed, blur, share):
    noise = np.random.default_rng(seed).normal(size=(30, 40))
    noise = ndimage.gaussian_filter(noise, blur)
    mask = noise > np.quantile(noise, share)
    np.testing.assert_array_equal(polygons_to_mask([trace(mask)], 30, 40), mask)


def test_outlines_of_holes_pixels_and_nothing():
    ring = np.zeros((20, 20), bool)
    ring[3:15, 2:18] = True
    ring[6:9, 5:8] = ring[10:12, 12:14] = False
    ring[0, 19] = ring[19, 0] = True
    np.testing.assert_array_equal(polygons_to_mask([trace(ring)], 20, 20), ring)
    assert trace(np.zeros((4, 4), bool)) == []
    full = np.ones((4, 6), bool)
    (outline,) = trace(full)
    assert sorted(outline) == [[0, 0], [0, 3], [5, 0], [5, 3]]


def test_polygons_give_the_visible_masks_back(views):
    for view, phrases in views:
        for phrase, task in zip(phrases, tasks_of(7, view.index, phrases), strict=True):
            visible = np.isin(view.index, sum(phrase.instances, ()))
            drawn = polygons_to_mask(task["Polygons"], *view.index.shape)
            assert (drawn & visible).sum() >= 0.95 * (drawn | visible).sum()
            assert len(task["Polygons"]) == len(task["instance_boxes"]) == len(task["ann_ids"]) == len(phrase.instances)
            for instance, (x, y, w, h) in zip(phrase.instances, task["instance_boxes"]):
                rows, columns = ndimage.find_objects(np.isin(view.index, instance).astype(int))[0]
                assert (x, y, x + w, y + h) == (columns.start, rows.start, columns.stop, rows.stop)


def fits(structure: dict, o: ViewObject, view: View) -> bool:
    """Whether an object might be meant, read from the phrase's structure anew and in doubt in favour of the object."""
    names = {o.kind, plural(o.kind)} | ({"person", "people"} if o.kind == "rider" else set())
    if structure["name"] not in names:
        return False
    side = view.index.shape[1]
    for attribute in structure["attributes"]:
        if attribute in ("small", "large"):
            if o.size != attribute and not (11 < o.depth < 13 if attribute == "small" else 7 < o.depth < 8.5):
                return False
        elif attribute.startswith("on the "):
            if (o.centre < side / 2) != (attribute == "on the left"):
                return False
        elif o.colour not in (attribute, None):
            return False
    for predicate, other in structure["relation_descriptions"]:
        (reference,) = [r for r in view.objects if r.kind == other]
        shares_columns = o.box[0] < reference.box[2] and reference.box[0] < o.box[2]
        holds = {
            "left of the": o.centre < reference.centre,
            "right of the": o.centre > reference.centre,
            "in front of the": shares_columns and o.depth < reference.depth,
            "behind the": shares_columns and o.depth > reference.depth,
        }
        if not holds[predicate]:
            return False
    return True


def test_nothing_but_the_truth_fits_a_phrase(views):
    checked = 0
    for view, phrases in views:
        assert len({phrase.text for phrase in phrases}) == len(phrases)
        for phrase in phrases:
            meant = {index for instance in phrase.instances for index in instance}
            assert meant == {o.index for o in view.objects if fits(phrase.structure, o, view)}, phrase.text
            checked += 1
    assert checked >= 60


def test_phrases_are_of_every_form_and_number(views):
    phrases = [phrase for _, some in views for phrase in some]
    assert {"name", "colour", "size", "position", "relation"} <= {p.form for p in phrases}
    assert {1, 2} <= {len(p.instances) for p in phrases}
    assert {"name", "attribute", "relation"} <= {p.structure["type"] for p in phrases}
    for p in phrases:
        assert p.text == compose(p.structure["name"], p.structure["attributes"], p.structure["relation_descriptions"])


def test_words_stand_where_they_belong():
    assert compose("car", ["red", "small"], [["left of the", "bus"]]) == "small red car left of the bus"
    assert compose("people", ["on the left"], []) == "people on the left"
    assert [plural(n) for n in ("car", "bus", "person", "sheep", "traffic light")] == [
        "cars",
        "buses",
        "people",
        "sheep",
        "traffic lights",
    ]


def test_number_and_colour_tell_apart():
    found = texts(thing(1, x=5), thing(2, x=40, colour="blue"), thing(3, x=75))
    assert found["cars"] == ((1,), (2,), (3,)) and found["red cars"] == ((1,), (3,)) and found["blue car"] == ((2,),)
    assert "car" not in found and "red car" not in found


def test_an_object_in_doubt_rules_the_phrase_out():
    found = texts(thing(1, x=5), thing(2, x=75, colour=None))
    assert "cars" in found and "car on the left" in found and not [t for t in found if "red" in t]
    found = texts(thing(1, x=5), thing(2, x=75, clear=False))
    assert "cars" not in found and "car" not in found and "car on the left" in found
    riding = texts(thing(1, "person", x=5), thing(2, "rider", x=75, colour="blue"))
    assert "person" not in riding and "red person" in riding
    crowd = texts(thing(1, "person", crowd=True, colour=None))
    assert list(crowd) == ["people"]


def test_sizes_need_a_gap():
    near, far, between = (
        thing(1, depth=5, size="large"),
        thing(2, depth=15, size="small"),
        thing(3, depth=12.5, size="medium"),
    )
    assert Claim("car", size="large").truth([near, far], 100) == (1,) and Claim("car", size="small").truth(
        [near, far], 100
    ) == (2,)
    assert Claim("car", size="small").truth([near, far, between], 100) is None


def test_places_relative_to_the_only_one_of_a_kind():
    bus = thing(9, "bus", x=40, depth=8)
    left, right, front, edge = thing(1, x=5), thing(2, x=75), thing(3, x=45, depth=6), thing(4, x=35, depth=12)

    def held(o: ViewObject) -> list:
        return [Claim("car", relation=Relation(p, bus)).holds(o, 100) for p in RELATIONS]

    assert held(left) == [True, False, False, False]
    assert held(right) == [False, True, False, False]
    assert held(front) == [False, None, True, False]
    assert held(edge) == [None, False, False, True]
    both = texts(bus, left, thing(8, "bus", x=75, colour="blue"))
    assert not any("of the bus" in text for text in both)


def test_the_folder_has_the_official_layout(written):
    assert {p.name for p in written.iterdir()} == {
        "images",
        "manifest.json",
        "files.json",
        "image_data_split.json",
        "name_att_rel_count.json",
        "skip.json",
        *(f"refer_{split}.json" for split in SPLITS),
    }
    reports = check_phrasecut(written, progress=False, decode=True)
    assert [(r.split, r.images, r.wrong, r.notes) for r in reports] == [(s, SIZES[s], {}, {}) for s in SPLITS]
    counts = load_word_counts(written)
    records = [r for split in SPLITS for r in load_phrasecut(written, split)]
    assert sum(counts["cat"].values()) == len(records) and list(counts["cat"].values()) == sorted(
        counts["cat"].values(), reverse=True
    )
    for r in records:
        assert r["task_id"] == f"{r['image_id']}__" + "_".join(map(str, r["ann_ids"]))
        assert Image.open(r["file_name"]).size == (128, 128) == (r["width"], r["height"])
        assert len(r["phrase_structure"]["relation_ids"]) == len(r["phrase_structure"]["relation_descriptions"])
    forms = json.loads((written / "manifest.json").read_text())["splits"]["train"]["forms"]
    assert sum(forms.values()) == sum(r["image_id"] in range(600_000, 700_000) for r in records)


def test_an_image_has_several_regions(written):
    """A model that ignores the phrase must fail."""
    images = [image["tasks"] for split in SPLITS for image in load_phrasecut(written, split, by_image=True)]
    assert all(len(tasks) >= 4 for tasks in images)
    assert sum(len({task["polygons"] for task in tasks}) >= 3 for tasks in images) >= 8


def test_seeds_decide_everything(written, tmp_path):
    again = write_miniphrases(tmp_path, **SIZES, side=128, num_workers=2)
    for path in (p for p in written.rglob("*") if p.is_file()):
        assert (again / path.relative_to(written)).read_bytes() == path.read_bytes()
    other = write_miniphrases(tmp_path, train=2, val=0, test=0, miniv=0, side=128, seed=1, num_workers=1)
    assert (other / "refer_train.json").read_bytes() != (written / "refer_train.json").read_bytes()
    assert json.loads((other / "refer_val.json").read_text()) == []


def test_a_complete_folder_is_kept_and_a_foreign_one_refused(tmp_path):
    folder = write_miniphrases(tmp_path, train=1, val=0, test=0, miniv=0, side=64, num_workers=1)
    before = folders.read_manifest(folder)
    assert ensure_miniphrases(tmp_path) == folder and folders.read_manifest(folder) == before
    (tmp_path / "b" / "miniphrases").mkdir(parents=True)
    (tmp_path / "b" / "miniphrases" / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="another root"):
        ensure_miniphrases(tmp_path / "b")


@pytest.mark.parametrize("counts", [{"train": -1}, {"train": 0, "val": 0, "test": 0, "miniv": 0}, {"train": 10**6}])
def test_impossible_numbers_are_refused(tmp_path, counts):
    with pytest.raises(ValueError, match="out of range"):
        write_miniphrases(tmp_path, **counts)


def test_registered_names_make_it_at_the_first_use(tmp_path, monkeypatch):
    made = []

    def small(root: Path) -> None:
        made.append(write_miniphrases(root, train=1, val=1, test=0, miniv=0, side=64, num_workers=1, reuse=True))

    monkeypatch.setattr("zsseg_d2.data.synthetic.ensure_miniphrases", small)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert DatasetCatalog.get("miniphrases_train") and made == [tmp_path / "miniphrases"]


def test_the_tool_makes_it_and_draws_a_sheet(tmp_path, capsys):
    few = ["--train", "1", "--val", "0", "--test", "0", "--miniv", "0", "--side", "64", "--num-workers", "1"]
    assert tool.main(["--root", str(tmp_path), *few]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "miniphrases")
    assert tool.main(["--preview", str(tmp_path / "sheet.png"), "--side", "64"]) == 0
    assert Image.open(tmp_path / "sheet.png").width == 7 * 64
    with pytest.raises(SystemExit, match="^error: "):
        tool.main(["--root", str(tmp_path), "--train", "-1"])
