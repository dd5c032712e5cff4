"""PhraseCut's files: records, splits, the skip list, and a message for everything that may be wrong."""

from __future__ import annotations

import gc
import json
import tracemalloc

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.tiny_phrasecut import SQUARE, H, W, make_tiny_phrasecut, task
from zsseg_d2.data import DatasetError, load_phrasecut, register_phrasecut
from zsseg_d2.data.phrasecut import json_stream
from zsseg_d2.data.phrasecut.folder import WRONG_SIZE_IMAGES, load_word_counts
from zsseg_d2.data.phrasecut.json_stream import iterate_json_list

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_a_record_holds_what_models_and_evaluators_need(tmp_path):
    root = make_tiny_phrasecut(tmp_path, test=[task(), task(ann_id=11, phrase="bus"), task(image_id=2)])
    first, second, third = load_phrasecut(root, "test")
    polygons = first.pop("polygons")
    assert first == {
        "file_name": str(root / "images" / "1.jpg"),
        "image_id": 1,
        "height": H,
        "width": W,
        "coco_id": 9,
        "task_id": "1__10",
        "phrase": "red car",
        "ann_ids": (10,),
        "phrase_structure": {
            "name": "car",
            "attributes": ["red"],
            "relation_ids": [7],
            "relation_descriptions": [["on", "road"]],
            "type": "name",
        },
    }
    assert polygons.mask(H, W).sum() == 25
    assert (second["task_id"], second["phrase"]) == ("1__11", "bus") and third["coco_id"] is None
    assert gc.isenabled()


def test_one_record_an_image(tmp_path):
    tasks = [task(ann_id=1), task(image_id=2), task(ann_id=2)]
    records = load_phrasecut(make_tiny_phrasecut(tmp_path, test=tasks), "test", by_image=True)
    assert [(r["image_id"], [t["task_id"] for t in r["tasks"]]) for r in records] == [
        (1, ["1__1", "1__2"]),
        (2, ["2__10"]),
    ]
    assert set(records[0]) == {"file_name", "image_id", "height", "width", "coco_id", "tasks"}
    assert set(records[0]["tasks"][0]) == {"task_id", "phrase", "phrase_structure", "ann_ids", "polygons"}


def test_skipped_tasks_are_left_out(tmp_path):
    tasks = [task(ann_id=n) for n in range(4)]
    skip = [{"task_id": "1__0", "reason": "Other"}, "1__2", {"task_id": "5__5"}, {"no": "id"}]
    records = load_phrasecut(make_tiny_phrasecut(tmp_path, skip=skip, test=tasks), "test")
    assert [r["task_id"] for r in records] == ["1__1", "1__3"]


def test_val_goes_without_miniv(tmp_path):
    root = make_tiny_phrasecut(tmp_path, val=[task(1), task(2)], miniv=[task(1, 77)])
    assert [r["task_id"] for r in load_phrasecut(root, "val")] == ["2__10"]
    assert [r["task_id"] for r in load_phrasecut(root, "miniv")] == ["1__77"]
    assert [r["task_id"] for r in load_phrasecut(root, "val_miniv")] == ["2__10", "1__77"]


def test_images_annotated_at_another_size_are_not_trained_on(tmp_path):
    odd = min(WRONG_SIZE_IMAGES)
    root = make_tiny_phrasecut(tmp_path, train=[task(odd), task(4)], test=[task(odd)])
    assert [r["image_id"] for r in load_phrasecut(root, "train")] == [4]
    assert [r["image_id"] for r in load_phrasecut(root, "test")] == [odd]


def test_a_phrase_without_structure_is_its_own_name(tmp_path):
    tasks = [task(phrase_structure=None), task(ann_id=2, phrase_structure={"name": "cup", "attributes": None})]
    first, second = load_phrasecut(make_tiny_phrasecut(tmp_path, test=tasks), "test")
    assert first["phrase_structure"]["name"] == "red car" and second["phrase_structure"]["attributes"] == []


