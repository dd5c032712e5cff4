"""Every method as a program: two iterations and an evaluation, weights of several models, stop and resume, refusals."""

from __future__ import annotations

import argparse
import json
import math

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_argument_parser

from tests.data.tiny_cityscapes import make_tiny_cityscapes
from tests.engine import stopping
from tests.tiny import record_taught
from zsseg_d2.cli import combined_weights
from zsseg_d2.data.panoptic.cityscapes import register_cityscapes_panoptic
from zsseg_d2.engine import setup_cfg
from zsseg_d2.engine.checkpoints.provenance import provenance_of
from zsseg_d2.engine.checkpoints.reading import read_checkpoint
from zsseg_d2.engine.config.setup import packaged_configs
from zsseg_d2.engine.errors import CheckpointError, ConfigError
from zsseg_d2.engine.launch import launch
from zsseg_d2.engine.run import run_process
from zsseg_d2.engine.training.trainer import Trainer
from zsseg_d2.files import local_path
from zsseg_d2.tensor_files import read_tensors, write_tensors

MINI = "zsseg_d2://weights/mini_fcclip.safetensors"
SMALL = (
    *(
        "INPUT.MIN_SIZE_TRAIN",
        "(64,)",
        "INPUT.CROP.ENABLED",
        "False",
        "INPUT.MIN_SIZE_TEST",
        64,
        "DATALOADER.NUM_WORKERS",
        0,
    ),
    *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.WARMUP_ITERS", 0, "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 64, "SEED", 5),
    *("MODEL.DEVICE", "cpu", "DATASETS.TEST", "('methods_val',)"),
)


@pytest.fixture(scope="module", autouse=True)
def data_sets(tmp_path_factory):
    root = make_tiny_cityscapes(tmp_path_factory.mktemp("methods"), "train", images=4)
    make_tiny_cityscapes(root, "val", images=2)
    names = {"methods_train_008": ("train", "008"), "methods_train": ("train", "000"), "methods_val": ("val", "000")}
    names["methods_world"] = "train", "008"  # stands for the set of the pre-training
    for name, (split, configuration) in names.items():
        register_cityscapes_panoptic(name, root, split, deleted=configuration)
    for name, mean in (("ONE", 0.0), ("TWO", 0.01)):
        STATISTICS[name] = str(root / f"{name}.safetensors")
        write_tensors(STATISTICS[name], {"mean": torch.full((128,), mean), "covariance": torch.eye(128)})
    yield
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


METHODS = [n[9:-5] for n in packaged_configs() if n.startswith("minicity/") and n != "minicity/auto_vocabulary.yaml"]


UNTRAINED = ("zero_shot", "naive", "interpolated")
STATISTICS: dict[str, str] = {}


def options_of(name: str) -> list[str]:
    """Where a packaged config's data and second weights are taken from here."""
    if "naive" in name:
        return ["ZSSEG.MODEL_TWO.WEIGHTS", MINI]
    if name == "interpolated":
        files = [word for key, file in STATISTICS.items() for word in (f"ZSSEG.INTERPOLATION.STATISTICS_{key}", file)]
        return ["ZSSEG.MODEL_TWO.WEIGHTS", MINI, *files]
    if "zero_shot" in name:
        return []
    deleted = name not in ("full_finetune", "invocab", "regions", "regions_replay")
    if name == "l2_sp":
        return ["DATASETS.TRAIN", "('methods_train_008',)", "ZSSEG.ANCHOR.WEIGHTS", MINI]
    if name == "ewc":
        studied = ["ZSSEG.EWC.DATASET", "methods_world", "ZSSEG.EWC.IMAGES", 2]
        return ["DATASETS.TRAIN", "('methods_train_008',)", "ZSSEG.ANCHOR.WEIGHTS", MINI, *studied]
    replay = ["ZSSEG.REPLAY.DATASET", "methods_world"] if "replay" in name else []
    return ["DATASETS.TRAIN", f"('methods_train{'_008' if deleted else ''}',)", *replay]


def config(name: str, output, *options):
    opts = [str(o) for o in (*SMALL, *options_of(name), "OUTPUT_DIR", output, *options)]
    return setup_cfg(argparse.Namespace(config_file=f"minicity/{name}.yaml", opts=opts, eval_only=name in UNTRAINED))


