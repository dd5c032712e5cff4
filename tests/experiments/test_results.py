"""From the files of runs to figures, table and plots; numbers worked out by hand."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.experiments import suite_stub
from tests.experiments.suite_stub import row, run_program, set_behaviour, write_suite
from zsseg_d2.experiments.gather import gather, history, read_lines, training_seconds
from zsseg_d2.experiments.measures import IN, PANOPTIC, Measure
from zsseg_d2.experiments.remarks import remarks
from zsseg_d2.experiments.report import describe_provenance, figure, footnotes, page, table, terminal
from zsseg_d2.experiments.results import Provenance, mean_curve
from zsseg_d2.experiments.runs import make_jobs
from zsseg_d2.experiments.suite_file import load_suite

CURVE = [
    {
        "name": "wise",
        "label": "WiSE",
        "tool": "step.py",
        "config": "minicity/zero_shot.yaml",
        "needs": ["lower"],
        "curve": "curve.json",
        "curve_row": 0.5,
        "extra_parameters": 0,
    },
    {
        "name": "again",
        "label": "bookkeeping",
        "of": "naive",
        "metrics": "panoptic_quality.json",
        "competes": False,
        "note": "not a map",
    },
    {"name": "labels", "tool": "step.py", "config": "minicity/zero_shot.yaml", "seeds": "once"},
    {
        "name": "data",
        "label": "making labels",
        "tool": "step.py",
        "config": "minicity/zero_shot.yaml",
        "seeds": "once",
        "result": "{output}/data/manifest.json",
    },
    {"name": "taught", "config": "minicity/in_class_finetune.yaml", "needs": ["data", "labels"]},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A suite with all kinds of rows, run with two seeds."""
    folder = tmp_path_factory.mktemp("suite")
    data = {"makes": str(folder / "out" / "data" / "manifest.json"), "seconds": 70.0}
    curve, commit = {"curve": True, "silent": True}, {"commit": "b" * 40 + "-dirty"}
    tools = suite_stub.write_tools(folder / "tools", wise=curve, naive=commit, data=data)
    path = write_suite(folder / "suite.yaml")
    text = path.read_text()
    runs = json.dumps(CURVE)[1:-1].replace("}, {", "}\n- {")
    published = '\npublished: {source: "a paper", rows: [{label: zero shot, all: 40.3, in: 48.2, out: 29.4}]}\n'
    path.write_text(text + f"- {runs}" + published)
    assert run_program([str(path), "--jobs", "2"], tools) == 0
    return folder, tools, path


def values(row, key):
    return [result.values[key] for result in row.there if key in result.values]


def test_curves_are_averaged_where_all_have_points():
    curve = mean_curve([{0.0: 1.0, 0.5: 2.0}, {0.5: 4.0, 1.0: 9.0}])
    assert (
        curve.index.tolist() == [0.5]
        and curve["mean"].tolist() == [3.0]
        and curve["std"].tolist() == [pytest.approx(math.sqrt(2))]
    )
    assert mean_curve([{2.0: 1.0, 1.0: 5.0}])["mean"].tolist() == [5.0, 1.0] and mean_curve([]).empty
    assert mean_curve([{1.0: 1.0}])["std"].isna().all()


def test_training_time_is_that_of_all_iterations():
    # 20 iterations of 0.5 s, 20 of 1 s; an evaluation in between has no time; the last 10 took 2 s each.
    lines = [{"iteration": 19, "time": 0.5}, {"iteration": 24, "x": 1}, {"iteration": 39, "time": 1.0}]
    assert training_seconds([*lines, {"iteration": 49, "time": 2.0}]) == 20 * 0.5 + 20 * 1.0 + 10 * 2.0


