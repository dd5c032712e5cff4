"""Pseudo-labels from the command line to the training loader: files, leaks, restarts, several processes, refusals."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as oracle
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from scipy import ndimage

from zsseg_d2 import add_zsseg_config
from zsseg_d2.cli import make_pseudo_labels as tool
from zsseg_d2.data import DatasetError, check_segments, read_panoptic_png
from zsseg_d2.data.panoptic.cityscapes import CATEGORIES, CITYSCAPES
from zsseg_d2.data.panoptic.mapper import PanopticMapper
from zsseg_d2.data.pseudo_labels.targets import Thresholds
from zsseg_d2.data.pseudo_labels.writer import PseudoLabelSet
from zsseg_d2.engine import CheckpointError, ConfigError
from zsseg_d2.engine.pseudo_labeling.labeling import (
    Labelling,
    make_pseudo_labels,
    read_summary,
    run_labelling,
    summary_table,
)

from . import tiny_labeller
from .tiny_labeller import arguments

THINGS = {24, 25, 26, 27, 28, 31, 32, 33}
REGISTERED = "openvocab_cityscapes_fine_panoptic_train_pseudo_labels_008"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    tiny_labeller.prepare(folder)
    return folder


@pytest.fixture
def datasets(source, tmp_path, monkeypatch):
    """A folder of data sets with a Cityscapes of four images, and the weights."""
    folder = tmp_path / "datasets"
    shutil.copytree(source, folder)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    tiny_labeller.SEEN.clear()
    return folder


@pytest.fixture
def labelled(datasets):
    """The same, with pseudo-labels of configuration 008 in their default place."""
    make_pseudo_labels(arguments(datasets))
    tiny_labeller.SEEN.clear()
    return datasets


def snapshot(folder: Path) -> dict:
    """Return contents and link targets; the manifest without the time and paths of this test's folder."""
    found = {
        str(p.relative_to(folder)): str(p.readlink()) if p.is_symlink() else p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_symlink() or p.is_file()
    }
    if "manifest.json" in found:
        manifest = json.loads(found["manifest.json"])
        manifest["splits"]["train"] |= {"weights": None, "seconds": None}
        found["manifest.json"] = manifest
    return found


def output(datasets: Path) -> Path:
    return datasets / "cityscapes_pseudo_labels_008"


def manifest(datasets: Path) -> dict:
    return json.loads((output(datasets) / "manifest.json").read_text())["splits"]["train"]


def test_an_ordinary_data_set_with_score_and_origin(labelled):
    records, complete = DatasetCatalog.get(REGISTERED), DatasetCatalog.get("openvocab_cityscapes_fine_panoptic_train")
    assert [r["image_id"] for r in records] == [r["image_id"] for r in complete] and len(records) == 4
    written = json.loads((output(labelled) / "gtFine" / "cityscapes_panoptic_train.json").read_text())
    origins = {"ground_truth": 0, "zero_shot": 0}
    for record, whole, annotation in zip(records, complete, written["annotations"]):
        assert Path(record["file_name"]).is_symlink()
        assert Path(record["file_name"]).read_bytes() == Path(whole["file_name"]).read_bytes()
        ids, before = (read_panoptic_png(r["pan_seg_file_name"]) for r in (record, whole))
        check_segments(ids, record["segments_info"], "png")
        kept = [s for s in whole["segments_info"] if CATEGORIES[s["category_id"]].id not in THINGS]
        assert record["segments_info"][: len(kept)] == kept
        ground_truth = np.isin(before, [s["id"] for s in kept])
        assert np.array_equal(ids[ground_truth], before[ground_truth])
        for segment in annotation["segments_info"]:
            origins[segment["origin"]] += 1
            assert (segment["category_id"] in THINGS) == (segment["origin"] == "zero_shot")
            assert segment["score"] is None if segment["origin"] == "ground_truth" else 0.2 <= segment["score"] <= 1
            assert segment["area"] == (ids == segment["id"]).sum()
    assert origins["zero_shot"] > 10 and manifest(labelled)["segments"] == origins