def run(name: str, output, *options, flags=()):
    opts = [str(o) for o in (*SMALL, *options_of(name), "OUTPUT_DIR", output, *options)]
    return run_process(default_argument_parser().parse_args(["--config-file", f"minicity/{name}.yaml", *flags, *opts]))


@pytest.fixture
def talkative(tmp_path):
    """The mini weights with void where no query is, so that a teacher names deleted classes in noise, too."""
    state = dict(read_checkpoint(str(local_path(MINI)))["model"])
    state["void_embedding.weight"] = -state["void_embedding.weight"]
    write_tensors(tmp_path / "talkative.safetensors", state)
    return str(tmp_path / "talkative.safetensors")


@pytest.fixture
def taught(monkeypatch):
    """A list that gets how many targets a mean teacher adds to each image of a training."""
    return record_taught(monkeypatch)


TEACHING = ("ZSSEG.PSEUDO_LABELS.MIN_AREA", 1, "ZSSEG.PSEUDO_LABELS.MIN_VISIBLE", 0.0)


@pytest.mark.parametrize("name", METHODS)
def test_two_iterations_and_an_evaluation(name, tmp_path, talkative, taught):
    untrained, teaches = name in UNTRAINED, "mean_teacher" in name
    weights = "ZSSEG.MODEL_ONE.WEIGHTS" if "combined" in name else "MODEL.WEIGHTS"
    teaching = (*TEACHING, weights, talkative) if teaches else ()
    results = run(name, tmp_path, "SOLVER.MAX_ITER", 2, *teaching, flags=["--eval-only"] if untrained else [])
    assert (sum(taught) > 0) == teaches
    assert 0 <= results["panoptic_seg"]["PQ"] <= 100
    assert json.loads((tmp_path / "inference" / "methods_val" / "panoptic_quality.json").read_text())["num_images"] == 2
    if name == "naive":
        merged = json.loads((tmp_path / "inference" / "methods_val" / "naive_arithmetic.json").read_text())
        assert merged["All"]["n"] == 19 and results["naive_arithmetic"]["PQ"] == pytest.approx(merged["All"]["PQ"])
    if not untrained:
        lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
        losses = {k: v for line in lines for k, v in line.items() if "loss" in k}
        assert all(map(math.isfinite, losses.values()))
        assert ("com_loss_ce" in losses) == ("combined" in name) and ("loss_distill" in losses) == ("distill" in name)


def test_an_evaluation_without_words(tmp_path):
    results = run("auto_vocabulary", tmp_path, flags=["--eval-only"])
    scores = json.loads((tmp_path / "inference" / "methods_val" / "auto_vocabulary.json").read_text())
    assert scores["num_images"] == 2 and scores["distinct_words"] == len(scores["words"]) > 0
    assert results["auto_vocabulary"]["mIoU_synonym"] == scores["mappings"]["synonym"]["mIoU"] > 0


def test_a_held_out_set_is_evaluated_at_the_end_alone(tmp_path):
    held_out = ("DATASETS.FINAL_TEST", "('methods_train',)")
    options = ("SOLVER.MAX_ITER", 3, "TEST.EVAL_PERIOD", 1, *held_out)
    results = run("in_class_finetune", tmp_path / "trained", *options)
    lines = [json.loads(line) for line in (tmp_path / "trained" / "metrics.json").read_text().splitlines()]
    own = [line["iteration"] for line in lines if "panoptic_seg/PQ" in line]
    further = [line for line in lines if any(key.startswith("methods_train/") for key in line)]
    assert own == [1, 3] and [line["iteration"] for line in further] == [3]
    assert further[0]["methods_train/panoptic_seg/PQ"] == results["methods_train"]["panoptic_seg"]["PQ"]
    assert set(results) == {"panoptic_seg", "methods_train"}
    weights = ("MODEL.WEIGHTS", tmp_path / "trained" / "model_final.pth", *held_out)
    again = run("in_class_finetune", tmp_path / "again", *weights, flags=["--eval-only"])
    assert again == results
    alone = run("in_class_finetune", tmp_path / "alone", *weights[:2], flags=["--eval-only"])
    assert alone == {"panoptic_seg": results["panoptic_seg"]}, "what is evaluated besides changes nothing"