def test_iterations_that_were_done_twice_count_once(tmp_path):
    path = tmp_path / "metrics.json"
    first = [{"iteration": 1, "time": 1.0}, {"iteration": 3, "time": 9.0}, {"iteration": 3, "q": 5.0}]
    again = [{"iteration": 3, "time": 1.0, "q": 7.0}, {"iteration": 4, "q": 8.0}, {"iteration": 2, "q": float("nan")}]
    path.write_text("\n".join(map(json.dumps, first + again)) + '\n{"iteration": 5, "ti')
    lines = read_lines(path)
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4] and training_seconds(lines) == 4.0
    # An evaluation after iteration number 3, the fourth, and the one at the end.
    assert history(lines, Measure("q", "Q", scalar="q")) == [(4, 7.0), (4, 8.0)]
    assert read_lines(tmp_path / "none.json") == []


def test_the_harmonic_mean_is_that_of_each_seed(results):
    # lower: In 65 and 66, Out 2 and 4.
    lower = row(results, "lower")
    by_hand = [2 * 65 * 2 / 67, 2 * 66 * 4 / 70]
    assert values(lower, "harmonic") == pytest.approx(by_hand)
    assert lower.mean("harmonic") == pytest.approx(sum(by_hand) / 2)
    assert lower.std("harmonic") == pytest.approx(abs(by_hand[0] - by_hand[1]) / math.sqrt(2))
    assert lower.mean("all") == pytest.approx(((3 * 65 + 2 * 2) / 5 + (3 * 66 + 2 * 4) / 5) / 2)
    assert figure(lower, IN) == "65.5 ± 0.7" and figure(row(results, "zero_shot"), IN) == "50.0"


def test_a_group_without_classes_is_a_dash():
    found = PANOPTIC.figures_of_file({"All": {"PQ": 4.0}, "In": {"PQ": 4.0}, "Out": {"PQ": None}})
    assert found == {"all": 4.0, "in": 4.0}


def test_what_a_run_builds_on_counts_as_its_training_time(results):
    assert [s.own_seconds for s in row(results, "lower").there] == [8.0, 8.0]  # 4 iterations of 2 s
    assert row(results, "naive").there[0].own_seconds == 0.0 and row(results, "naive").mean("training_seconds") == 8.0
    assert row(results, "zero_shot").mean("training_seconds") == 0.0
    labels = row(results, "labels").there[0]
    assert labels.own_seconds == labels.wall_seconds > 0 and not row(results, "labels").run.has_row


def test_steps_are_told_beside_the_training_time(results, finished):
    manifest = finished[0] / "out" / "data" / "manifest.json"
    taught = row(results, "taught")
    assert taught.mean("training_seconds") == 8.0 and taught.there[0].step_seconds["data"] == 70.0
    assert (
        taught.there[0].step_seconds["labels"] == row(results, "labels").there[0].wall_seconds
    )  # says nothing of a dataset
    marks, texts = footnotes(results)
    assert "naive" not in marks and "Training time leaves out making labels, which took 1 min 10 s." in " ".join(texts)
    content = manifest.read_text()
    record = finished[0] / "out/once/data/suite_job.json"
    told = record.read_text()
    try:  # of a manifest that an earlier version of the tool wrote, when nothing was noted of it
        manifest.write_text('{"splits": {"train": {}}}')
        record.write_text(told.replace("result_sha256", "other"))
        again = gather(results.suite, make_jobs(results.suite))
        assert row(again, "taught").there[0].step_seconds["data"] is None
        assert "Training time leaves out making labels, whose time is not recorded." in " ".join(footnotes(again)[1])
        manifest.unlink()
        assert row(gather(results.suite, make_jobs(results.suite)), "taught").there[0].step_seconds["data"] is None
    finally:
        manifest.write_text(content)
        record.write_text(told)


def changed(results, *roles, **changes):
    """Results of the same suite with other settings of its runs; `roles` are taken away."""
    runs = tuple(
        replace(r, role="" if r.role in roles else r.role, **changes.get(r.name, {})) for r in results.suite.runs
    )
    suite = replace(results.suite, runs=runs)
    return gather(suite, make_jobs(suite))


