"""Files of a suite that are not what they should be: a run is done again or a hole in the table, never a traceback."""

from __future__ import annotations

import json
import os

import msgspec
import pytest

from zsseg_d2.engine.run_record import read_record as read_run_record
from zsseg_d2.experiments import job_record
from zsseg_d2.experiments.gather import read_json, read_lines, training_seconds
from zsseg_d2.experiments.job_record import Action, Job, read_record, state
from zsseg_d2.experiments.measures import PANOPTIC, Details

RECORD = {
    **{"run": "a", "seed": 1, "status": "finished", "command": ["python", "x"], "environment": {}, "gpu": None},
    **{"fingerprint": "f", "settings": {"values": {"SEED": 1}}, "needs": {"b": {"fingerprint": "g", "made": "t"}}},
    **{"made": "t", "started": "t", "seconds": 1.5, "attempts": 1, "threads": 1, "side_by_side": 2, "session": "s"},
    **{"pid": 1, "resumed": False, "reason": "", "replaced": None, "log_start": 0, "message": ""},
}
ODD = (None, True, -1, 1.5, "x", [], {}, [1], {"a": 1}, [[]], {"b": []}, 10**400)


def job(folder):
    settings = {"values": {"SEED": 2}}
    more = {"environment": {}, "settings": settings, "fingerprint": "h", "trains": True, "mode": "train", "expects": ()}
    return Job(name="a", seed=1, folder=folder, command=(), **more)


def test_a_sound_record_is_read(tmp_path):
    job_record.write_record(tmp_path, RECORD)
    assert read_record(tmp_path) == RECORD
    assert state(job(tmp_path)).action is Action.REPLACE


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"\xff", b"{", b"[" * 100_000, b'{"status": 3}', b"{}"])
def test_other_content_is_no_record(tmp_path, content):
    (tmp_path / job_record.RECORD).write_bytes(content)
    assert read_record(tmp_path) == {}
    assert state(job(tmp_path)) == (Action.REPLACE, "its folder was not made by this suite")


def test_entries_of_any_type(tmp_path):
    for key in RECORD:
        for value in ODD:
            job_record.write_record(tmp_path, {**RECORD, key: value})
            for fingerprint in ("f", "h"):
                present = job(tmp_path)
                object.__setattr__(present, "fingerprint", fingerprint)
                assert isinstance(state(present).action, Action)


def test_a_folder_or_a_pipe_is_no_record(tmp_path):
    os.mkfifo(tmp_path / job_record.RECORD)
    assert read_record(tmp_path) == {}


def test_lines_of_metrics_that_make_no_sense_are_skipped(tmp_path):
    good = [{"iteration": 0, "time": 2.0}, {"iteration": 3, "time": 1.0}]
    odd = [
        [],
        3,
        {"iteration": "x"},
        {"iteration": None},
        {"time": 1},
        {"iteration": 9, "time": "x"},
        {"iteration": 1e400},
    ]
    path = tmp_path / "metrics.json"
    path.write_bytes("\n".join(json.dumps(line) for line in [*good, *odd]).encode() + b"\n\xff\n" + b"[" * 99_999)
    assert read_lines(path) == good
    assert training_seconds(read_lines(path)) == 2.0 * 1 + 1.0 * 3


def test_a_file_of_scores_is_read_only_if_it_is_a_regular_one(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        read_json(tmp_path)
    with pytest.raises(ValueError, match="none.json cannot be read"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize(
    "key, value",
    [
        ("machine", [1]),
        ("machine", {"platform": [1]}),
        ("versions", []),
        ("git_commit", [[]]),
        ("parameters", {"a": "b"}),
    ],
)
def test_a_record_with_wrong_facts_is_none(tmp_path, key, value):
    content = {"mode": "train", "status": "finished", "seed": 1}
    (tmp_path / "run.json").write_text(json.dumps({**content, key: value}))
    assert read_run_record(tmp_path) == {}
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert read_run_record(tmp_path) == content


@pytest.mark.parametrize("group", [None, [[1]], 3])
def test_scores_with_a_wrong_group_are_told(group):
    content = {"per_class": {"rider": {"PQ": 1.0, "group": group}}}
    with pytest.raises(msgspec.ValidationError, match="group"):
        msgspec.convert(PANOPTIC.details(content), Details)