def train(name: str, output, *options, **how):
    """Four iterations without an evaluation, saved after the second."""
    four = ("SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2)
    return stopping.train(config(name, output, *four, *options, "DATASETS.TEST", "()"), **how)


@pytest.mark.parametrize("name", ["combined_entropy", "distill_kl", "frozen_queries", "low_rank", "l2_sp", "replay"])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(name, tmp_path):
    options = ("ZSSEG.FUSION.PAIRING", "hungarian", "ZSSEG.DISTILLATION.MASK_WEIGHT", 1.0)
    torch.manual_seed(0)  # of parameters that are new
    through = train(name, tmp_path / "through", *options).model.state_dict()
    torch.manual_seed(0)
    train(name, tmp_path / "stopped", *options, stop_before=3)
    torch.manual_seed(99)
    resumed = train(name, tmp_path / "stopped", *options, resume=True)
    assert resumed.start_iter == 2
    assert all(torch.equal(v, through[k]) for k, v in resumed.model.state_dict().items())
    saved = read_checkpoint(str(tmp_path / "stopped" / "model_final.pth"))["model"]
    assert not any("clip_model" in k or k.startswith("teacher.") for k in saved)


@pytest.mark.parametrize(
    ("name", "part"), [("mean_teacher", ""), ("combined_mean_teacher", "model_one."), ("mean_teacher_replay", "")]
)
def test_a_resumed_run_has_the_teacher_that_it_had(name, part, tmp_path, talkative, taught):
    """The moving average is in the checkpoint, to the last bit, and differs from the student."""
    weights = "ZSSEG.MODEL_ONE.WEIGHTS" if part else "MODEL.WEIGHTS"
    options = ("ZSSEG.MEAN_TEACHER.MOMENTUM", 0.5, *TEACHING, weights, talkative)
    through = train(name, tmp_path / "through", *options).model.state_dict()
    train(name, tmp_path / "stopped", *options, stop_before=3)
    resumed = train(name, tmp_path / "stopped", *options, resume=True)
    assert resumed.start_iter == 2 and sum(taught) > 0
    assert all(torch.equal(v, through[k]) for k, v in resumed.model.state_dict().items())
    state = read_checkpoint(str(tmp_path / "stopped" / "model_final.pth"))["model"]
    saved = {k.removeprefix(part): v for k, v in state.items() if k.startswith(part)}
    averaged = {k.removeprefix("teacher."): v for k, v in saved.items() if k.startswith("teacher.")}
    start = read_checkpoint(talkative)["model"]
    assert averaged.keys() == set(start)
    assert not all(torch.equal(v, saved[k]) for k, v in averaged.items())
    moved = [k for k, v in averaged.items() if v.is_floating_point() and not torch.equal(saved[k], start[k].float())]
    assert moved and all(not torch.equal(averaged[k], start[k].float()) for k in moved), "the teacher follows"


@pytest.mark.parametrize("kept", [True, False])
def test_a_resumed_run_has_the_fisher_information_that_it_had(kept, tmp_path, caplog):
    """From its file, to the last bit; and where that is lost, computed anew with the same result."""
    through = train("ewc", tmp_path / "through")
    train("ewc", tmp_path / "stopped", stop_before=3)
    file = tmp_path / "stopped" / "study.safetensors"
    assert file.read_bytes() == (tmp_path / "through" / "study.safetensors").read_bytes()
    studied = read_tensors(file).tensors
    assert studied and all(torch.equal(v, studied[k]) for k, v in through.model.importance.items())
    if not kept:
        file.write_bytes(file.read_bytes()[:-8])
    resumed = train("ewc", tmp_path / "stopped", resume=True)
    assert resumed.start_iter == 2 and ("computed anew" in caplog.text) != kept
    state = through.model.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in resumed.model.state_dict().items())
    saved = read_checkpoint(str(tmp_path / "stopped" / "model_final.pth"))["model"]
    assert saved.keys() == read_checkpoint(str(local_path(MINI)))["model"].keys(), "an ordinary checkpoint"
    told = [dataset.name for dataset in provenance_of(tmp_path / "stopped" / "model_final.pth").step.datasets]
    assert told == ["methods_train_008", "methods_world"], "it says whose labels were read"


def test_a_training_studies_anew_where_another_one_has_been(tmp_path):
    train("ewc", tmp_path, "ZSSEG.EWC.IMAGES", 1)
    before = (tmp_path / "study.safetensors").read_bytes()
    train("ewc", tmp_path)
    assert (tmp_path / "study.safetensors").read_bytes() != before


