"""The warning about slow loading, on times that are written down instead of measured."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from detectron2.engine.hooks import IterationTimer
from detectron2.utils.events import EventStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from zsseg_d2.engine.training.hooks import DataLoadingMonitor, ProgressBar, loading_advice
from zsseg_d2.engine.training.trainer import Trainer


@pytest.fixture
def warnings(monkeypatch):
    """What a run of (wait, whole) seconds an iteration logs; None in place of a number: not recorded."""

    def run(seconds, start=0, workers=2):
        found = []
        logger = logging.getLogger("zsseg_d2.engine.training.hooks")
        monkeypatch.setattr(logger, "warning", lambda text, *values: found.append((trainer.iter, text % values)))
        watch = DataLoadingMonitor(workers)
        with EventStorage(start) as storage:
            trainer = watch.trainer = SimpleNamespace(storage=storage, iter=start, start_iter=start)
            watch.before_train()
            for wait, whole in seconds:
                for key, value in (("data_time", wait), ("time", whole)):
                    if value is not None:
                        storage.put_scalar(key, value)
                watch.after_step()
                storage.step()
                trainer.iter += 1
            watch.after_train()
        return found

    return run


def test_one_warning_a_run_with_numbers_and_advice(warnings, monkeypatch):
    monkeypatch.setattr("zsseg_d2.engine.training.hooks.usable_cores", lambda: 16)
    ((iteration, text),) = warnings([(1.3, 2.0)] * 400, start=30)
    assert iteration == 79
    assert text == (
        "Loading took 1.3 s of each 2 s iteration: training waits for data. Raise DATALOADER.NUM_WORKERS "
        "(now 2; 16 cores are usable here)."
    )


def test_loading_that_keeps_up_is_not_mentioned(warnings):
    assert warnings([(0.001, 2.0)] * 200) == []
    assert warnings([(0.199, 2.0)] * 200) == []
    assert len(warnings([(0.201, 2.0)] * 200)) == 1


def test_waits_that_come_again_count_and_a_single_one_does_not(warnings):
    assert warnings([(0.0, 1.0)] * 60 + [(30.0, 31.0)] + [(0.0, 1.0)] * 60) == []
    assert len(warnings([(0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (4.0, 5.0)] * 25)) == 1


def test_a_short_run_is_judged_at_its_end(warnings):
    assert [iteration for iteration, _ in warnings([(1.0, 2.0)] * 20)] == [20]
    assert warnings([(1.0, 2.0)] * 10) == []  # too few
    assert warnings([]) == []


def test_loading_that_becomes_slow_is_noticed(warnings):
    ((iteration, _),) = warnings([(0.0, 1.0)] * 100 + [(1.0, 2.0)] * 100)
    assert iteration == 149


def test_the_first_iterations_have_no_time_and_other_processes_no_data_time(warnings):
    """Starting the workers takes seconds, which say nothing about the rest."""
    assert warnings([(9.0, None)] * 2 + [(0.0, 1.0)] * 60) == []
    assert warnings([(None, 2.0)] * 60) == []
    assert warnings([(2.0, None)] * 60) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 5)), min_size=11, max_size=49))
def test_the_rule_written_plainly(pairs):
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("zsseg_d2.engine.training.hooks"), "warning", lambda *a: found.append(a[1:3]))
        watch = DataLoadingMonitor(0)
        with EventStorage(0) as storage:
            watch.trainer = SimpleNamespace(storage=storage, iter=0, start_iter=0)
            for wait, step in pairs:
                storage.put_scalars(data_time=wait, time=wait + step)
                storage.step()
            watch.after_train()
    rest = sorted((wait, wait + step) for wait, step in pairs)[:-1]
    wait, whole = sum(w for w, _ in rest), sum(t for _, t in rest)
    if abs(wait - 0.1 * whole) > 1e-9:
        assert bool(found) == (wait > 0.1 * whole)


@pytest.mark.parametrize(
    "workers, cores, expected",
    [
        (0, 4, "Raise DATALOADER.NUM_WORKERS (now 0; 4 cores are usable here)."),
        (4, 4, "NUM_WORKERS is 4 and 4 cores are usable here"),
        (2, 1, "NUM_WORKERS is 2 and 1 core is usable here"),
    ],
)
def test_advice(workers, cores, expected):
    assert expected in loading_advice(workers, cores)


def test_the_trainer_watches_after_it_has_measured(make_config):
    trainer = Trainer(make_config("SOLVER.MAX_ITER", 1))
    kinds = [type(hook) for hook in trainer._hooks]
    assert kinds.index(IterationTimer) < kinds.index(DataLoadingMonitor)


def test_a_real_run_records_what_is_judged(make_config, monkeypatch):
    """Detectron2 writes both times under the names that are read here; any wait is too long in this run."""
    found = []
    monkeypatch.setattr(DataLoadingMonitor, "SHARE", 0.0)
    monkeypatch.setattr(DataLoadingMonitor, "FEWEST", 2)
    monkeypatch.setattr(logging.getLogger("zsseg_d2.engine.training.hooks"), "warning", lambda *a: found.append(a[1:3]))
    trainer = Trainer(make_config("SOLVER.MAX_ITER", 6))
    trainer.resume_or_load(resume=False)
    trainer.train()
    ((wait, whole),) = found
    assert 0 < wait < whole


def test_a_bar_that_never_began_can_be_closed():
    """Where an earlier hook failed, its error is the one that is reported."""
    ProgressBar().after_train()