BAD_TASKS = {
    "a polygon with NaN": ({"Polygons": [[[[1, 2], [float("nan"), 3]]]]}, "1__10.*NaN or infinite"),
    "an infinite polygon": ({"Polygons": [[[[1, 2], [float("inf"), 3]]]]}, "1__10.*NaN or infinite"),
    "no polygons": ({"Polygons": None}, "1__10.*nested as"),
    "an empty phrase": ({"phrase": "  "}, "1__10.*'phrase' is empty"),
    "no phrase": ({"phrase": None}, "1__10.*'phrase' is empty"),
    "no image id": ({"image_id": "1"}, "1__10.*'image_id' is of the wrong type .expected int, got str"),
    "ids of another type": ({"ann_ids": ["a"]}, r"1__10.*'ann_ids\[0\]'"),
    "a structure of another type": ({"phrase_structure": [1]}, "1__10.*'phrase_structure' is of the wrong type"),
    "a name of another type": (
        {"phrase_structure": {"name": 3}},
        "1__10.*'phrase_structure.name' is of the wrong type",
    ),
    "relations of another type": (
        {"phrase_structure": {"relation_descriptions": [["on"]]}},
        "1__10.*relation_descriptions.*array of length 2",
    ),
    "attributes of another type": (
        {"phrase_structure": {"attributes": [1]}},
        r"1__10.*'phrase_structure.attributes\[0\]' is of the wrong type",
    ),
    "no task id": ({"task_id": None}, "number 0.*'task_id'"),
    "a task id that leads elsewhere": ({"task_id": "../x"}, "'../x'.*cannot be the name of a file"),
}


@pytest.mark.parametrize("change, message", BAD_TASKS.values(), ids=BAD_TASKS)
def test_a_wrong_task_is_named_with_its_file_and_a_remedy(tmp_path, change, message):
    root = make_tiny_phrasecut(tmp_path, test=[task()])
    (root / "refer_test.json").write_text(json.dumps([task(**change)]))
    with pytest.raises(DatasetError, match=rf"refer_test.json: task .*{message}.*prepare_phrasecut.py check"):
        load_phrasecut(root, "test")


def test_ids_images_and_splits_must_be_known(tmp_path):
    root = make_tiny_phrasecut(tmp_path, test=[task(), task()])
    with pytest.raises(DatasetError, match="1__10.*same id"):
        load_phrasecut(root, "test")
    (root / "refer_test.json").write_text(json.dumps([task(image_id=5)]))
    with pytest.raises(DatasetError, match="5__10.*image 5 is not in image_data_split.json"):
        load_phrasecut(root, "test")
    (root / "refer_test.json").write_text(json.dumps([task()]))
    (root / "images" / "1.jpg").unlink()
    with pytest.raises(DatasetError, match="1__10.*no image .*1.jpg"):
        load_phrasecut(root, "test")
    for split in ("testing", "", "val_val"):
        with pytest.raises(DatasetError, match=f"no split '{split}'; choose train, val, test, miniv"):
            load_phrasecut(root, split)
    with pytest.raises(DatasetError, match="refer_train.json is missing.*datasets/README"):
        load_phrasecut(root, "train")
    (root / "refer_test.json").write_text("[]")
    with pytest.raises(DatasetError, match="no task of the split 'test'"):
        load_phrasecut(root, "test")


@pytest.mark.parametrize("text", ["", "{}", "[", '[{"a": 1}', "[1,]", "[1 2]", '[{"a": }]', "nothing", "\xff", "[[[[["])
def test_malformed_json_is_named(tmp_path, text):
    root = make_tiny_phrasecut(tmp_path, test=[task()])
    for name in ("refer_test.json", "image_data_split.json", "skip.json", "name_att_rel_count.json"):
        kept = (root / name).read_bytes() if (root / name).exists() else None
        (root / name).write_text(text, encoding="latin-1")
        with pytest.raises(DatasetError, match=rf"{name}.*download it again"):
            load_word_counts(root) if "count" in name else load_phrasecut(root, "test")
        (root / name).unlink() if kept is None else (root / name).write_bytes(kept)
    (root / "image_data_split.json").write_text('[{"image_id": 1, "height": 0, "width": 3, "split": "test"}]')
    with pytest.raises(DatasetError, match=r"'\[0\].height' is of the wrong type .expected int >= 1"):
        load_phrasecut(root, "test")