@pytest.mark.parametrize("name", ["images", "segments", "mean_score", "origin"])
def test_a_damaged_summary_is_told(labelled, name):
    entry = manifest(labelled)
    assert "rider" in summary_table(read_summary(entry, output(labelled)))
    entry["classes"]["rider"].pop(name)
    with pytest.raises(DatasetError, match=rf"manifest.json: 'classes.*{name}.*Fix: give --overwrite"):
        read_summary(entry, output(labelled))


def test_the_manifest_says_how_it_was_made(labelled):
    entry = manifest(labelled)
    assert (entry["configuration"], entry["images"], entry["kind"]) == ("008", 4, "pseudo_labels")
    assert entry["weights"] == {"MODEL.WEIGHTS": str(labelled / "weights.pth")} and entry["train_with"] == REGISTERED
    made = entry["arguments"]
    assert made["thresholds"] == {"min_score": 0.2, "min_area": 32, "min_visible": 0.1}
    assert set(made["deleted_label_ids"]) == THINGS and len(made["vocabulary"]) == 19
    assert (
        made["settings"]["MODEL.META_ARCHITECTURE"] == "TinyLabeller" and made["settings"]["INPUT.MIN_SIZE_TEST"] == 20
    )
    assert len(made["weights_sha256"]["MODEL.WEIGHTS"]) == 64
    assert entry["provenance"]["step"]["parents"] == [made["weights_sha256"]["MODEL.WEIGHTS"]]
    car = entry["classes"]["car"]
    assert isinstance(entry["seconds"], float) and entry["seconds"] < 600
    assert car["origin"] == "zero_shot" and 0 < car["images"] <= car["segments"] and 0.2 <= car["mean_score"] <= 1
    assert entry["classes"]["road"]["origin"] == "ground_truth" and entry["classes"]["road"]["mean_score"] is None


def test_ground_truth_of_deleted_classes_changes_no_byte(labelled):
    before = snapshot(output(labelled))
    shutil.rmtree(output(labelled))
    tiny_labeller.change_deleted_labels(labelled / "cityscapes", THINGS, np.random.default_rng(0))
    changed = DatasetCatalog.get("openvocab_cityscapes_fine_panoptic_train")
    assert {s["id"] % 1000 for r in changed for s in r["segments_info"] if s["isthing"]} == {0, 7}
    make_pseudo_labels(arguments(labelled))
    assert snapshot(output(labelled)) == before


def test_the_loader_makes_targets_of_all_classes(labelled):
    cfg = get_cfg()
    add_zsseg_config(cfg)
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", (40,), "INPUT.RANDOM_FLIP", "none"])
    mapper = PanopticMapper(cfg, training=True)
    for record in DatasetCatalog.get(REGISTERED):
        instances = mapper(record)["instances"]
        assert instances.gt_classes.tolist() == [s["category_id"] for s in record["segments_info"]]
        assert [int(m.sum()) for m in instances.gt_masks] == [s["area"] for s in record["segments_info"]]
        assert (instances.gt_classes > 10).any()


def test_cityscapesscripts_reads_it(labelled, tmp_path, capsys):
    folder = output(labelled) / "gtFine" / "cityscapes_panoptic_train"
    files = [str(folder.with_suffix(".json")), str(folder)]
    results = oracle.evaluatePanoptic(*files, *files, str(tmp_path / "results.json"))
    assert results["All"]["pq"] == 1.0


