"""What a suite checks before any work: which runs see ground truth of Out classes, and which datasets are missing."""

from __future__ import annotations

import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from tests.experiments import suite_stub
from zsseg_d2.data import register_cityscapes_panoptic
from zsseg_d2.data.panoptic.cityscapes_layout import CityscapesLayout
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.experiments.checks import check_configs, check_data
from zsseg_d2.experiments.leak_free import check_claims, find_leaks, find_unknown
from zsseg_d2.experiments.runs import make_jobs
from zsseg_d2.experiments.suite_file import load_suite

ZERO = {"name": "zero", "config": "minicity/zero_shot.yaml", "eval_only": True}
UPPER = {"name": "upper", "config": "minicity/full_finetune.yaml"}
LOWER = {"name": "lower", "config": "minicity/in_class_finetune.yaml"}
LABELS = {"name": "labels", "tool": "step.py", "config": "minicity/zero_shot.yaml", "seeds": "once"}
INVOCAB = {"name": "invocab", "config": "minicity/invocab.yaml", "needs": ["labels"]}
CITYSCAPES = "openvocab_cityscapes_fine_panoptic"


@pytest.fixture
def load(tmp_path):
    """``load(runs, **keys of the suite)`` -> suite, jobs, configs."""
    tools = suite_stub.write_tools(tmp_path / "tools")

    def make(*runs, **changes):
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump({"output": str(tmp_path / "out"), "runs": list(runs), **changes}))
        suite = load_suite(path, tools)
        jobs = make_jobs(suite)
        return suite, jobs, check_configs(suite.path, jobs, check=False)

    return make


def leaks(loaded):
    suite, jobs, configs = loaded
    return find_leaks(jobs, configs, suite.output)


def naive(of, name="naive"):
    weights = {"ZSSEG.MODEL_TWO.WEIGHTS": f"{{{of}}}/model_final.pth"}
    return {"name": name, "config": "minicity/naive.yaml", "eval_only": True, "options": weights}


def test_only_ground_truth_of_out_is_a_leak(load):
    found = leaks(load(ZERO, UPPER, LOWER, LABELS, INVOCAB, seeds=[1, 2]))
    assert found == {
        "upper": "it was trained on 'minicity_panoptic_train', with ground truth of person, rider, car, truck, bus, "
        "train, motorcycle, bicycle, which are Out in its evaluation"
    }


def test_a_run_inherits_what_it_builds_on(load):
    after = {**ZERO, "name": "after", "options": {"MODEL.WEIGHTS": "{taught}/model_final.pth"}}
    curve = {
        "name": "curve",
        "tool": "step.py",
        "config": "minicity/in_class_finetune.yaml",
        "needs": ["upper"],
        "curve": "curve.json",
        "curve_row": 0.5,
    }
    plain = {"name": "plain", "tool": "step.py", "arguments": ["{taught}"], "metrics": "panoptic_quality.json"}
    taught = {**LOWER, "name": "taught", "needs": ["naive"]}
    found = leaks(load(UPPER, LOWER, naive("upper"), naive("lower", "clean"), taught, after, curve, plain))
    assert set(found) == {"upper", "naive", "taught", "after", "curve", "plain"}
    assert found["after"].startswith("'upper', which it builds on, was trained on 'minicity_panoptic_train', with")


@pytest.mark.parametrize(
    ("training", "out", "seen"),
    [
        ("('minicity_panoptic_train_008',)", "[]", None),
        ("('minicity_panoptic_train_invocab_008',)", "[]", None),
        ("('minicity_panoptic_train_007',)", "[]", "ground truth of bicycle, which"),
        ("('minicity_panoptic_train_invocab_007',)", "[]", "ground truth of bicycle, which"),
        ("('minicity_panoptic_train_008', 'minicity_panoptic_train')", "[]", "ground truth of person"),
        ("('minicity_panoptic_train_003',)", "['person', 'rider', 26]", None),
        ("('minicity_panoptic_train_008',)", "['sky']", "ground truth of sky, which"),
        ("('miniworld_panoptic_train',)", "[]", None),  # other classes: a pre-training
    ],
)
def test_which_classes_are_out(load, training, out, seen):
    options = {"DATASETS.TRAIN": training, "ZSSEG.OUT_CLASSES": out}
    found = leaks(load({**LOWER, "options": options})).get("lower")
    assert found is None if seen is None else seen in found