def test_figures_of_other_settings_do_not_count(results, finished):
    again = changed(results, both={"options": (("SOLVER.BASE_LR", "0.5"),)})
    both = row(again, "both")
    assert [s.status for s in both.seeds.values()] == ["outdated"] * 2 and math.isnan(both.mean("all"))
    assert figure(both, IN) == "–" and math.isnan(both.mean("training_seconds")) and math.isnan(both.std("in"))
    line = next(line for line in table(again, markdown=True).splitlines() if "both at once" in line)
    assert line.count("–") == 6 and "**" not in line
    assert "Not up to date (seeds 1, 2): SOLVER.BASE_LR was 0.002, is 0.5." in " ".join(footnotes(again)[1])
    assert results.best("all").run.name == "both" and again.best("all").run.name != "both"
    assert not any("both at once" in remark for remark in remarks(again))
    record = finished[0] / "out/seed_2/both/suite_job.json"
    content = record.read_text()
    try:  # one of two seeds
        record.write_text(json.dumps(json.loads(content) | {"fingerprint": "older"}))
        both = row(gather(results.suite, make_jobs(results.suite)), "both")
        assert values(both, "in") == [64.5] and figure(both, IN) == "64.5" and both.seeds["2"].status == "outdated"
    finally:
        record.write_text(content)


def test_extra_parameters_are_beyond_the_corners(results):
    assert results.plain().run.name == "zero_shot" and results.extra_parameters(row(results, "naive")) == 500_000
    lower = changed(results, "zero_shot")
    assert lower.plain().run.name == "lower" and "beyond those of lower" in page(lower, [], lower.suite.output)
    none = changed(results, "zero_shot", "lower_bound")
    assert none.extra_parameters(row(none, "naive")) is None and none.extra_parameters(row(none, "wise")) == 0
    lines = {line.split("  ")[0]: line for line in table(none, markdown=False).splitlines()}
    assert lines["naive"].split("  ")[-2].strip() == "–" and "Extra parameters:" not in page(
        none, [], none.suite.output
    )


def test_what_has_seen_labels_of_out_is_not_leak_free(results):
    weights = (("ZSSEG.MODEL_TWO.WEIGHTS", "{upper}/model_final.pth"),)
    again = changed(results, naive={"options": weights, "needs": ("upper",)})
    assert row(again, "upper").leak and row(again, "naive").leak.startswith(
        "'upper', which it builds on, was trained on"
    )
    assert row(again, "again").leak_free is False and row(again, "lower").leak_free is True
    assert row(again, "naive") not in again.competitors("all") and row(results, "naive") in results.competitors("all")
    assert again.as_json()["runs"]["naive"]["leak_free"] is False


def test_what_builds_on_unknown_weights_is_neither_leak_free_nor_not(results):
    again = copy.deepcopy(results)
    row(again, "naive").unknown = "weights/foreign.pth"
    assert row(again, "naive").leak_free is None and row(again, "naive") not in again.competitors("all")
    lines = {line.split("  ")[0]: line for line in table(again, markdown=False).splitlines()}
    assert lines["naive"].split()[-1] == "unknown" and again.as_json()["runs"]["naive"]["leak_free"] is None
    row(again, "naive").leak = "it was trained on a set"
    assert row(again, "naive").leak_free is False


def test_where_runs_were_made(results):
    text = page(results, [], results.suite.output)
    assert (
        "By the runs' own records: machine 2 cores, Linux-1; software torch 2.0, detectron2 0.5. The runs differ in"
        in text
    )
    assert "commit: bbbbbbbbbb-dirty (naive, seed 1; naive, seed 2); aaaaaaaaaa (the others)." in text
    seed = results.as_json()["runs"]["naive"]["seeds"]["1"]
    assert seed["provenance"]["commit"] == "b" * 40 + "-dirty"


def test_provenance_in_words():
    one, two = Provenance("a GPU", "torch 2", "c" * 40), Provenance("2 cores", "", "c" * 40)
    assert (
        describe_provenance({"x": one, "y": Provenance()})
        == f"By the runs' own records: machine a GPU; software torch 2; commit {'c' * 10}."
    )
    many = {str(k): one for k in range(9)} | {f"n{k}": two for k in range(8)}
    assert describe_provenance(many) == (
        f"By the runs' own records: software torch 2; commit {'c' * 10}. The runs differ in machine: 2 cores (n0; n1; "
        "n2; n3; n4; n5; 8 runs in all); a GPU (the others)."
    )
    assert describe_provenance({}) == "" and Provenance.of({}) == Provenance()
    assert (
        Provenance.of({"machine": {"gpu": "H200", "cpus": 16, "platform": "Linux"}}).machine == "H200, 16 cores, Linux"
    )