def test_metadata_of_the_registered_sets():
    for prefix in ("openvocab_cityscapes_fine_panoptic", "minicity_panoptic"):
        complete = MetadataCatalog.get(f"{prefix}_train")
        for n in range(1, 9):
            metadata = MetadataCatalog.get(f"{prefix}_train_pseudo_labels_00{n}")
            assert metadata.pseudo_label_contiguous_ids == tuple(range(11, 11 + n))
            assert metadata.deleted_contiguous_ids == () and metadata.vocabulary == complete.vocabulary
            assert metadata.load_complete_records is complete.load_complete_records
        assert f"{prefix}_train_pseudo_labels_000" not in DatasetCatalog.list()


# restarting


def test_an_interrupted_run_looks_incomplete_and_goes_on(labelled, monkeypatch, capsys):
    expected = snapshot(output(labelled))
    shutil.rmtree(output(labelled))
    add, left = PseudoLabelSet.add, iter([True, True])

    def stops_at_third(self, *rest, **more):
        if next(left, None) is None:
            raise KeyboardInterrupt
        add(self, *rest, **more)

    monkeypatch.setattr(PseudoLabelSet, "add", stops_at_third)
    with pytest.raises(SystemExit) as stop:
        run_labelling(arguments(labelled))
    assert stop.value.code == 130 and "the same command resumes" in capsys.readouterr().err
    assert not (output(labelled) / "manifest.json").exists()
    with pytest.raises(
        DatasetError, match="not finished; run the same command again: `python tools/make_pseudo_labels.py"
    ):
        DatasetCatalog.get(REGISTERED)
    monkeypatch.setattr(PseudoLabelSet, "add", add)
    tiny_labeller.SEEN.clear()
    with (output(labelled) / ".make_pseudo_labels_train.0.jsonl").open("a") as journal:
        journal.write('["half a li')  # what a killed process leaves
    written = output(labelled) / "gtFine" / "cityscapes_panoptic_train"
    next(written.iterdir()).unlink()  # of a finished image
    (written / ".zsseg_d2-half.part").write_bytes(b"")
    run_labelling(arguments(labelled))
    assert len(tiny_labeller.SEEN) == 3 and snapshot(output(labelled)) == expected
    assert manifest(labelled)["seconds"] is None  # nobody knows how long the first part took
    tiny_labeller.SEEN.clear()
    capsys.readouterr()
    run_labelling(arguments(labelled))
    shown = capsys.readouterr().out
    assert not tiny_labeller.SEEN and "complete already" in shown and "mean score" in shown and REGISTERED in shown


def test_a_lost_file_is_made_again(labelled):
    before = snapshot(output(labelled))
    next((output(labelled) / "gtFine" / "cityscapes_panoptic_train").iterdir()).unlink()
    make_pseudo_labels(arguments(labelled))
    assert snapshot(output(labelled)) == before and manifest(labelled)["seconds"] is not None  # all are made again


def test_two_processes_write_what_one_writes(labelled):
    expected = snapshot(output(labelled))
    shutil.rmtree(output(labelled))
    make_pseudo_labels(arguments(labelled, num_gpus=2))
    assert not tiny_labeller.SEEN, "this process did the work"
    assert snapshot(output(labelled)) == expected


def test_ctrl_c_stops_all_processes(labelled, monkeypatch, capfd):
    expected = snapshot(output(labelled))
    shutil.rmtree(output(labelled))
    add = PseudoLabelSet.add

    def interrupted(self, *rest, part):
        if part == 1:
            os.kill(os.getpid(), signal.SIGINT)
        add(self, *rest, part=part)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(PseudoLabelSet, "add", interrupted)
        run_labelling(arguments(labelled, num_gpus=2))
    shown = "".join(capfd.readouterr())
    assert stop.value.code == 130 and "the same command resumes" in shown and "Traceback" not in shown
    make_pseudo_labels(arguments(labelled))
    assert snapshot(output(labelled)) == expected


def test_another_process_shows_one_message(datasets, capfd):
    next((datasets / "cityscapes" / "gtFine" / "cityscapes_panoptic_train").iterdir()).write_bytes(b"no picture")
    with pytest.raises(SystemExit) as stop:
        run_labelling(arguments(datasets, num_gpus=2))
    shown = "".join(capfd.readouterr())
    assert stop.value.code == 1 and "truncated or damaged" in shown and "Traceback" not in shown