def test_what_was_studied_of_another_model_is_refused(tmp_path):
    train("ewc", tmp_path, stop_before=3)
    write_tensors(tmp_path / "study.safetensors", {"void_embedding.weight": torch.zeros(1, 3)})
    with pytest.raises(CheckpointError, match="study.safetensors: its values are of other weights. Fix: remove it"):
        train("ewc", tmp_path, resume=True)


@pytest.mark.parametrize(
    "name",
    ["mean_teacher", "frozen_queries", "replay", "mean_teacher_replay", "l2_sp", "ewc", "low_rank", "low_rate"]
    + ["interpolated", "distill_replay", "regions", "regions_replay", "combined_mean_teacher"],
)
def test_new_methods_run_with_the_configs_of_cityscapes(name, tmp_path):
    """On the mini tower with random weights."""
    options = (*SMALL, *options_of(name), "OUTPUT_DIR", tmp_path, "SOLVER.MAX_ITER", 2)
    files = [f"cityscapes/{name}.yaml", "towers/mini.yaml"]
    flags = ["--eval-only"] if name in UNTRAINED else []
    args = default_argument_parser().parse_args(["--config-file", files[0], *flags, *map(str, options)])
    args.config_file = files
    results = run_process(args)
    assert 0 <= results["panoptic_seg"]["PQ"] <= 100


def test_a_combined_checkpoint_holds_two_ordinary_ones(tmp_path):
    trainer = train("combined_mean", tmp_path / "combined")
    state = read_checkpoint(str(tmp_path / "combined" / "model_final.pth"))["model"]
    single = set(read_checkpoint(str(local_path(MINI)))["model"])
    one, two = (
        {k.removeprefix(p): v for k, v in state.items() if k.startswith(p)} for p in ("model_one.", "model_two.")
    )
    assert set(one) == set(two) == single and len(state) == 2 * len(single)
    for number, part in (("one", one), ("two", two)):
        file = tmp_path / f"{number}.pth"
        torch.save({"model": part}, file)
        cfg = config("in_class_finetune", tmp_path / number)
        alone = Trainer.build_model(cfg)
        Trainer.build_checkpointer(cfg, alone).load(str(file))
        joint = getattr(trainer.model, f"model_{number}").state_dict()
        assert all(torch.equal(v, joint[k]) for k, v in alone.state_dict().items())


def test_other_methods_read_the_student_of_a_mean_teacher(tmp_path, caplog):
    trained = train("mean_teacher", tmp_path / "taught", "ZSSEG.MEAN_TEACHER.MOMENTUM", 0.9).model.state_dict()
    file = tmp_path / "taught" / "model_final.pth"
    combined_weights.main(["teacher", str(file)])
    for weights, prefix in ((file, ""), (file.with_name("model_final_teacher.safetensors"), "teacher.")):
        caplog.clear()
        cfg = config("in_class_finetune", tmp_path / "read")
        model = Trainer.build_model(cfg)
        Trainer.build_checkpointer(cfg, model).load(str(weights))
        learnt = {k: v for k, v in model.state_dict().items() if k.startswith(("sem_seg_head.", "void_embedding."))}
        assert learnt and all(torch.equal(v, trained[prefix + k]) for k, v in learnt.items())
        assert ("weights of a mean teacher: its student is read" in caplog.text) == (weights == file)
        assert "unexpected" not in caplog.text


def test_a_student_is_an_ordinary_checkpoint(tmp_path):
    train("distill_mse", tmp_path / "distilled")
    run(
        "in_class_finetune",
        tmp_path / "student",
        "MODEL.WEIGHTS",
        tmp_path / "distilled" / "model_final.pth",
        flags=["--eval-only"],
    )


def fewer_queries(folder) -> str:
    state = dict(read_checkpoint(str(local_path(MINI)))["model"])
    for name in ("query_feat", "query_embed"):
        state[f"sem_seg_head.predictor.{name}.weight"] = state[f"sem_seg_head.predictor.{name}.weight"][:40]
    torch.save({"model": state}, folder / "fewer.pth")
    return str(folder / "fewer.pth")


def half(combined: str, folder) -> str:
    state = read_checkpoint(combined)["model"]
    torch.save({"model": {k: v for k, v in state.items() if k.startswith("model_one.")}}, folder / "half.pth")
    return str(folder / "half.pth")


