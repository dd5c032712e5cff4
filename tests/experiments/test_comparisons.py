"""Differences of methods: paired over seeds, bootstrapped over images, against SciPy and a slow plain form."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.experiments.suite_stub import row, write_suite, write_tools
from zsseg_d2.evaluation.panoptic.bootstrap import ImageCounts, Interval, bootstrap_difference, quality
from zsseg_d2.evaluation.panoptic.panoptic_counts import PanopticCounts, class_quality, group_quality
from zsseg_d2.experiments.comparisons import Comparison, compare, comparison_table
from zsseg_d2.experiments.report import table
from zsseg_d2.experiments.results import Results, Row, SeedResult, tidy
from zsseg_d2.experiments.suite_file import load_suite
from zsseg_d2.reading import UnusableFile

IMAGES, ARITHMETIC = "panoptic_quality_images.safetensors", "naive_arithmetic_images.safetensors"


def images(rng: np.random.Generator, count: int = 12, classes: int = 3, level: float = 0.8) -> ImageCounts:
    tp, fp, fn = (rng.integers(0, 4, (count, classes)).astype(float) for _ in range(3))
    return ImageCounts(tuple(f"image {k}" for k in range(count)), np.stack((level * tp, tp, fp, fn)))


def test_quality_is_that_of_the_report():
    found = images(np.random.default_rng(0))
    total = found.counts.sum(1)
    total[:, 2] = 0  # a class that does not occur
    plain = group_quality(class_quality(PanopticCounts(*total)), range(3))["PQ"]
    assert quality(total) == pytest.approx(plain) and math.isnan(quality(np.zeros((4, 3))))


def test_a_bootstrap_against_loops():
    """The same draws, image by image."""
    rng = np.random.default_rng(1)
    one, other = [images(rng), images(rng)], [images(rng, level=0.7)]
    found = bootstrap_difference(one, other, draws=50, seed=4)
    drawn = np.random.default_rng(4).multinomial(12, [1 / 12] * 12, size=50)

    def score(of_seed: ImageCounts, repeats) -> float:
        total = PanopticCounts.zeros(3)
        for image, times in enumerate(repeats):
            for _ in range(times):
                total += PanopticCounts(
                    *(part[image] if k == 0 else part[image].astype(int) for k, part in enumerate(of_seed.counts))
                )
        return group_quality(class_quality(total), range(3))["PQ"]

    def difference(repeats) -> float:
        return np.mean([score(s, repeats) for s in one]) - np.mean([score(s, repeats) for s in other])

    expected = [difference(repeats) for repeats in drawn]
    assert found.value == pytest.approx(difference([1] * 12))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_a_method_does_not_differ_from_itself_in_any_order(seed):
    rng = np.random.default_rng(seed)
    found = images(rng)
    order = rng.permutation(12)
    again = ImageCounts(tuple(found.images[k] for k in order), found.counts[:, order])
    assert bootstrap_difference([found], [again], draws=20) == pytest.approx((0, 0, 0), abs=1e-9)


def test_other_images_cannot_be_compared():
    rng = np.random.default_rng(2)
    other = images(rng)
    with pytest.raises(ValueError, match="not evaluated on the same images"):
        bootstrap_difference([images(rng)], [ImageCounts(("other", *other.images[1:]), other.counts)])


def test_counts_come_back_from_their_file(tmp_path):
    counts = {"a": PanopticCounts(np.array([0.7, 0.0]), *(np.array([1, k]) for k in range(3)))}
    counts[7] = PanopticCounts.zeros(2)
    found = ImageCounts.of(counts)
    found.write(tmp_path / IMAGES)
    again = ImageCounts.read(tmp_path / IMAGES)
    assert again.images == ("a", "7") and np.array_equal(again.counts, found.counts)
    assert again.counts[:, 0].tolist() == [[0.7, 0.0], [1, 0], [1, 1], [1, 2]]
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / IMAGES).read_bytes()[:-8])
    with pytest.raises(UnusableFile):
        ImageCounts.read(tmp_path / "cut.safetensors")


SCORES = {
    "zero_shot": [40.0],
    "upper": [50.0, 52.0],
    "lower": [30.0, 31.0],
    "both": [45.0, 46.5],
    "naive": [44.0, 46.0],
}


@pytest.fixture
def results(tmp_path) -> Results:
    suite = load_suite(write_suite(tmp_path / "suite.yaml"), write_tools(tmp_path / "tools"))
    rng, rows = np.random.default_rng(3), []
    for run in suite.runs:
        seeds = {}
        for k, score in enumerate(SCORES[run.name]):
            folder = tmp_path / run.name / str(k)
            place = folder / "inference" / "some_set"
            place.mkdir(parents=True)
            images(rng, count=40, level=score / 50).write(place / IMAGES)
            values = {"all": score, "in": score, "out": score}
            seeds["once" if run.once else str(k + 1)] = SeedResult("finished", values=values, folder=Path(folder))
        rows.append(Row(run, seeds, "labels" if run.name == "upper" else None))
    frame = tidy(rows)
    summary = frame.groupby(["run", "measure"])["value"].agg(["mean", "std", "count"])
    for of_run in rows:
        of_run.summary = summary[summary.index.get_level_values("run") == of_run.run.name].droplevel("run")
    return Results(suite, rows, frame, "now")


def test_pairs_of_seeds_against_scipy(results):
    found = compare(results, row(results, "both"), row(results, "naive"))
    assert (found.difference, found.seeds) == (0.75, 2)
    assert found.spread == pytest.approx(math.sqrt(0.125))
    assert found.p == pytest.approx(stats.ttest_rel([45.0, 46.5], [44.0, 46.0]).pvalue)
    assert found.interval is not None and found.interval.low < found.interval.high


def test_a_row_that_is_run_once_stands_beside_every_seed(results):
    found = compare(results, row(results, "both"), row(results, "zero_shot"))
    assert (found.difference, found.seeds) == (5.75, 2)
    assert found.p == pytest.approx(stats.ttest_1samp([5.0, 6.5], 0).pvalue)
    one = row(results, "both")
    one.seeds.pop("2")
    alone = compare(results, one, row(results, "naive"))
    assert alone.seeds == 1 and math.isnan(alone.p) and math.isnan(alone.spread)


def counts_of(results: Results, name: str, *seeds: str, file: str = IMAGES) -> list[ImageCounts]:
    return [ImageCounts.read(row(results, name).seeds[seed].folder / "inference/some_set" / file) for seed in seeds]


@pytest.mark.parametrize("lost", ["a seed is outdated", "a seed has no figure", "a seed is missing"])
def test_difference_and_interval_are_of_the_same_seeds(lost, results):
    one, other = row(results, "both"), row(results, "naive")
    if lost == "a seed is outdated":
        other.seeds["2"].status = "outdated"
    elif lost == "a seed has no figure":
        other.seeds["2"].values.clear()
    else:
        del other.seeds["2"]
    alone = bootstrap_difference(counts_of(results, "both", "1"), counts_of(results, "naive", "1"))
    mixed = bootstrap_difference(counts_of(results, "both", "1", "2"), counts_of(results, "naive", "1"))
    assert alone != mixed
    found, turned = compare(results, one, other), compare(results, other, one)
    assert (found.difference, found.seeds, found.interval) == (1.0, 1, alone)
    assert (turned.difference, turned.interval.value) == (-1.0, -alone.value)


def test_the_one_result_of_a_row_is_read_once(results):
    with mock.patch.object(ImageCounts, "read", side_effect=ImageCounts.read) as read:
        found = compare(results, row(results, "both"), row(results, "zero_shot"))
    assert read.call_count == 3
    counts = counts_of(results, "both", "1", "2"), counts_of(results, "zero_shot", "once")
    assert found.interval == bootstrap_difference(*counts)


def test_the_interval_is_of_the_file_of_the_figures(results):
    """Class-wise arithmetic stands beside the merged map, in the same folder."""
    one, other = row(results, "both"), row(results, "naive")
    merged = compare(results, one, other).interval
    other.run = replace(other.run, metrics="naive_arithmetic.json")
    assert compare(results, one, other).interval is None, "an evaluation without counts of its own"
    for k, result in enumerate(other.seeds.values()):
        images(np.random.default_rng(k), count=40).write(result.folder / "inference" / "some_set" / ARITHMETIC)
    found = compare(results, one, other).interval
    ours, theirs = counts_of(results, "both", "1", "2"), counts_of(results, "naive", "1", "2", file=ARITHMETIC)
    assert found == bootstrap_difference(ours, theirs) != merged
    other.run = replace(other.run, curve_row=0.5)
    assert compare(results, one, other).interval is None, "its figures are those of a point of the curve"


@pytest.mark.parametrize(
    ("difference", "p", "interval", "verdict"),
    [
        (1.0, 0.01, (0.2, 1.8), "better"),
        (-1.0, 0.01, (-1.8, -0.2), "worse"),
        (1.0, 0.2, (0.2, 1.8), "no difference"),
        (1.0, 0.01, (-0.2, 1.8), "no difference"),
        (1.0, 0.01, (-1.8, -0.2), "no difference"),
        (-1.0, 0.01, (0.2, 1.8), "no difference"),
        (1.0, math.nan, (0.2, 1.8), "not tested"),
        (-1.0, math.nan, (-1.8, -0.2), "not tested"),
        (1.0, math.nan, (-0.2, 1.8), "no difference"),
        (1.0, math.nan, (-1.8, -0.2), "no difference"),
        (1.0, 0.01, None, "not tested"),
        (1.0, 0.2, None, "no difference"),
        (1.0, math.nan, None, "not tested"),
    ],
)
def test_a_difference_is_one_if_both_tests_say_so(difference, p, interval, verdict):
    found = None if interval is None else Interval(difference, *interval)
    assert Comparison(difference, 0.5, 2, p, found).verdict == verdict


def test_the_table_compares_the_best_with_every_other_row(results):
    text = comparison_table(results)
    assert text.startswith("PQ All of **both at once** minus that of each other row, on DATASETS.TEST")
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert [line[0] for line in lines[2:]] == ["zero shot", "upper", "lower", "naive"]
    assert lines[5][1:4] == ["+0.8 ± 0.4", "2", f"{stats.ttest_rel([45.0, 46.5], [44.0, 46.0]).pvalue:.3f}"]
    assert lines[5][5] == "no difference"


def test_the_report_says_what_the_verdicts_mean(results):
    """One seed: no p, and an interval around 0 rules a difference out as it does beside one."""
    text = comparison_table(results)
    told = "p is below 0.05 and the interval lies on its side of 0; if either is not so, the verdict is no difference."
    assert told in text
    assert "Where one of the two is missing and the other does not rule a difference out, it is not tested." in text
    for name in ("both", "naive"):
        del row(results, name).seeds["2"]
    one, other = row(results, "both"), row(results, "naive")
    found = compare(results, one, other)
    assert math.isnan(found.p) and found.interval.low < 0 < found.interval.high and found.verdict == "no difference"
    assert compare(results, one, row(results, "lower")).verdict == "not tested"


def test_rows_are_compared_with_those_that_the_suite_file_names(results):
    naive = row(results, "naive")
    pairs = {"naive": ("lower", "zero_shot"), "zero_shot": ("upper",)}
    rows = [replace(r, run=replace(r.run, against=pairs.get(r.run.name, ()))) for r in results.rows]
    text = comparison_table(replace(results, rows=rows)).removeprefix(comparison_table(results))
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert text.strip().startswith("The same for rows that are to be compared with others")
    assert [line[:2] for line in lines[2:]] == [["zero shot", "upper"], ["naive", "lower"], ["naive", "zero shot"]]
    found = compare(results, naive, row(results, "lower"))
    assert lines[3][2:5] == ["+14.5 ± 0.7", "2", f"{stats.ttest_rel([44.0, 46.0], [30.0, 31.0]).pvalue:.3f}"]
    assert lines[3][6] == found.verdict and lines[2][2] == "-11.0 ± 1.4"


def test_points_of_lines_are_compared_with_named_rows_alone(results):
    """Each point has its own In and Out: none is the best, and none is in bold."""
    against = {"both": ("naive",)}
    runs = {r.run.name: replace(r.run, series="a line", deleted=3, role="") for r in results.rows}
    rows = [replace(r, run=replace(runs[r.run.name], against=against.get(r.run.name, ()))) for r in results.rows]
    points = replace(results, rows=rows)
    text = comparison_table(points)
    assert points.best("all") is None and results.best("all") is not None
    assert "**" not in table(points, markdown=True) and "**" in table(results, markdown=True)
    assert text.startswith("PQ All of a row minus that of another, on DATASETS.TEST: mean")
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert [line[:3] for line in lines[2:]] == [["both at once", "naive", "+0.8 ± 0.4"]]


def test_counts_that_are_missing_leave_the_test_over_seeds(results, tmp_path):
    (tmp_path / "naive" / "0" / "inference" / "some_set" / IMAGES).unlink()
    found = compare(results, row(results, "both"), row(results, "naive"))
    assert found.interval is None and not math.isnan(found.p)


def test_the_test_set_is_compared_where_there_is_one(results, tmp_path):
    held_out = replace(results, suite=replace(results.suite, test="held_out"))
    for name, scores in SCORES.items():
        for k, result in enumerate(row(results, name).seeds.values()):
            result.values["test_all"] = scores[k] - k
            place = Path(result.folder) / "inference" / "held_out"
            place.mkdir()
            images(np.random.default_rng(9), count=7).write(place / IMAGES)
    found = compare(held_out, row(results, "both"), row(results, "lower"))
    assert found.difference == pytest.approx(15.25) and found.interval == pytest.approx((0, 0, 0), abs=1e-9)
    assert json.dumps(found.interval)