def test_the_row_of_a_curve(results):
    wise = row(results, "wise")
    # In at alpha 0.5: 50 + seed · 0.5; Out 20.
    assert (
        values(wise, "in") == [50.5, 51.0]
        and values(wise, "all") == [40.5, 40.5]
        and values(wise, "out") == [20.0, 20.0]
    )
    assert values(wise, "harmonic") == pytest.approx([2 * 50.5 * 20 / 70.5, 2 * 51 * 20 / 71])
    assert wise.mean("training_seconds") == 8.0


def test_history_of_evaluations(results):
    found = row(results, "upper").seeds["1"].history
    # Evaluations after 2 iterations and, at the end, after 4; In is pq_in - 3 + k.
    assert found["in"] == [(2, 63.0 - 3 + 1), (4, 63.0 - 3 + 3)] and len(found["out"]) == 2


def test_the_table(results):
    lines = table(results, markdown=False).splitlines()
    cells = {line.split("  ")[0]: line for line in lines}
    assert "method" in cells and "harmonic mean" in lines[0]
    assert cells["upper (upper bound)"].endswith("no") and cells["lower (lower bound)"].endswith("yes")
    assert "0.50 million" in cells["naive"] and "8 s" in cells["naive"] and "none" in cells["zero shot"]
    assert cells["published: zero shot"].split()[3:] == ["40.3", "48.2", "29.4", "36.5", "–", "–", "–"]
    assert "bookkeeping (1)" in cells and "labels" not in cells
    text = table(results, markdown=True)
    best = next(line for line in text.splitlines() if "both at once" in line)
    assert best.count("**") == 8 and text.count("**") == 8  # the best leak-free one, in all four columns
    assert all(line.count("|") == 9 for line in text.splitlines())


def test_the_page(results, tmp_path):
    text = page(results, [tmp_path / "plots" / "in_out.png"], tmp_path)
    assert text.startswith("# A small suite\n") and "Seeds 1, 2; mean ± standard deviation (n - 1)." in text
    assert "(1) Not a map." in text and "Published rows: a paper." in text and "![in out](plots/in_out.png)" in text
    assert "(2 side by side with " in text and "each took longer than it would alone" in text
    # both: All 51.8 and 53.2 against upper's 54.6 and 56.0; In 64.5, 65.5; Out 32, 34.
    assert "**both at once** with 52.2, 94.4 % of the upper bound's 55.3" in text
    assert "its In 65.0 is -0.5 against the lower bound's 65.5; its Out 33.0 is +13.0 against zero shot's 20.0" in text
    assert "Reached by both at once." in text
    # Zero shot: (3 · 50 + 2 · 20) / 5.
    assert "Zero shot, which trains nothing and is not among the methods, has 38.0: not more." in text


def test_zero_shot_is_named_where_it_is_better_or_alone(results):
    rows = [replace(r, summary=r.summary.copy()) for r in results.rows]
    for r in rows:
        if r.run.role == "zero_shot":
            r.summary.loc["all", "mean"] = 60.0
    assert "has 60.0: more." in remarks(replace(results, rows=rows))[0]
    corners = [r for r in rows if r.run.role]
    assert remarks(replace(results, rows=corners)) == [
        "No leak-free method that trains has a result yet; zero shot has PQ All 60.0."
    ]


def test_published_rows_are_marked_on_the_terminal(results):
    lines = terminal(results).splitlines()
    assert lines.count("Published rows: a paper.") == 1
    with_figures = [line for line in lines if "40.3" in line and "48.2" in line and "29.4" in line]
    assert len(with_figures) == 1 and with_figures[0].startswith("published: zero shot ")
    assert len([line for line in lines if line.startswith("published: ")]) == 1
    unknown = replace(results, suite=replace(results.suite, published_source=""))
    assert "Published rows: not measured here." in terminal(unknown).splitlines()


