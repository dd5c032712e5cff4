"""Suites about phrases: from made-up run folders to table, remarks, plots and samples; numbers worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image

from zsseg_d2.engine.config.packaged import config_root
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.experiments import job_record, referring_plots
from zsseg_d2.experiments.gather import gather
from zsseg_d2.experiments.measures import LOSS, MEAN_IOU, REFERRING
from zsseg_d2.experiments.remarks import remarks
from zsseg_d2.experiments.report import table, write_report
from zsseg_d2.experiments.results import Results
from zsseg_d2.experiments.runs import RunJob, make_jobs
from zsseg_d2.experiments.suite_file import load_suite

TOOLS = config_root().parent / "tools"
FIGURES = {"a_bce": 40.0, "a_dice": 50.0, "b_bce": 58.0, "b_dice": 20.0}
"""Mean IoU by run with seed 1; 4 more with seed 2."""
RUNS = [
    {
        "name": name,
        "label": f"{name[0].upper()}, {loss}",
        "config": f"miniphrases/{config}.yaml",
        "options": {"MODEL.REFERRING.LOSS": loss},
    }
    for name, config, loss in (
        ("a_bce", "clipseg_model1", "bce"),
        ("a_dice", "clipseg_model1", "dice"),
        ("b_bce", "unet_vit", "bce"),
        ("b_dice", "unet_vit", "dice"),
    )
]


def write_run(job: RunJob, mean_iou: float, blind: float | None) -> None:
    """What a finished training leaves, of four iterations with an evaluation in the middle and at the end."""
    folder = job.folder
    (folder / "inference" / "some_set").mkdir(parents=True)
    scores = {
        "mean_iou": mean_iou,
        "cum_iou": mean_iou + 1,
        "acc@0.5": mean_iou + 2,
        "pixel_accuracy": 90.0,
        "dice": 70.0,
    }
    subsets = {"t_obj": {"n": 3, "mean_iou": mean_iou - 1}, "t_stuff": {"n": 0, "mean_iou": None}}
    report = {
        **scores,
        "subsets": subsets,
        "shuffled_phrase_baseline": {"n": 4 if blind is not None else 0, "mean_iou": blind},
    }
    (folder / "inference" / "some_set" / "referring.json").write_text(json.dumps(report))
    lines = [{"iteration": k, "time": 2.0, "total_loss": mean_iou / 10 - k} for k in range(4)]
    lines[1]["referring/mean_iou"], lines[3]["referring/mean_iou"] = mean_iou - 10, mean_iou
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    parameters = {"total": 1_500_000, "trainable": 1_128_545 if job.name[0] == "a" else 45_678}
    (folder / "run.json").write_text(
        json.dumps({"mode": "train", "status": "finished", "seed": job.seed, "parameters": parameters})
    )
    record = {"fingerprint": job.fingerprint, "settings": job.settings, "status": "finished", "seconds": 9.0}
    job_record.write_record(folder, {**record, "needs": {}, "made": "now"})
    (folder / "samples").mkdir()
    Image.new("RGB", (30, 20), (job.seed, 0, 0)).save(folder / "samples" / "strip.png")
    (folder / "samples" / "samples.gif").write_bytes(f"GIF of {job.title}".encode())


@pytest.fixture
def results(tmp_path):
    """``results(blind=…)``: of a suite with two decoders, two losses and two seeds."""

    def make(blind: float | None = 12.0, better: float = 0.0) -> Results:
        path = tmp_path / "suite.yaml"
        suite = {
            "title": "Phrases",
            "task": "referring",
            "output": str(tmp_path / "out"),
            "seeds": [1, 2],
            "runs": RUNS,
        }
        path.write_text(yaml.safe_dump(suite))
        loaded = load_suite(path, TOOLS)
        jobs = make_jobs(loaded)
        for job in jobs:
            write_run(job, FIGURES[job.name] + 4 * (job.seed == 2) + better, blind)
        return gather(loaded, jobs)

    return make


def test_a_report_is_read_by_hand():
    content = {"mean_iou": 1.0, "cum_iou": 2.0, "acc@0.5": 3, "acc@0.9": 9, "pixel_accuracy": 4.0, "dice": 5.0}
    found = REFERRING.figures_of_file({**content, "shuffled_phrase_baseline": {"n": 2, "mean_iou": 6.0}})
    assert found == {"mean_iou": 1.0, "cum_iou": 2.0, "acc_50": 3.0, "pixel_accuracy": 4.0, "dice": 5.0, "blind": 6.0}
    assert "blind" not in REFERRING.figures_of_file({**content, "shuffled_phrase_baseline": {"n": 0, "mean_iou": None}})
    subsets = {"t_obj": {"n": 2, "mean_iou": 7.0}, "t_stuff": {"n": 0, "mean_iou": None}}
    assert REFERRING.details({"subsets": subsets}) == {"per_class": {"t_obj": {"mean IoU": 7.0, "n": 2, "group": ""}}}


def test_the_table_tells_scores_and_trained_parameters(results):
    found = results()
    head, _, *rows = table(found, markdown=True).splitlines()
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert columns == [
        "method",
        "mean IoU",
        "cumulative IoU",
        "accuracy at 0.5",
        "pixel accuracy",
        "Dice",
        "shuffled phrase IoU",
        "trained parameters",
        "training time",
    ]
    cells = {r.strip("|").split("|")[0].strip(): [c.strip() for c in r.strip("|").split("|")[1:]] for r in rows}
    spread = f"{math.sqrt(8):.1f}"  # of x and x + 4
    assert cells["A, dice"] == [f"{v} ± {spread}" for v in ("52.0", "53.0", "54.0")] + [
        "90.0 ± 0.0",
        "70.0 ± 0.0",
        "12.0 ± 0.0",
        "1,128,545",
        "8 s",
    ]
    assert cells["B, bce"][0] == f"**60.0 ± {spread}**" and cells["B, bce"][-2] == "45,678"
    assert not any("*" in row[5] for row in cells.values()), "ignoring the phrase is no merit"
    text = (write_report(found, found.suite.output)).read_text()
    assert "leak" not in text.lower() and "Trained parameters: of the decoder; CLIP is frozen." in text


def test_remarks_name_the_best_its_phrase_blind_score_and_the_target(results):
    found = results()
    assert found.best(MEAN_IOU.key).run.name == "b_bce"
    first, target = remarks(found)
    assert first == (
        "The best mean IoU is **B, bce**'s with 60.0; its masks of another phrase about the same image reach 12.0 "
        "(shuffled phrase)."
    )
    assert target == "Target: mean IoU at least 60. Reached."


def test_remarks_without_a_phrase_blind_score_and_below_the_target(results):
    first, target = remarks(results(blind=None, better=-0.5))
    assert first == "The best mean IoU is **B, bce**'s with 59.5." and target.endswith("Not reached.")


def test_the_page_shows_plots_and_the_samples_of_the_best(results, tmp_path):
    found = results()
    page = write_report(found, found.suite.output).read_text()
    shown = {line.split("(")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")}
    names = {"mean_iou.png", "losses.png", "iterations.png", "strip.png", "samples.gif"}
    folder = found.suite.output / "plots"
    assert shown == {f"plots/{name}" for name in names} and names == {p.name for p in folder.iterdir()}
    assert (folder / "samples.gif").read_bytes() == b"GIF of b_bce, seed 1"
    assert Image.open(folder / "strip.png").getpixel((0, 0)) == (1, 0, 0)
    for name in ("mean_iou", "losses", "iterations"):
        pixels = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"))
        assert 0.005 < (pixels < 245).any(2).mean() < 0.7 and pixels.shape[1] > 700


@pytest.fixture
def drawn(monkeypatch):
    """Figures in place of files."""
    figures = []
    monkeypatch.setattr(referring_plots, "save", lambda figure, path: figures.append(figure) or path)
    return figures


def test_bars_are_means_by_decoder_and_loss(results, drawn, tmp_path):
    found = results()
    assert referring_plots.decoder_bars(found, MEAN_IOU, tmp_path / "bars.png") == tmp_path / "bars.png"
    (ax,) = drawn[0].axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["A", "B"]
    bars = sorted(ax.patches, key=lambda bar: bar.get_x())
    assert [bar.get_height() for bar in bars] == [42, 52, 60, 22] and bars[1].get_x() < 0.5 < bars[2].get_x()
    assert [t.get_text() for t in ax.texts] == ["42", "52", "60", "22"]
    # Decoders by color, as in the other plots; losses by hatch.
    assert bars[0].get_facecolor() == bars[1].get_facecolor() != bars[2].get_facecolor() == bars[3].get_facecolor()
    assert bars[0].get_hatch() == bars[2].get_hatch() != bars[1].get_hatch() == bars[3].get_hatch()
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["bce", "dice"]
    ends = [line.get_segments()[0][:, 1].tolist() for line in ax.collections]
    assert ends[0] == pytest.approx([42 - math.sqrt(8), 42 + math.sqrt(8)]) and len(ends) == 4


def test_curves_of_each_loss_have_a_panel_of_their_own(results, drawn, tmp_path):
    found = results()
    assert found.rows[0].seeds["1"].history["loss"] == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]
    assert found.rows[0].seeds["1"].history["mean_iou"] == [(2, 30.0), (4, 40.0)]
    assert referring_plots.loss_curves(found, LOSS, tmp_path / "losses.png")
    assert [ax.get_title() for ax in drawn[0].axes] == ["bce", "dice"]
    lines = {line.get_label(): line for line in drawn[0].axes[1].lines}
    assert list(lines) == ["A", "B"] and lines["A"].get_ydata() == pytest.approx([5.2, 4.2, 3.2, 2.2])  # of 5.0 and 5.4


def test_runs_of_the_same_decoder_and_loss_stay_apart(results, drawn, tmp_path):
    """What stands behind the loss tells them apart: a bar and a line of its own."""
    found = results()
    found.rows[3].run = replace(found.rows[1].run, name="a_dice_longer", label="A, dice, longer")
    referring_plots.decoder_bars(found, MEAN_IOU, tmp_path / "bars.png")
    ax = drawn[0].axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["A", "B", "A, longer"]
    assert len({bar.get_x() for bar in ax.patches}) == 4
    referring_plots.loss_curves(found, LOSS, tmp_path / "losses.png")
    styles = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in drawn[1].axes[1].lines}
    assert list(styles) == ["A", "A, longer"] and len(set(styles.values())) == 2


def test_nothing_is_drawn_of_nothing(tmp_path, drawn):
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({"task": "referring", "output": str(tmp_path / "out"), "runs": RUNS}))
    suite = load_suite(path, TOOLS)
    empty = gather(suite, make_jobs(suite))
    assert (
        remarks(empty) == []
        and not any(referring_plots.draw(empty, tmp_path / "plots"))
        and empty.best(MEAN_IOU.key) is None
    )


def test_a_suite_knows_its_measures(tmp_path):
    path = tmp_path / "suite.yaml"
    published = {"rows": [{"label": "CLIPSeg", "mean_iou": 48.2, "al": 1.0}]}
    path.write_text(yaml.safe_dump({"task": "referring", "runs": RUNS, "published": published}))
    with pytest.raises(ConfigError, match="unknown key 'al'"):
        load_suite(path, TOOLS)
    path.write_text(yaml.safe_dump({"task": "referrring", "runs": RUNS}))
    with pytest.raises(ConfigError, match="choose one of panoptic, referring"):
        load_suite(path, TOOLS)
