"""A run looks the same in every plot of a report, however many of the suite's runs have been run."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.path import Path as Line
from matplotlib.transforms import Bbox

from zsseg_d2.experiments import panoptic_plots, referring_plots
from zsseg_d2.experiments.plots import COLOURS, HATCHES, LIGHT_GREY, look, looks


def results(*runs, there=None):
    """Rows of (name, label, loss); `there` names those that have been run."""
    rows = [
        SimpleNamespace(
            run=SimpleNamespace(name=name, label=label, has_row=True, options=(("MODEL.REFERRING.LOSS", loss),)),
            not_run=there is not None and name not in there,
        )
        for name, label, loss in runs
    ]
    return SimpleNamespace(rows=rows, table=lambda: [row for row in rows if not row.not_run])


RUNS = [(f"run{k}", f"run {k}", "") for k in range(20)]


def test_the_look_of_a_run_does_not_depend_on_the_others():
    everything, some = looks(results(*RUNS)), looks(results(*RUNS, there=("run3", "run9")))
    assert some == everything and len(set(everything.values())) == 20
    assert everything["run9"] == look(9) and everything["run9"].color == COLOURS[2]
    assert everything["run2"].hatch != everything["run9"].hatch, "bars of one color are told apart"
    assert {look(k).hatch for k in range(28)} == set(HATCHES)


def test_decoders_have_a_color_and_losses_a_line():
    runs = [("a", "U-Net, Dice", "dice"), ("b", "U-Net, BCE", "bce"), ("c", "CLIPSeg, Dice", "dice")]
    found = referring_plots.looks(results(*runs))
    assert found["a"].color == found["b"].color != found["c"].color
    assert found["a"].line == found["c"].line != found["b"].line


def point(label, pq_in, pq_out, role="", extra=0, std=0.5):
    """The row of a run in the In-Out plot; `extra` parameters beyond the corners."""
    means = {"in": pq_in, "out": pq_out, "all": 0.6 * pq_in + 0.4 * pq_out}
    return SimpleNamespace(
        run=SimpleNamespace(label=label, role=role),
        there=[SimpleNamespace(details={"sizes": {"in": 3, "out": 2}})],
        has=lambda *keys: set(keys) <= set(means),
        mean=means.get,
        std=lambda key: std,
        extra=extra,
    )


CORNERS = [
    point("zero shot", 50, 30, role="zero_shot", std=float("nan")),
    point("upper bound", 66, 52, role="upper_bound"),
    point("lower bound", 65.5, 1, role="lower_bound"),
]
CROWD = [
    *(point(f"method {name} of one model", 64 + k % 3 * 0.5, 28 + k * 0.8) for k, name in enumerate("abcd")),
    point("merged by score", 65.2, 29.8, extra=9),
    point("trained together, fused by entropy", 64.6, 30.4, extra=9),
    point("far away", 55, 12, extra=9),
]


def of_panoptic(rows):
    return SimpleNamespace(
        shown="",
        table=lambda: rows,
        row=lambda role: next((row for row in rows if row.run.role == role), None),
        extra_parameters=lambda row: row.extra,
        suite=SimpleNamespace(target=SimpleNamespace(in_lost=1.0, out_gain=0.0, all_share=0.9)),
    )


def test_runs_are_references_or_have_the_parameters_of_one_model_or_more():
    zero, one, unknown, two = (
        point("zero", 0, 0, role="zero_shot", extra=7),
        point("one", 0, 0),
        point("unknown", 0, 0, extra=None),
        point("two", 0, 0, extra=7),
    )
    found = panoptic_plots._groups(of_panoptic([]), [two, one, zero, unknown])
    assert found == {"references": [zero], "one model's parameters": [one, unknown], "more parameters": [two]}
    assert list(found) == list(panoptic_plots.GROUPS), "the order of the legend"
    assert panoptic_plots._groups(of_panoptic([]), [two]) == {"more parameters": [two]}


class Scatter(NamedTuple):
    """An In-Out plot in pixels: what its labels must not cover, and what leads from them to their points."""

    boxes: dict[str, Bbox]
    points: dict[str, tuple[float, float]]
    lines: list[Line]  # of the corners, of equal PQ All, and error bars
    leaders: list[Line]
    width: float


@pytest.fixture(scope="module")
def scatter():
    """An In-Out plot with a crowd where the lines of both corners cross."""
    rows = [*CORNERS, *CROWD]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panoptic_plots, "save", lambda figure, path: figure)
        label = mock.Mock(side_effect=panoptic_plots._label_points)
        patch.setattr(panoptic_plots, "_label_points", label)
        figure = panoptic_plots.in_out_scatter(of_panoptic(rows), None)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    dashed = [line.get_xydata() for line in ax.lines if line.is_dashed()]
    equal = [line.get_xydata() for line in ax.lines if line.get_color() == LIGHT_GREY]
    assert len(dashed) == 2 and len(equal) > 3 and len(label.call_args.args[3]) == len(dashed) + len(equal)
    bars = [segment for bar in ax.collections if isinstance(bar, LineCollection) for segment in bar.get_segments()]
    assert len(bars) == 2 * (len(rows) - 1), "one seed has no spread"
    labels = [row.run.label for row in rows]
    texts = [text for text in ax.texts if text.get_text() in labels]
    assert sorted(text.get_text() for text in texts) == sorted(labels)
    to_pixels = ax.transData.transform
    return Scatter(
        {text.get_text(): text.get_window_extent() for text in texts},
        {row.run.label: tuple(to_pixels((row.mean("in"), row.mean("out")))) for row in rows},
        [Line(to_pixels(ends)) for ends in (*dashed, *equal, *bars)],
        [Line(to_pixels(line.get_xydata())) for line in ax.lines if line.get_linewidth() == 0.5],
        ax.bbox.width,
    )


def crossed(scatter, line):
    """Labels that a line crosses."""
    return [label for label, box in scatter.boxes.items() if line.intersects_bbox(box, filled=False)]


def distance(box, at):
    """In pixels, 0 inside."""
    (x, y), (low, high) = at, box.get_points()
    return np.hypot(max(low[0] - x, x - high[0], 0), max(low[1] - y, y - high[1], 0))


@pytest.mark.parametrize("alone", [row.run.label for row in (*CORNERS, CROWD[-1])])
def test_labels_stand_at_points_that_are_alone(scatter, alone):
    assert 0 < distance(scatter.boxes[alone], scatter.points[alone]) < 0.02 * scatter.width


def test_a_line_leads_from_each_point_to_its_label_and_through_no_other(scatter):
    found = []
    for leader in scatter.leaders:
        (away, k, label), *_ = sorted(
            (np.hypot(*(end - at)), k, label)
            for label, at in scatter.points.items()
            for k, end in enumerate(leader.vertices)
        )
        assert away < 1 and distance(scatter.boxes[label], leader.vertices[1 - k]) < 3, label
        assert set(crossed(scatter, leader)) <= {label}
        found.append(label)
    assert sorted(found) == sorted(scatter.points)


def test_no_label_covers_a_label_a_line_or_a_point(scatter):
    boxes = scatter.boxes
    assert not [(a, b) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]
    assert not [label for line in scatter.lines for label in crossed(scatter, line)]
    assert not [(label, of) for label, box in boxes.items() for of, at in scatter.points.items() if box.contains(*at)]