def test_word_counts_come_in_order(tmp_path):
    root = make_tiny_phrasecut(tmp_path, test=[task()])
    assert load_word_counts(root) == {"cat": {"car": 3, "bus": 1}, "att": {"red": 2}, "rel": {"on": 1}}


@settings(max_examples=60, deadline=None)
@given(st.lists(JSON_VALUES, max_size=8), st.integers(1, 9), st.booleans())
def test_streaming_reads_what_json_reads(tmp_path_factory, values, piece, spaced):
    path = tmp_path_factory.mktemp("json") / "list.json"
    path.write_text(json.dumps(values, indent=2 if spaced else None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "PIECE", piece)
        assert list(iterate_json_list(path, "x")) == values


def test_records_are_small(tmp_path):
    """The largest file has 310,816 tasks, with some fifty points each."""
    polygon = [[float(n % 30), float(n % 20)] for n in range(50)]
    root = make_tiny_phrasecut(tmp_path, test=[task(ann_id=n, polygons=[[polygon]]) for n in range(2000)])
    tracemalloc.start()
    records = load_phrasecut(root, "test")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(records) == 2000 and held < 2000 * 2200 and peak < held + 20e6


def test_registered_names_look_where_the_variable_says(tmp_path, monkeypatch):
    root = make_tiny_phrasecut(tmp_path, miniv=[task()])
    assert {f"{d}_{s}" for d in ("phrasecut", "miniphrases") for s in ("train", "val", "test", "miniv")} <= set(
        DatasetCatalog.list()
    )
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert len(DatasetCatalog.get("phrasecut_miniv")) == 1
    metadata = MetadataCatalog.get("phrasecut_miniv")
    assert metadata.evaluator_type == "zsseg_referring" and metadata.root == str(root) and metadata.split == "miniv"
    with pytest.raises(DatasetError, match="no split"):
        register_phrasecut("phrasecut_other", root, "other")


def test_registering_by_image_prepares_first(tmp_path):
    prepared = []
    register_phrasecut(
        "tiny_phrases", make_tiny_phrasecut(tmp_path, test=[task()]), "test", by_image=True, prepare=prepared.append
    )
    try:
        assert [len(r["tasks"]) for r in DatasetCatalog.get("tiny_phrases")] == [1] and prepared == [
            tmp_path / "VGPhraseCut_v0"
        ]
    finally:
        DatasetCatalog.remove("tiny_phrases")
        MetadataCatalog.remove("tiny_phrases")


def test_polygons_beyond_the_image_are_cut_off(tmp_path):
    far = [[[[-50, -50], [9, -50], [9, 4], [-50, 4]]]]
    (record,) = load_phrasecut(make_tiny_phrasecut(tmp_path, test=[task(polygons=far)]), "test")
    mask = record["polygons"].mask(H, W)
    assert mask[:5, :10].all() and mask.sum() == 50 and record["polygons"].outside(H, W) == 1
    assert SQUARE[0][0][0] == [2, 2]


def test_wrong_tasks_are_left_out_of_training_and_counted(tmp_path, caplog):
    """Scores are of all tasks or of none, so the other splits refuse."""
    tasks = [task(), task(ann_id=11, polygons=[[[[float("nan"), 2], [6, 2], [6, 6]]]]), task(ann_id=12, phrase=" ")]
    root = make_tiny_phrasecut(tmp_path, train=tasks, test=[{**t, "task_id": f"t{t['task_id']}"} for t in tasks])
    assert [r["task_id"] for r in load_phrasecut(root, "train")] == ["1__10"]
    (line,) = [r.getMessage() for r in caplog.records if r.name == "zsseg_d2.data.phrasecut.dataset"]
    assert "2 tasks are left out" in line and "1__11" in line and "prepare_phrasecut.py check" in line
    with pytest.raises(DatasetError, match="t1__11.*or name the task in skip.json"):
        load_phrasecut(root, "test")


def test_the_image_table_under_its_name_of_the_drive(tmp_path):
    root = make_tiny_phrasecut(tmp_path, test=[task()])
    (root / "image_data_split.json").rename(root / "image_data_split3000.json")
    assert len(load_phrasecut(root, "test")) == 1