def test_the_files(finished):
    folder = finished[0] / "out"
    content = json.loads((folder / "results.json").read_text())
    upper = content["runs"]["upper"]
    assert content["seeds"] == [1, 2] and content["measures"]["all"] == "PQ All"
    assert upper["mean"]["out"] == 43.0 and upper["std"]["out"] == pytest.approx(math.sqrt(2)) and upper["n"] == 2
    assert upper["seeds"]["2"]["values"]["out"] == 44.0 and upper["seeds"]["2"]["parameters"]["total"] == 1_000_000
    assert "SOLVER.MAX_ITER" in upper["seeds"]["2"]["command"] and upper["training_seconds"] == 8.0
    assert (
        content["runs"]["naive"]["extra_parameters"] == 500_000
        and content["runs"]["labels"]["extra_parameters"] is None
    )
    assert content["published"]["rows"][0]["all"] == 40.3
    shown = {
        line.split("(")[1].rstrip(")") for line in (folder / "results.md").read_text().splitlines() if line[:2] == "!["
    }
    assert shown == {f"plots/{name}.png" for name in ("iterations", "classes", "in_out", "wise")}


@pytest.mark.parametrize("name", ["iterations", "classes", "in_out", "wise"])
def test_plots_show_something(finished, name):
    image = Image.open(finished[0] / "out" / "plots" / f"{name}.png").convert("RGB")
    pixels = np.asarray(image)
    assert image.width > 900 and image.height > 500
    inked = (pixels < 245).any(axis=2)
    assert 0.005 < inked.mean() < 0.7 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_a_report_of_what_is_there(finished, tmp_path, capfd):
    """Holes are named, runs with other settings are marked, and nothing is run."""
    folder, tools, path = finished
    started = len(suite_stub.calls(tools))
    assert run_program([str(path), "--report", "--seeds", "1", "3", "SOLVER.MAX_ITER", "9"], tools) == 0
    output = capfd.readouterr().out
    assert len(suite_stub.calls(tools)) == started
    assert "Not up to date (seed 1): SOLVER.MAX_ITER was 4, is 9." in output
    assert "Not run (seed 3)." in output
    assert run_program([str(path), "--report", "--output", str(tmp_path / "none")], tools) == 0
    assert "Not run: zero shot; upper; lower; naive; both at once; WiSE; bookkeeping; taught." in capfd.readouterr().out
    assert run_program([str(path), "--report"], tools) == 0  # as it was, for other tests


def test_damaged_results_are_a_hole(finished, results, capfd):
    folder, tools, path = finished
    damaged = folder / "out/seed_1/both/inference/some_set/panoptic_quality.json"
    content = damaged.read_text()
    damaged.write_text(content[:40])
    try:
        again = gather(results.suite, make_jobs(results.suite))
        assert row(again, "both").seeds["1"].status == "failed" and len(values(row(again, "both"), "all")) == 1
        assert "Failed (seed 1)" in page(again, [], folder) and "cannot be read" in page(again, [], folder)
    finally:
        damaged.write_text(content)


def test_a_curve_without_the_point_of_the_row(finished, results):
    _, tools, path = finished
    other = path.with_name("other.yaml")
    other.write_text(path.read_text().replace('"curve_row": 0.5', '"curve_row": 0.3'))
    suite = load_suite(other, tools)
    assert "has no point at alpha 0.3" in row(gather(suite, make_jobs(suite)), "wise").seeds["1"].message


def test_one_seed_says_nothing_about_the_spread(finished, tmp_path, capfd):
    _, tools, path = finished
    set_behaviour(tools)
    assert run_program([str(path), "--seeds", "1", "--only", "both", "--output", str(tmp_path / "one")], tools) == 0
    text = (tmp_path / "one" / "results.md").read_text()
    assert "One seed (1): nothing is known about the spread." in text and "±" not in text.split("Training time")[0]