def test_what_processes_are_given_can_be_pickled(datasets):
    """CUDA processes are not forked."""
    target = PseudoLabelSet(CITYSCAPES, "train", "003", datasets / "out", Thresholds(0.5, 32, 0.5))
    records = target.open({})
    task = pickle.loads(pickle.dumps(Labelling(get_cfg(), target, records)))
    assert task.records == records and task.target.files.root == datasets / "out"


# other arguments, and what stands in the way


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        (("ZSSEG.PSEUDO_LABELS.MIN_SCORE", 0.3), "thresholds"),
        (("INPUT.MIN_SIZE_TEST", 40), "settings"),
        (("INPUT.EXIF_ORIENTATION", "ignore"), "settings"),
        (("DATASETS.TRAIN", "('openvocab_cityscapes_fine_panoptic_train_008',)"), "settings"),
        (("MODEL.WEIGHTS", "{0}/other.pth"), "weights_sha256"),
    ],
)
def test_other_arguments_need_overwrite(labelled, options, differs):
    torch.save({"model": {"gain": torch.tensor(2.0)}}, labelled / "other.pth")
    options = [str(o).format(labelled) for o in options]
    before = snapshot(output(labelled))
    with pytest.raises(
        DatasetError, match=rf"other arguments or from another source \({differs}\)\. Fix: give --overwrite"
    ):
        make_pseudo_labels(arguments(labelled, *options))
    assert snapshot(output(labelled)) == before
    make_pseudo_labels(arguments(labelled, *options, overwrite=True))
    after = snapshot(output(labelled))
    assert after != before and after.keys() == before.keys()


def test_settings_that_change_no_prediction_are_no_other_arguments(labelled):
    shutil.copy(labelled / "weights.pth", labelled / "moved.pth")
    options = (
        "MODEL.WEIGHTS",
        labelled / "moved.pth",
        "OUTPUT_DIR",
        "elsewhere",
        "ZSSEG.VIS_IMAGES",
        3,
        "DATALOADER.NUM_WORKERS",
        1,
    )
    make_pseudo_labels(arguments(labelled, *options))
    assert not tiny_labeller.SEEN


