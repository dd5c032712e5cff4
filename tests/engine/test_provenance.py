"""Weights that saw labels of deleted classes are known, whatever was made of them on the way."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog
from safetensors.torch import load_file, save_file

import zsseg_d2
from tests.engine import tiny_task
from zsseg_d2.cli import combined_weights, export_weights
from zsseg_d2.engine.checkpoints import provenance as origin
from zsseg_d2.engine.checkpoints.leaks import check_weights_saw_no_labels
from zsseg_d2.engine.checkpoints.provenance import (
    ENTRY,
    Provenance,
    Step,
    TrainingSet,
    provenance_of,
)
from zsseg_d2.engine.checkpoints.training_provenance import of_labels
from zsseg_d2.engine.checkpoints.weights_files import write_weights
from zsseg_d2.engine.checkpoints.wise_ft import Pair
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.engine.training.trainer import Trainer
from zsseg_d2.vocabulary import Vocabulary

WEIGHTS = Path(zsseg_d2.__file__).parent / "weights"
DELETED = "tiny_engine_deleted"  # car has no labels there


@pytest.fixture(scope="module")
def told(tiny_data, tmp_path_factory) -> Path:
    """A checkpoint of one iteration with the labels of car."""
    return train(tmp_path_factory.mktemp("told"), "tiny_engine_train")


def train(folder: Path, dataset: str, start: str | Path = "", **options) -> Path:
    more = [word for key, value in options.items() for word in (key, value)]
    cfg = tiny_task.config(
        folder,
        *("DATASETS.TRAIN", (dataset,), "DATASETS.TEST", (), "MODEL.WEIGHTS", str(start), "SOLVER.MAX_ITER", 1, *more),
    )
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return folder / "model_final.pth"


def check(weights: str | Path) -> None:
    cfg = tiny_task.config(Path("unused"), "DATASETS.TRAIN", (DELETED,), "MODEL.WEIGHTS", str(weights))
    check_weights_saw_no_labels(cfg, eval_only=False)


def copied(file: Path, folder: Path) -> Path:
    """A copy in a folder with the config of another, blameless training."""
    folder.mkdir()
    (folder / "config.yaml").write_text(f"DATASETS: {{TRAIN: [{DELETED}]}}")
    return Path(shutil.copy(file, folder / "model_0000001.pth"))


def exported(file: Path, folder: Path) -> Path:
    export_weights.main([str(file), str(folder / "exported.safetensors"), "--half"])
    return folder / "exported.safetensors"


def intermediate(file: Path, folder: Path) -> Path:
    return train(folder / "between", "tiny_engine_val", file)


def wise(file: Path, folder: Path) -> Path:
    blameless = train(folder / "blameless", DELETED, file)  # the two share one CLIP
    content = torch.load(blameless, weights_only=True)
    content[ENTRY] = Provenance(Step("train")).as_entry()
    torch.save(content, blameless)
    for pair in (Pair.read(str(file), str(blameless)), Pair.read(str(blameless), str(file))):
        write_weights(folder / "wise.safetensors", pair.at(0.5), metadata={ENTRY: pair.provenance.as_entry()})
    return folder / "wise.safetensors"


@pytest.mark.parametrize("make", [copied, exported, wise])
def test_labels_of_deleted_classes_are_known_after_every_writer(told, tmp_path, make):
    with pytest.raises(ConfigError, match="was trained on 'tiny_engine_train', with ground truth of car, which"):
        check(make(told, tmp_path / "made" if make is copied else tmp_path))


def test_an_intermediate_training_hides_nothing(told, tmp_path):
    between = train(tmp_path / "one", DELETED, told)
    twice = exported(train(tmp_path / "two", DELETED, between), tmp_path)
    shutil.rmtree(tmp_path / "one")
    for file in (twice, copied(tmp_path / "two" / "model_final.pth", tmp_path / "copy")):
        with pytest.raises(ConfigError, match="'tiny_engine_train', with ground truth of car"):
            check(file)


def test_blameless_weights_pass_without_a_warning(tiny_data, tmp_path, caplog):
    first = train(tmp_path / "one", DELETED)
    check(exported(train(tmp_path / "two", DELETED, first), tmp_path))
    check("")
    assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_split_and_join_keep_both_origins(told, tmp_path):
    files = []
    for name, program in (("one", "train"), ("two", "train")):
        step = Step(program, (TrainingSet(f"set_{name}", ("a",), (0,)),))
        files.append(tmp_path / f"{name}.safetensors")
        state = {"sem_seg_head.w": torch.ones(2)}
        write_weights(files[-1], state, metadata={ENTRY: Provenance(step).as_entry()})
    combined_weights.main(["join", *map(str, files), str(tmp_path / "both.safetensors")])
    combined_weights.main(["split", str(tmp_path / "both.safetensors")])
    for name in ("both", "both_one", "both_two"):
        found = provenance_of(tmp_path / f"{name}.safetensors")
        names = {dataset.name for step in found.walk() for dataset in step.datasets}
        assert found.complete and names == {"set_one", "set_two"}


def test_the_tree_is_the_files_hashes(told, tmp_path):
    file = exported(train(tmp_path / "after", DELETED, told), tmp_path)
    parent = hashlib.sha256((tmp_path / "after" / "model_final.pth").read_bytes()).hexdigest()
    start = hashlib.sha256(told.read_bytes()).hexdigest()
    found = provenance_of(file)
    assert found.step == Step("export_weights", parents=(parent,)) and set(found.ancestors) == {parent, start}
    assert found.ancestors[parent].parents == (start,)
    assert found.ancestors[start].datasets == (
        TrainingSet("tiny_engine_train", ("road", "sky", "person", "car"), (0, 1, 2, 3)),
    )
    assert found.ancestors[parent].datasets[0].labeled == (0, 1, 2)
    assert found.ancestors[start].settings["SEED"] == "3"


def test_unknown_weights_are_a_warning_until_they_are_declared(told, tmp_path, caplog):
    state = {k: v.contiguous() for k, v in torch.load(told, weights_only=True)["model"].items()}
    save_file(state, tmp_path / "foreign.safetensors")
    check(tmp_path / "foreign.safetensors")
    assert "whether they saw labels of deleted classes is not known" in caplog.text
    caplog.clear()
    derived = train(tmp_path / "after", DELETED, tmp_path / "foreign.safetensors")
    check(derived)
    assert "is not known" in caplog.text, "what is made of unknown weights is unknown"
    for dataset in (DELETED, "tiny_engine_train"):
        copy = tmp_path / f"{dataset}.safetensors"
        export_weights.main([str(tmp_path / "foreign.safetensors"), str(copy), "--trained-on", dataset])
        caplog.clear()
        if dataset == DELETED:
            check(copy)
            assert not caplog.records
        else:
            with pytest.raises(ConfigError, match="ground truth of car"):
                check(copy)
    foreign = tmp_path / "foreign.safetensors"
    for source, name, message in ((told, DELETED, "says itself"), (foreign, "none", "no such dataset")):
        with pytest.raises(SystemExit, match=message):
            export_weights.main([str(source), str(tmp_path / "x.safetensors"), "--trained-on", name])


def test_pseudo_labels_hand_on_what_made_them(told, tmp_path):
    """What their weights saw, that nothing is known of these, and what the hashes in an older manifest are known by."""
    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": torch.ones(2)}, foreign)
    packaged = hashlib.sha256((WEIGHTS / "mini_fcclip.safetensors").read_bytes()).hexdigest()
    clip = {"MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS": "of others"}
    made = {
        "told": {"provenance": of_labels({"MODEL.WEIGHTS": str(told)}).as_entry()},
        "foreign": {"provenance": of_labels({"MODEL.WEIGHTS": str(foreign)}).as_entry()},
        "older": {"arguments": {"weights_sha256": {"MODEL.WEIGHTS": packaged, **clip}}},
        "older, foreign": {"arguments": {"weights_sha256": {"MODEL.WEIGHTS": "12ab"}}},
    }
    trained = {}
    for k, (name, entry) in enumerate(made.items()):
        content = {"panoptic_json_sha256": name, **entry}
        labels = {"pseudo_label_contiguous_ids": (3,), "manifest_entry": lambda content=content: content}
        dataset = tiny_task.register("tiny_engine_labels", tmp_path / "labels", 2, **labels)
        trained[name] = train(tmp_path / str(k), dataset)
    with pytest.raises(ConfigError, match="was trained on 'tiny_engine_train', with ground truth of car"):
        check(trained["told"])
    complete = {name: provenance_of(file).complete for name, file in trained.items()}
    assert complete == {"told": True, "foreign": False, "older": True, "older, foreign": False}


def test_a_resumed_training_keeps_its_origin(tiny_data, tmp_path):
    """Also where MODEL.WEIGHTS has been replaced since."""
    start = train(tmp_path / "start", "tiny_engine_train")
    first = train(tmp_path / "run", DELETED, start)
    before = provenance_of(first)
    start.unlink()
    cfg = tiny_task.config(tmp_path / "run", "DATASETS.TRAIN", (DELETED,), "DATASETS.TEST", (), "SOLVER.MAX_ITER", 2)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    assert provenance_of(first) == before and torch.load(first, weights_only=True)["iteration"] == 1


def test_packaged_weights_are_known():
    steps = json.loads((WEIGHTS / "provenance.json").read_text())
    for file in WEIGHTS.glob("*.safetensors"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() in steps, file.name
        found = provenance_of(file)
        names = {dataset.name for step in found.walk() for dataset in step.datasets}
        expected = {
            "mini_fcclip": {"miniworld_panoptic_train"},
            "mini_phrases": {"miniphrases_train"},
            "mini_composites": {"composites_train"},
        }
        assert found.complete and names == expected.get(file.stem, set())
    world = MetadataCatalog.get("miniworld_panoptic_train").vocabulary
    fcclip = next(step for step in steps.values() if step["datasets"] and step["datasets"][0]["classes"])
    assert fcclip["datasets"][0]["classes"] == [synonyms[0] for synonyms in world.classes]


def test_the_record_of_packaged_weights_is_what_their_files_say(tmp_path):
    """A hash of another file, a step that was changed by hand or one that is missing would not come back."""
    folder = shutil.copytree(WEIGHTS, tmp_path / "weights")
    origin.record_weights(folder)
    assert (folder / "provenance.json").read_bytes() == (WEIGHTS / "provenance.json").read_bytes()
    with (folder / "mini_fcclip.safetensors").open("r+b") as file:  # its own entry is all that says where it is from
        file.seek(-1, 2)
        file.write(b"\1")
    origin.record_weights(folder)
    lost = json.loads((WEIGHTS / "provenance.json").read_text())
    del lost[hashlib.sha256((WEIGHTS / "mini_fcclip.safetensors").read_bytes()).hexdigest()]
    assert json.loads((folder / "provenance.json").read_text()) == lost


def test_an_export_among_packaged_weights_brings_their_record_up_to_date(told, tmp_path):
    record, output = tmp_path / "provenance.json", tmp_path / "mine.safetensors"
    export_weights.main([str(told), str(output)])
    assert not record.exists()
    record.write_text(json.dumps({"0" * 64: {"program": "train"}}))  # of a file that was replaced
    for options in ((), ("--half",)):
        export_weights.main([str(told), str(output), *options])
        own, parent = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (output, told))
        steps = json.loads(record.read_text())
        assert list(steps) == [own, parent] and steps[own]["parents"] == [parent]
        assert steps[own]["program"] == "export_weights" and steps[parent]["program"] == "train"
        assert steps[parent]["datasets"][0]["name"] == "tiny_engine_train"


@pytest.mark.parametrize("entry", [3, {"step": 5}, {"step": {"program": "x", "datasets": [{}]}}, {"ancestors": [1]}])
def test_a_damaged_entry_counts_as_unknown(tmp_path, caplog, entry):
    write_weights(tmp_path / "w.safetensors", {"a": torch.ones(1)}, metadata={ENTRY: entry})
    assert not provenance_of(tmp_path / "w.safetensors").complete and "counts as unknown" in caplog.text


def test_a_circle_ends():
    step = Step("train", parents=("a",))
    found = Provenance(step, {"a": Step("train", parents=("b",)), "b": Step("train", parents=("a",))})
    assert found.complete and len(list(found.walk())) == 3
    assert not Provenance(step, {"a": Step("train", parents=("b",))}).complete


def test_an_older_checkpoint_is_known_by_the_config_beside_it(told, tmp_path):
    content = torch.load(told, weights_only=True)
    del content[ENTRY]
    torch.save(content, tmp_path / "model_final.pth")
    assert provenance_of(tmp_path / "model_final.pth").step is None
    (tmp_path / "config.yaml").write_text("DATASETS: {TRAIN: [tiny_engine_train]}")
    assert provenance_of(tmp_path / "model_final.pth").complete
    with pytest.raises(ConfigError, match="ground truth of car"):
        check(tmp_path / "model_final.pth")
    (tmp_path / "config.yaml").write_text("{DATASETS: {TRAIN: [tiny_engine_train]}, MODEL: {WEIGHTS: gone.pth}}")
    assert not provenance_of(tmp_path / "model_final.pth").complete
    save_file(load_file(WEIGHTS / "mini_clip.safetensors"), tmp_path / "other.safetensors")
    assert provenance_of(tmp_path / "other.safetensors").step is None, "weights may have been moved there"


def test_labels_count_by_the_names_of_the_classes(tiny_data):
    vocabulary = MetadataCatalog.get("tiny_engine_train").vocabulary
    for classes, expected in ((("road", "sky", "person", "car"), ("d", [3])), (("car",) * 4, None)):
        found = Provenance(Step("train", (TrainingSet("d", classes, (0, 3)),)))
        assert found.labels_of([2, 3], vocabulary) == expected
    assert origin.training_set("miniphrases_train") == TrainingSet("miniphrases_train")


def test_class_names_in_other_letters_or_another_order_are_the_same_classes():
    vocabulary = Vocabulary((("road",), ("traffic light",), ("person",)))
    for classes, person in ((("Road", "Traffic  Light", "PERSON"), 2), (("person", "road", "traffic light"), 0)):
        for labeled, expected in (((person,), ("mine", [2])), ((1 if person else 2,), None)):
            step = Step("train", (TrainingSet("mine", classes, labeled),))
            assert Provenance(step).labels_of([2], vocabulary) == expected
    other = Step("train", (TrainingSet("coco", ("road", "traffic light", "person", "cat"), (0, 1, 2, 3)),))
    assert Provenance(other).labels_of([2], vocabulary) is None