def test_weights_from_outside_are_asked_for_their_training(load, tmp_path):
    (tmp_path / "model.pth").write_text("")
    run = {**ZERO, "options": {"MODEL.WEIGHTS": str(tmp_path / "model.pth")}}
    assert leaks(load(run)) == {}
    suite, jobs, configs = load(run, {**LOWER, "name": "after", "needs": ["zero"]}, UPPER)
    assert find_unknown(jobs, configs, suite.output) == dict.fromkeys(("zero", "after"), str(tmp_path / "model.pth"))
    (tmp_path / "config.yaml").write_text("DATASETS: {TRAIN: [minicity_panoptic_train]}")
    assert "it was trained on 'minicity_panoptic_train'" in leaks(load(run))["zero"]
    assert leaks(load({**run, "options": {"MODEL.WEIGHTS": str(tmp_path / "gone" / "model.pth")}})) == {}


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([UPPER, LOWER], None),
        ([{**UPPER, "leak_free": False}, {**LOWER, "leak_free": True}], None),
        (
            [{**UPPER, "leak_free": True}],
            "run 'upper' has `leak_free: true`, but it was trained on 'minicity_panoptic_train'",
        ),
        ([{**LOWER, "leak_free": False}], "run 'lower' has `leak_free: false`, but no training set"),
        (
            [UPPER, {**naive("upper"), "leak_free": True}],
            "'naive' has `leak_free: true`, but 'upper', which it builds on, was",
        ),
        (
            [UPPER, {"name": "again", "of": "upper", "leak_free": True}],
            "run 'again' has `leak_free: true`, but it was",
        ),
    ],
)
def test_claims_are_compared(load, runs, told):
    loaded = load(*runs)
    if told is None:
        check_claims(loaded[0], leaks(loaded))
    else:
        with pytest.raises(ConfigError, match=told):
            check_claims(loaded[0], leaks(loaded))


def test_a_report_tells_mistakes_of_unchecked_configs(load):
    with pytest.raises(ConfigError, match="run 'zero': ZSSEG.OUT_CLASSES=.*There is no class 'skye'"):
        leaks(load({**ZERO, "options": {"ZSSEG.OUT_CLASSES": "['skye']"}}))
    assert leaks(load({**ZERO, "options": {"MODEL.META_ARCHITECTURE": "Nothing"}})) == {}


# datasets


def check(loaded):
    _, jobs, configs = loaded
    check_data(jobs, configs)


def reading(key, dataset, **changes):
    return {**LOWER, "options": {key: f"('{dataset}',)"}, **changes}


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    folder = tmp_path / "nowhere"
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    for name, split in ((f"{CITYSCAPES}_val", "val"), (f"{CITYSCAPES}_train_008", "train")):
        metadata = vars(MetadataCatalog.get(name))  # says where another test loaded the set from
        for key, place in CityscapesLayout().paths(folder / "cityscapes", split).as_metadata().items():
            monkeypatch.setitem(metadata, key, place)
    return folder


def test_a_missing_data_set_is_one_sentence(load, nowhere):
    with pytest.raises(ConfigError) as error:
        check(load(LOWER, reading("DATASETS.TEST", f"{CITYSCAPES}_val", name="b")))
    told = str(error.value)
    assert told.startswith(f"run 'b': DATASETS.TEST: {CITYSCAPES}_val: There is no folder {nowhere / 'cityscapes'}")
    assert "set DETECTRON2_DATASETS" in told and "\n" not in told
    with pytest.raises(ConfigError, match=f"run 'lower': DATASETS.TRAIN: {CITYSCAPES}_train_008: There is no folder"):
        check(load(reading("DATASETS.TRAIN", f"{CITYSCAPES}_train_008")))


def test_what_is_rendered_or_not_read_need_not_be_there(load, nowhere):
    evaluation = {**ZERO, "options": {"DATASETS.TRAIN": f"('{CITYSCAPES}_train',)"}}  # of which only the names are read
    step = {**LABELS, "options": {"DATASETS.TEST": f"('{CITYSCAPES}_val',)"}}  # which looks for itself
    check(
        load(
            ZERO, LOWER, evaluation | {"name": "e"}, step, reading("DATASETS.TEST", "miniworld_panoptic_val", name="w")
        )
    )
    assert not nowhere.exists()


def test_what_a_step_makes_need_not_be_there(load, nowhere, monkeypatch):
    folder = nowhere / "minicity_pseudo_labels_008"
    metadata = vars(
        MetadataCatalog.get("minicity_panoptic_train_pseudo_labels_008")
    )  # as of the import, when there may be labels
    for key, place in CityscapesLayout().paths(folder, "train").as_metadata().items():
        monkeypatch.setitem(metadata, key, place)
    for place in (f"{folder}/manifest.json", folder):
        check(load({**LABELS, "result": str(place)}, INVOCAB, {**INVOCAB, "name": "b", "needs": ["invocab"]}))
    check(load(LABELS, INVOCAB))  # it does not say what it makes
    for runs in ([{**INVOCAB, "needs": []}], [{**LABELS, "result": f"{folder}_2/manifest.json"}, INVOCAB]):
        with pytest.raises(
            ConfigError,
            match="'invocab': DATASETS.TRAIN: minicity_panoptic_train_pseudo_labels_008: There are no pseudo-",
        ):
            check(load(*runs))


def test_a_data_set_is_looked_at_once_and_not_loaded(load, tmp_path, monkeypatch):
    name, root = "test_suite_checks_train", tmp_path / "mine"
    register_cityscapes_panoptic(name, root, "train", deleted="008")
    loaded = load(reading("DATASETS.TRAIN", name), reading("DATASETS.TRAIN", name, name="b"), seeds=[1, 2])
    try:
        with pytest.raises(ConfigError, match="There is no folder"):
            check(loaded)
        (root / "gtFine" / "cityscapes_panoptic_train").mkdir(parents=True)
        (root / "leftImg8bit" / "train").mkdir(parents=True)
        with pytest.raises(ConfigError, match="cityscapes_panoptic_train.json are missing"):
            check(loaded)
        (root / "gtFine" / "cityscapes_panoptic_train.json").write_text("not read")
        check(loaded)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
