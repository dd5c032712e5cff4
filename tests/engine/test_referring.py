"""Models of phrases as programs: training, evaluation, samples over the iterations, resuming, checkpoints."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_argument_parser
from PIL import Image

from tests.data.tiny_phrasecut import make_tiny_phrasecut, task
from tests.engine.stopping import train
from tests.tiny_referring import write_clip
from zsseg_d2.data import register_phrasecut
from zsseg_d2.engine.checkpoints.reading import read_checkpoint
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.engine.launch import launch
from zsseg_d2.engine.referring_task import test_samples as samples_of
from zsseg_d2.engine.run import run_process
from zsseg_d2.engine.training import samples
from zsseg_d2.engine.training.loaders import load_records
from zsseg_d2.engine.training.samples import probabilities
from zsseg_d2.engine.training.trainer import Trainer
from zsseg_d2.modeling.clip.loading import create_clip, resolve_clip_name

from . import tiny_phrases


def run(cfg, *flags) -> dict:
    """The program with a config file that holds all of `cfg`."""
    path = f"{cfg.OUTPUT_DIR}.yaml"
    with open(path, "w") as file:
        file.write(cfg.dump())
    return run_process(default_argument_parser().parse_args(["--config-file", path, *flags]))


def report(folder, name="tiny_phrases_test") -> dict:
    return json.loads((folder / "inference" / name / "referring.json").read_text())


@pytest.fixture(scope="module")
def finished(phrase_data, tmp_path_factory):
    """Two iterations and an evaluation with everything that is written."""
    folder = tmp_path_factory.mktemp("phrases")
    pictures = (
        "ZSSEG.SAMPLES.PERIOD",
        2,
        "ZSSEG.SAMPLES.COUNT",
        2,
        "ZSSEG.VIS_IMAGES",
        1,
        "ZSSEG.SAVE_PREDICTIONS",
        True,
    )
    cfg = tiny_phrases.config(folder / "out", *pictures)
    return cfg, folder / "out", run(cfg)


def test_the_scores_are_those_of_the_saved_masks(finished):
    _, folder, results = finished
    found, records = report(folder), load_records(["tiny_phrases_test"])
    ious, both, either = [], 0, 0
    for record in records:
        path = folder / "inference/tiny_phrases_test/predictions" / f"{record['task_id']}.png"
        mask, truth = np.asarray(Image.open(path)) > 0, record["polygons"].mask(64, 64)
        both, either = both + (mask & truth).sum(), either + (mask | truth).sum()
        ious.append((mask & truth).sum() / max((mask | truth).sum(), 1))
    assert found["mean_iou"] == pytest.approx(100 * np.mean(ious)) == pytest.approx(results["referring"]["mean_iou"])
    assert found["cum_iou"] == pytest.approx(100 * both / either)
    limits = [f"acc@0.{k}" for k in range(5, 10)]
    for key in (*limits, "pixel_accuracy", "dice", "iou_fg", "ap"):
        assert 0 <= found[key] <= 100
    assert found["acc@0.5"] == pytest.approx(100 * np.mean([iou > 0.5 for iou in ious]))
    assert found["num_tasks"] == len(records) and found["num_images"] == 3 and "t_obj" in found["subsets"]
    assert set(found["shuffled_phrase_baseline"]) == {"n", "mean_iou", "cum_iou", *limits}
    assert found["shuffled_phrase_baseline"]["n"] == len(records), "every image of the set has several phrases"
    assert len(list((folder / "inference/tiny_phrases_test/visualizations").glob("*.png"))) == 1
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished" and record["parameters"]["trainable"] < record["parameters"]["total"]
    losses = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert {"loss_bce", "loss_dice", "total_loss", "referring/mean_iou"} <= {key for line in losses for key in line}


def test_samples_show_the_same_tasks_over_the_iterations(finished):
    cfg, folder, _ = finished
    shown = folder / "samples"
    tasks = sorted(path.name for path in shown.iterdir() if path.is_dir())
    assert len(tasks) == 2 and len({name.split("__")[0] for name in tasks}) == 2, "of different images"
    assert {p.name for p in shown.glob("*/*")} == {"0000000.png", "0000002.png"} and len(list(shown.glob("*/*"))) == 4
    model = Trainer.build_model(cfg)
    Trainer.build_checkpointer(cfg, model).load(str(folder / "model_final.pth"))
    images, mapper = samples_of(cfg, load_records(["tiny_phrases_test"]))
    items = {item["task_id"]: item for image in images for item in mapper(image)}
    assert model.training
    for name, expected in zip(tasks, probabilities(model, [items[name] for name in tasks])):
        first, last = (np.asarray(Image.open(shown / name / f"000000{k}.png")) for k in (0, 2))
        assert last.shape == (64, 64) and np.abs(last - 255 * expected).max() <= 0.51
        assert (first != last).any()
    assert model.training, "the model is left as it was"
    gif = Image.open(shown / "samples.gif")
    assert gif.n_frames == 2 and Image.open(shown / "strip.png").width > gif.width


def in_processes(count: int, cfg, *flags) -> None:
    path = f"{cfg.OUTPUT_DIR}.yaml"
    with open(path, "w") as file:
        file.write(cfg.dump())
    arguments = ["--config-file", path, "--num-gpus", str(count), *flags]
    launch(run_process, default_argument_parser().parse_args(arguments), "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="several processes on CPU; on GPUs they are Detectron2's")
def test_the_scores_are_the_same_in_any_number_of_processes(finished, phrase_config, tmp_path):
    _, folder, results = finished
    weights = ("MODEL.WEIGHTS", str(folder / "model_final.pth"))
    for count in (1, 2, 4):
        in_processes(count, phrase_config(*weights, output=f"in_{count}"), "--eval-only")
        assert report(tmp_path / f"in_{count}") == report(folder), f"{count} processes"


@pytest.mark.skipif(torch.cuda.is_available(), reason="several processes on CPU; on GPUs they are Detectron2's")
def test_two_processes_resume_to_the_same_bits(phrase_config, tmp_path):
    constant = ("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR")  # else a shorter run has another schedule
    options = (*constant, "DATASETS.TEST", (), "SOLVER.MAX_ITER", 4)
    in_processes(2, phrase_config(*options, output="whole"))
    in_processes(2, phrase_config(*options[:-1], 2, output="parts"))
    in_processes(2, phrase_config(*options, output="parts"), "--resume")
    same_weights(tmp_path / "whole", tmp_path / "parts")


def same_weights(one, two) -> None:
    first, second = (read_checkpoint(str(folder / "model_final.pth")) for folder in (one, two))
    assert all(torch.equal(value, second["model"][name]) for name, value in first["model"].items())


@pytest.mark.parametrize(
    ("schedule", "workers", "decoder"),
    [
        *(("WarmupCosineLR", 0, "model1"), ("WarmupPolyLR", 0, "model1"), ("WarmupMultiStepLR", 0, "model1")),
        *(("WarmupCosineLR", 2, "model1"), ("WarmupPolyLR", 2, "model1"), ("WarmupMultiStepLR", 2, "model1")),
        ("WarmupCosineLR", 0, "unet"),
    ],
)
def test_a_resumed_run_writes_the_bytes_of_one_that_was_not_stopped(
    phrase_config, tmp_path, workers, schedule, decoder
):
    """Where phrases come again in other batches than those in which they came first."""
    last, saved = (4, 2) if decoder == "unet" else (8, 5)  # the U-Net is slow
    options = ("SOLVER.MAX_ITER", last, "SOLVER.CHECKPOINT_PERIOD", saved, "DATASETS.TEST", ())
    options += (
        "SOLVER.LR_SCHEDULER_NAME",
        schedule,
        "DATALOADER.NUM_WORKERS",
        workers,
        "INPUT.PHRASE.PROMPTS_TRAIN",
        "plain",
    )
    options += ("MODEL.REFERRING.DECODER", decoder)
    torch.manual_seed(0)
    train(phrase_config(*options, output="whole"))
    torch.manual_seed(0)
    train(phrase_config(*options, output="parts"), stop_before=saved + 1)
    torch.manual_seed(99)
    assert train(phrase_config(*options, output="parts"), resume=True).start_iter == saved
    final = [(tmp_path / name / "model_final.pth").read_bytes() for name in ("whole", "parts")]
    assert final[0] == final[1]


def test_a_resumed_run_ends_as_one_that_was_not_stopped(phrase_config, tmp_path):
    options = ["SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2]
    options += ["ZSSEG.SAMPLES.PERIOD", 2, "ZSSEG.SAMPLES.COUNT", 3]
    torch.manual_seed(0)
    whole = train(phrase_config(*options, output="whole"))
    torch.manual_seed(0)
    train(phrase_config(*options, output="parts"), stop_before=3)
    torch.manual_seed(99)
    parts = train(phrase_config(*options, output="parts"), resume=True)
    assert parts.start_iter == 2
    assert all(torch.equal(v, whole.model.state_dict()[k]) for k, v in parts.model.state_dict().items())
    states = [t.optimizer.state_dict()["state"] for t in (whole, parts)]
    assert states[0] and all(torch.equal(v, states[1][k][n]) for k, s in states[0].items() for n, v in s.items())
    assert report(tmp_path / "whole") == report(tmp_path / "parts")
    folders = [tmp_path / name / "samples" for name in ("whole", "parts")]
    files = [{str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*.*")} for f in folders]
    names = {*(f"000000{k}.png" for k in (0, 2, 4)), "strip.png", "samples.gif"}
    assert {name.split("/")[-1] for name in files[0]} == names
    assert len(files[0]) == 3 * 3 + 2 and files[0].keys() == files[1].keys() and files[0] == files[1]


def test_a_new_training_forgets_the_samples_of_an_older_one(phrase_config, tmp_path):
    options = ("ZSSEG.SAMPLES.PERIOD", 1, "DATASETS.TEST", ("tiny_phrases_val",))
    folder = tmp_path / "out" / "samples"
    for last, count in ((3, 2), (1, 1)):
        train(phrase_config(*options, "SOLVER.MAX_ITER", last, "ZSSEG.SAMPLES.COUNT", count))
        assert len(list(folder.glob("*/*.png"))) == count * (last + 1)
        assert Image.open(folder / "samples.gif").n_frames == last + 1


def test_of_many_iterations_some_are_shown(phrase_config, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "MOST_FRAMES", 3)
    cfg = phrase_config("ZSSEG.SAMPLES.PERIOD", 1, "ZSSEG.SAMPLES.COUNT", 1, "SOLVER.MAX_ITER", 4)
    shown = []
    panel = samples.panel
    monkeypatch.setattr(samples, "panel", lambda image, text, width: shown.append(text) or panel(image, text, width))
    train(cfg)
    assert Image.open(tmp_path / "out/samples/samples.gif").n_frames == 3
    assert [text for text in shown if text.isdigit()][-8:] == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "0",
        "2",
        "4",
    ]  # strip, then GIF


def test_a_run_is_resumed_with_its_own_settings(phrase_config, tmp_path):
    assert run(phrase_config("SOLVER.MAX_ITER", 1))
    ours = "MODEL.REFERRING."
    for key, value in ((ours + "LOSS", "dice"), ("INPUT.PHRASE.CROP", False), (ours + "CONDITION", "mixed")):
        with pytest.raises(ConfigError, match=f"--resume: {key.rsplit('.', 1)[0]}"):
            run(phrase_config(key, value), "--resume")
    run(phrase_config("SOLVER.MAX_ITER", 2), "--resume")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["resumed_at"] == 1


def test_a_checkpoint_leaves_out_a_clip_that_a_file_holds(phrase_config, tmp_path):
    clip = create_clip(resolve_clip_name(write_clip(tmp_path, "tiny_vit")), "")
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    weights = ("MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", str(tmp_path / "clip.pt"))
    results, final = run(phrase_config(*weights, output="with")), str(tmp_path / "with" / "model_final.pth")
    saved = read_checkpoint(final)["model"]
    assert saved and all(key.startswith("decoder.") for key in saved)
    assert run(phrase_config(*weights, "MODEL.WEIGHTS", final, output="again"), "--eval-only") == results
    train(phrase_config("SOLVER.MAX_ITER", 1, "DATASETS.TEST", (), output="random"))
    saved = read_checkpoint(str(tmp_path / "random" / "model_final.pth"))["model"]
    assert len([k for k in saved if k.startswith("backbone.clip_model.")]) == len(clip.state_dict())


def test_image_prompts_train_and_evaluate(phrase_config, tmp_path):
    """Phrases that are said of several images, and one that is not; samples too."""
    tasks = [task(image, 10 * image + k, phrase) for image in (1, 2, 3) for k, phrase in enumerate(("red car", "bus"))]
    tasks.append(task(3, 39, "alone"))
    root = make_tiny_phrasecut(tmp_path, test=tasks)
    register_phrasecut("tiny_phrases_pairs", root, "test")
    try:
        for condition in ("image", "mixed"):
            sets = ("DATASETS.TRAIN", ("tiny_phrases_pairs",), "DATASETS.TEST", ("tiny_phrases_pairs",))
            options = (*sets, "MODEL.REFERRING.CONDITION", condition, "ZSSEG.SAVE_PREDICTIONS", True)
            pictures = ("ZSSEG.SAMPLES.PERIOD", 2, "ZSSEG.SAMPLES.COUNT", 2)
            results, folder = run(phrase_config(*options, *pictures, output=condition)), tmp_path / condition
            shown = sorted((folder / "samples").glob("*/0000002.png"))
            assert len(shown) == 2
            for path in shown:  # with the image prompts of the evaluation
                mask = folder / "inference/tiny_phrases_pairs/predictions" / f"{path.parent.name}.png"
                np.testing.assert_array_equal(np.asarray(Image.open(path)) >= 128, np.asarray(Image.open(mask)) > 0)
            weights = ("MODEL.WEIGHTS", str(folder / "model_final.pth"))
            again = run(phrase_config(*options, *weights, output=f"{condition}_again"), "--eval-only")
            assert again == results, "the same prompts are drawn in every evaluation"
    finally:
        DatasetCatalog.remove("tiny_phrases_pairs")
        MetadataCatalog.remove("tiny_phrases_pairs")
