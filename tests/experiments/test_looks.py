"""A run looks the same in every plot of a report, however many of the suite's runs have been run."""

from __future__ import annotations

from types import SimpleNamespace

from zsseg_d2.experiments import referring_plots
from zsseg_d2.experiments.plots import COLOURS, HATCHES, look, looks


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