@pytest.mark.parametrize(
    ("changes", "options", "error", "told"),
    [
        ({"configuration": "009"}, (), DatasetError, "There is no configuration '009'"),
        ({"configuration": "000"}, (), DatasetError, "Configuration 000 deletes no class"),
        ({"split": "test"}, (), DatasetError, "There is no folder"),
        ({"output": "{0}/cityscapes/gtFine"}, (), DatasetError, "inside the input"),
        ({"num_gpus": 0}, (), ConfigError, "at least one process"),
        ({}, ("MODEL.WEIGHTS", ""), ConfigError, "random weights make no labels"),
        ({}, ("MODEL.WEIGHTS", "{0}/none.pth"), CheckpointError, "there are no weights"),
        (
            {},
            ("DATASETS.TEST", "('miniworld_panoptic_val',)"),
            DatasetError,
            "There is no configuration '008'; choose one of no_things",
        ),
        ({}, ("ZSSEG.PSEUDO_LABELS.MIN_SCORE", 1.5), ConfigError, "MIN_SCORE=1.5"),
        ({}, ("ZSSEG.PSEUDO_LABELS.MIN_AREA", -1), ConfigError, "MIN_AREA=-1"),
        ({}, ("TEST.DETECTIONS_PER_IMAGE", 1), ConfigError, "META_ARCHITECTURE=TinyLabeller: pseudo-labels need"),
        (
            {},
            ("DATASETS.TRAIN", "('minicity_panoptic_train_003',)", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 19),
            ConfigError,
            "trained on 'minicity_panoptic_train_003', with ground truth of classes that configuration 008 deletes",
        ),
    ],
)
def test_what_is_wrong_is_told(datasets, changes, options, error, told):
    changes = {k: v.format(datasets) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(error, match=told):
        make_pseudo_labels(arguments(datasets, *(str(o).format(datasets) for o in options), **changes))
    assert not (output(datasets) / "manifest.json").exists()


def test_weights_that_saw_the_deleted_labels_are_refused(datasets):
    settings = datasets / "config.yaml"  # as a training leaves it beside its weights
    settings.write_text("DATASETS: {TRAIN: [openvocab_cityscapes_fine_panoptic_train]}")
    with pytest.raises(ConfigError, match="must come from a model that never saw it"):
        make_pseudo_labels(arguments(datasets))
    for harmless in (
        "openvocab_cityscapes_fine_panoptic_train_008",
        REGISTERED,
        "miniworld_panoptic_train",
        "unheard_of",
    ):
        settings.write_text(f"DATASETS: {{TRAIN: [{harmless}]}}")
        make_pseudo_labels(arguments(datasets))


def test_the_output_of_another_tool_is_left_alone(datasets):
    shutil.copytree(datasets / "cityscapes", output(datasets))
    before = snapshot(output(datasets))
    with pytest.raises(DatasetError, match="was not made by this tool"):
        make_pseudo_labels(arguments(datasets, overwrite=True))
    assert snapshot(output(datasets)) == before


# loading


def _edit(datasets: Path, **changes) -> None:
    path = output(datasets) / "manifest.json"
    content = json.loads(path.read_text())
    content["splits"]["train"].update(changes)
    path.write_text(json.dumps(content))


def _drop_an_image(datasets: Path) -> None:
    path = output(datasets) / "gtFine" / "cityscapes_panoptic_train.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value[:-1] for key, value in content.items()}))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            lambda d: shutil.rmtree(output(d)),
            "There are no pseudo-labels .*cityscapes_pseudo_labels_008; make them with `python tools/make_"
            "pseudo_labels.py --config-file configs/cityscapes/zero_shot.yaml --configuration 008`",
        ),
        (lambda d: (output(d) / "manifest.json").unlink(), "not finished; run the same command again"),
        (lambda d: (output(d) / "manifest.json").write_text("{"), "manifest.json: is not valid JSON"),
        (lambda d: _edit(d, configuration="003"), "holds pseudo-labels of configuration 003, not 008"),
        (lambda d: _edit(d, kind=None), "does not hold pseudo-labels"),
        (lambda d: _edit(d, arguments={"format": 0}), "made by another version"),
        (_drop_an_image, "was changed or replaced: .* another file of 4 images"),
        (lambda d: (output(d) / "gtFine" / "cityscapes_panoptic_train.json").unlink(), "train.json is missing"),
        (lambda d: shutil.rmtree(output(d) / "leftImg8bit"), "There is no folder"),
    ],
)
def test_only_complete_pseudo_labels_of_the_configuration_load(labelled, damage, told):
    damage(labelled)
    with pytest.raises(DatasetError, match=told):
        DatasetCatalog.get(REGISTERED)


# the program


def test_the_real_model_labels_through_the_tool(datasets, capsys):
    """The embedded FC-CLIP on tiny pictures, by the command that the tool's help names."""
    options = [
        "--config-file",
        "configs/minicity/zero_shot.yaml",
        "--configuration",
        "003",
        "--output",
        str(datasets / "mine"),
    ]
    keys = [
        "DATASETS.TEST",
        "('openvocab_cityscapes_fine_panoptic_val',)",
        "INPUT.MIN_SIZE_TEST",
        "64",
        "MODEL.DEVICE",
        "cpu",
    ]
    keys += ["ZSSEG.PSEUDO_LABELS.MIN_SCORE", "0.0", "ZSSEG.PSEUDO_LABELS.MIN_AREA", "1", "DATALOADER.NUM_WORKERS", "0"]
    entry = run_labelling(tool.parse_arguments([*options, *keys]))
    shown = capsys.readouterr().out
    assert entry["train_with"] is None and "all pseudo-labels" in shown and f"are in {datasets / 'mine'}" in shown
    assert {"MODEL.WEIGHTS", "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS"} == set(entry["arguments"]["weights_sha256"])
    kept = DatasetCatalog.get("openvocab_cityscapes_fine_panoptic_train_003")
    assert entry["segments"]["ground_truth"] == sum(len(r["segments_info"]) for r in kept)