def test_weights_of_the_wrong_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("combined_mean", tmp_path / "combined")
    combined = str(tmp_path / "combined" / "model_final.pth")
    for name, options, message in (
        ("full_finetune", ("MODEL.WEIGHTS", combined), "MODEL.WEIGHTS is a file of two models.*[sS]plit"),
        ("combined_mean", ("MODEL.WEIGHTS", MINI), "MODEL.WEIGHTS is a file of one model.*ZSSEG.MODEL_ONE.WEIGHTS"),
        (
            "combined_mean",
            ("ZSSEG.MODEL_TWO.WEIGHTS", combined),
            "ZSSEG.MODEL_TWO.WEIGHTS: .*holds two models. Fix: split it",
        ),
        ("combined_mean", ("MODEL.WEIGHTS", half(combined, tmp_path)), "does not hold the weights of two models"),
        (
            "naive",
            ("ZSSEG.MODEL_TWO.WEIGHTS", "output/minicity/in_class_finetune/model_final.pth"),
            "config-file configs/minicity/in_class_finetune.yaml",
        ),
        ("combined_mean", ("ZSSEG.MODEL_TWO.WEIGHTS", fewer_queries(tmp_path)), "40 queries, but .* is 50"),
        (
            "combined_mean",
            ("ZSSEG.MODEL_ONE.WEIGHTS", "missing.pth"),
            "ZSSEG.MODEL_ONE.WEIGHTS: there are no weights 'missing.pth'",
        ),
        (
            "distill_mse",
            ("ZSSEG.DISTILLATION.TEACHER_WEIGHTS", "no.pth"),
            "TEACHER_WEIGHTS: there are no weights 'no.pth'",
        ),
    ):
        with pytest.raises(CheckpointError, match=message):
            run(name, tmp_path / "refused", *options, flags=["--eval-only"] if name == "naive" else [])
        assert not (tmp_path / "refused" / "last_checkpoint").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("combined_mean", ("ZSSEG.MODEL_TWO.WEIGHTS", ""), "ZSSEG.MODEL_TWO.WEIGHTS is empty"),
        ("naive", ("ZSSEG.MODEL_ONE.WEIGHTS", ""), "ZSSEG.MODEL_ONE.WEIGHTS is empty"),
        ("distill_mse", ("ZSSEG.DISTILLATION.TEACHER_WEIGHTS", ""), "TEACHER_WEIGHTS is empty"),
        ("combined_mean", ("ZSSEG.FUSION.NAME", "softmax_entropi"), "choose one of .*Did you mean softmax_entropy"),
        ("combined_mean", ("ZSSEG.FUSION.TOP_K", 0), "TOP_K=0: it must be positive"),
        ("combined_mean", ("ZSSEG.FUSION.WEIGHT", 1.5), "FUSION.WEIGHT=1.5: it must be in .0, 1"),
        ("distill_mse", ("DATASETS.TRAIN", "('methods_train',)"), "deletes no class"),
        ("naive", ("ZSSEG.MERGE.PRIORITY", "first"), "out_first, in_first, score"),
        ("mean_teacher", ("DATASETS.FINAL_TEST", "('methods_val',)"), "FINAL_TEST.*'methods_val' is evaluated twice"),
        (
            "mean_teacher",
            ("DATASETS.FINAL_TEST", "('methods_vall',)"),
            "FINAL_TEST: there is no dataset 'methods_vall'.*Fix: name one of them, or give your own",
        ),
        ("mean_teacher", ("ZSSEG.DELETED_PIXELS", "ignore"), "DELETED_PIXELS=ignore: what the teacher names lies on"),
        ("combined_mean_teacher", ("ZSSEG.DELETED_PIXELS", "ignore"), "DELETED_PIXELS=ignore: what the teacher"),
        ("mean_teacher", ("ZSSEG.MEAN_TEACHER.PREDICTION", "both"), "PREDICTION=both: choose one of teacher, student"),
        (
            "replay",
            ("ZSSEG.REPLAY.DATASET", "methods_train"),
            "has ground truth of person, .* which DATASETS.TRAIN deletes",
        ),
        ("replay", ("ZSSEG.REPLAY.DATASET", "methods_wold"), "REPLAY.DATASET: there is no dataset 'methods_wold'"),
        ("replay", ("ZSSEG.REPLAY.SHARE", 0.0), "REPLAY.SHARE=0.0: it must be"),
        ("l2_sp", ("ZSSEG.ANCHOR.WEIGHTS", ""), "ZSSEG.ANCHOR.WEIGHTS is empty"),
        ("interpolated", ("ZSSEG.INTERPOLATION.STATISTICS_TWO", ""), "INTERPOLATION.STATISTICS_TWO is empty"),
        ("interpolated", ("ZSSEG.INTERPOLATION.SHRINKAGE", 1.5), "SHRINKAGE=1.5: it must be in .0, 1"),
        ("interpolated", ("ZSSEG.INTERPOLATION.TEMPERATURE", 0.0), "TEMPERATURE=0.0: it must be"),
        ("ewc", ("ZSSEG.EWC.DATASET", ""), "ZSSEG.EWC.DATASET is empty. Fix: name the set of the pre-training"),
        ("ewc", ("ZSSEG.EWC.DATASET", "methods_wold"), "EWC.DATASET: there is no dataset 'methods_wold'"),
        ("ewc", ("ZSSEG.EWC.DATASET", "methods_train"), "EWC.DATASET=methods_train: it has ground truth of person"),
    ],
)
def test_contradictions_end_before_any_work(name, options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        config(name, tmp_path, *options)


def test_weights_that_saw_deleted_labels_are_refused(tmp_path):
    """The upper bound as a teacher, as initial weights or as one side of a merge would bring the labels back."""
    run("full_finetune", tmp_path / "full", "SOLVER.MAX_ITER", 1)
    told = str(tmp_path / "full" / "model_final.pth")
    for name, key in (
        ("distill_kl", "ZSSEG.DISTILLATION.TEACHER_WEIGHTS"),
        ("in_class_finetune", "MODEL.WEIGHTS"),
        ("combined_mean", "ZSSEG.MODEL_ONE.WEIGHTS"),
        ("naive", "ZSSEG.MODEL_TWO.WEIGHTS"),
        ("interpolated", "ZSSEG.MODEL_TWO.WEIGHTS"),
        ("ewc", "ZSSEG.ANCHOR.WEIGHTS"),
    ):
        with pytest.raises(
            ConfigError, match=f"{key}: .* was trained on 'methods_train', with ground truth of person, rider"
        ):
            run(name, tmp_path / "refused", key, told, flags=["--eval-only"] if name in UNTRAINED else [])
    run(
        "in_class_finetune", tmp_path / "evaluated", "MODEL.WEIGHTS", told, flags=["--eval-only"]
    )  # nothing is kept here


def test_a_student_is_tested_without_its_teacher(tmp_path):
    run(
        "distill_mse",
        tmp_path / "student",
        "ZSSEG.DISTILLATION.TEACHER_WEIGHTS",
        "",
        "MODEL.WEIGHTS",
        MINI,
        flags=["--eval-only"],
    )


def test_a_resumed_run_keeps_its_method(tmp_path):
    run("combined_mean", tmp_path, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", "()")
    for name, options, key in (
        ("combined_entropy", (), "ZSSEG.FUSION.NAME"),
        ("combined_mean", ("ZSSEG.FUSION.PAIRING", "hungarian"), "ZSSEG.FUSION.PAIRING"),
    ):
        with pytest.raises(ConfigError, match=f"--resume: {key} was"):
            run(name, tmp_path, *options, "SOLVER.MAX_ITER", 4, flags=["--resume"])


@pytest.mark.parametrize("name", ["naive", "interpolated"])
def test_a_merge_has_nothing_to_train(name, tmp_path):
    with pytest.raises(ConfigError, match="nothing to train. Fix: add --eval-only"):
        run(name, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="several processes on CPU; on GPUs they are Detectron2's")
@pytest.mark.parametrize("name", ["combined_entropy", "distill_replay"])
def test_two_processes(name, tmp_path):
    opts = [str(o) for o in (*SMALL, *options_of(name), "OUTPUT_DIR", tmp_path, "SOLVER.MAX_ITER", 2)]
    launch(
        run_process,
        default_argument_parser().parse_args(["--config-file", f"minicity/{name}.yaml", "--num-gpus", "2", *opts]),
        "cpu",
    )
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "finished"
    assert read_checkpoint(str(tmp_path / "model_final.pth"))["iteration"] == 1