REGIONS = ("ZSSEG.PSEUDO_LABELS.REGIONS", "True", "ZSSEG.PSEUDO_LABELS.MIN_AREA", "20")
ALL_SEGMENTS = ("ZSSEG.PSEUDO_LABELS.MIN_SCORE", "0.0", "ZSSEG.PSEUDO_LABELS.MIN_VISIBLE", "0.0")


def test_regions_without_labels_become_targets(datasets, capsys):
    """They cover each pixel without a kept label in a large region, and ground truth of Out changes no byte of them."""
    name = "openvocab_cityscapes_fine_panoptic_train_region_labels_008"
    with pytest.raises(DatasetError, match="make them with `.*--configuration 008 ZSSEG.PSEUDO_LABELS.REGIONS True`"):
        DatasetCatalog.get(name)
    keys = ["DATASETS.TEST", "('openvocab_cityscapes_fine_panoptic_val',)", "INPUT.MIN_SIZE_TEST", "64"]
    words = ["--config-file", "minicity/zero_shot.yaml", "--configuration", "008", *keys, "MODEL.DEVICE", "cpu"]
    words += ["DATALOADER.NUM_WORKERS", "0", *ALL_SEGMENTS]
    segments = run_labelling(tool.parse_arguments([*words, *REGIONS[2:]]))["segments"]
    assert segments["zero_shot"] > 0, "the model predicts things, which divide regions"
    words += REGIONS
    entry = run_labelling(tool.parse_arguments(words))
    folder = datasets / "cityscapes_region_labels_008"
    assert entry["train_with"] == name and entry["kind"] == "region_labels" and name in capsys.readouterr().out
    for record in DatasetCatalog.get(name):
        ids = read_panoptic_png(record["pan_seg_file_name"])
        check_segments(ids, record["segments_info"], record["pan_seg_file_name"])
        stuff = (ids > 0) & (ids < 1000)
        components, _ = ndimage.label(~stuff, np.ones((3, 3)))
        large = np.isin(components, np.flatnonzero(np.bincount(components.ravel()) >= 20)) & (components > 0)
        assert (ids[large] > 0).all(), "no pixel of a large region is void"
    first = snapshot(folder)
    shutil.rmtree(folder)
    tiny_labeller.change_deleted_labels(datasets / "cityscapes", THINGS, np.random.default_rng(1))
    run_labelling(tool.parse_arguments(words))
    assert snapshot(folder) == first
    with pytest.raises(SystemExit, match=r"other arguments or from another source \(regions\)\. Fix: give --overwrite"):
        run_labelling(tool.parse_arguments([*words, "ZSSEG.PSEUDO_LABELS.MIN_SHARE", "0.5"]))


def test_a_model_that_names_no_masks_makes_no_regions(datasets):
    with pytest.raises(ConfigError, match="META_ARCHITECTURE=TinyLabeller names no masks. Fix: take an FC-CLIP"):
        make_pseudo_labels(arguments(datasets, *REGIONS))


def test_mistakes_are_one_message(datasets):
    with pytest.raises(SystemExit, match="^error: Unknown config key 'SEEED'"):
        tool.main(["--config-file", "minicity/zero_shot.yaml", "--configuration", "008", "SEEED", "1"])
