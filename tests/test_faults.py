"""The short form of ``python -m tests.faults``, and that its judgement sees every bad ending."""

from __future__ import annotations

import mmap
import random
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import pytest

import zsseg_d2_console
from tests.contents import snapshot
from tests.faults.cases import GB, judge, run_program
from tests.faults.commands import commands, compare
from tests.faults.damage import damage_files
from tests.faults.disks import DISKS, fill_the_disk, why_not
from tests.faults.interruptions import kill_and_repeat
from tests.faults.mutations import damage_bytes, damage_structure, mutate
from tests.faults.workspace import PHRASES, SMALL, Workspace
from tests.holders import holding
from zsseg_d2.folder_lock import writing


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("faults"))


def test_damaged_files_end_in_a_sentence(workspace):
    counts, bad = damage_files(workspace, cases=len(workspace.targets), seed=0)
    assert not bad, "\n".join(bad)
    assert counts["clear"] > counts["accepted"] > 0, "the damage is seen, and not everything is refused"


def test_killed_programs_complete_their_work_when_repeated(workspace):
    names = [
        c.name for c in commands() if c.short and c.name not in ("predict", "evaluate")
    ]  # slow, and train is killed
    counts, bad = kill_and_repeat(workspace, cases=len(names), seed=0, of=names)
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("disk", DISKS)
def test_a_bad_disk_ends_in_a_sentence_and_loses_nothing(workspace, disk):
    if reason := why_not(disk):
        pytest.skip(reason)
    names = [c.name for c in commands() if c.short]
    names = names if disk == "limit" else names[list(DISKS).index(disk) :: 4]  # a few: the program is the same
    counts, bad = fill_the_disk(workspace, cases=len(names), seed=0, of=names, disk=disk)
    assert not bad, "\n".join(bad)


WRITERS = {
    **{c.name: c.words for c in commands() if not c.name.startswith(("make-mini", "export", "combined"))},
    "segment": ("segment", "--image", "image.png", "--phrase", "car", "--output", "{out}", *PHRASES),
    "segment --save-masks": (
        *("segment", "--image", "image.png", "--phrase", "car", "--output", "shown.png", "--save-masks", "{out}"),
        *PHRASES,
    ),
    "analyze-smoothness": ("analyze-smoothness", "--dataset", "minicity_panoptic_val", "--output", "{out}"),
    "oracle-study": ("oracle-study", "--config-file", "config.yaml", *SMALL, "OUTPUT_DIR", "{out}"),
    "predict-composite": (
        *("predict-composite", "--image", "image.png", "--background", "image.png", "--output", "{out}"),
    ),
}
"""Programs that write a folder, besides those that wait for one another: make-minicity and its like."""


@pytest.mark.parametrize("name", WRITERS)
def test_every_program_that_writes_a_folder_is_its_only_writer(workspace, tmp_path, name):
    @contextmanager
    def at_work():
        with writing(tmp_path, "train_net.py"):
            yield tmp_path / "half"

    with holding(at_work) as process:
        before = snapshot(tmp_path)
        outcome = workspace.run(*(word.replace("{out}", str(tmp_path)) for word in WRITERS[name]))
        told = f"error: {tmp_path}: train_net.py (process {process.pid}) is writing here. Fix: wait until it has ended"
        assert outcome.kind == "clear" and outcome.last_line.startswith(told), outcome.output[-2000:]
        assert snapshot(tmp_path) == before


BODIES = {
    "accepted": "return 0",
    "clear": "raise SystemExit('error: a.json: is not JSON. Fix: mend it')",
    "traceback": "raise KeyError('x')",
    "vague": "raise SystemExit('error: something is wrong')",
    "silent": "return 3",
    "several errors": "print('error: one'); raise SystemExit('error: two')",
    "memory": "raise SystemExit('error: There is not enough memory.') if _fails_to_map(2**31) else 0",
    "hang": "import time; time.sleep(60)",
    "signal 9": "import os; os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("kind", BODIES)
def test_every_ending_is_told_apart(kind, monkeypatch):
    program = types.ModuleType("zsseg_d2.cli.pretended")
    code = f"def main(argv, prog):\n    {BODIES[kind]}\n"
    program._fails_to_map = _fails_to_map  # type: ignore[attr-defined]
    exec(code, program.__dict__)
    monkeypatch.setitem(sys.modules, "zsseg_d2.cli.pretended", program)
    monkeypatch.setitem(zsseg_d2_console.COMMANDS, "pretended", ("pretended:main", ""))
    outcome = run_program(["pretended"], timeout=3, memory=GB)
    assert outcome.kind == kind, outcome


def _fails_to_map(size: int) -> bool:
    try:
        # Not an allocation: that may be served from what an earlier test has freed, and so be no growth.
        mmap.mmap(-1, size).close()
    except OSError:
        return True
    return False


def test_judgement_by_hand():
    assert judge(0, "warning\n") == "accepted"
    assert judge(1, "x\nerror: a: b. Fix: c\n") == "clear"
    assert judge(1, "error: it is damaged.\n", "x/a.json") == "vague" == judge(1, "error: it is damaged.\n")
    assert judge(1, "error: x/a.json is damaged.\n", "x/a.json") == "clear" == judge(1, "error: x/: no\n", "x/a.json")
    assert judge(2, "usage: p\np: error: no such option\n") == "clear"
    assert judge(0, "Traceback (most recent call last):\n") == "traceback", "also when it goes on"
    assert judge(-11, "") == "signal 11"


def test_the_comparison_of_runs():
    assert compare({"a": "1"}, {"a": "1"}) == "same files"
    assert compare({"a": "1", "b": "2"}, {"a": "3", "c": "2"}) == "missing b; left over c; different a"


@pytest.mark.parametrize("name, content", [("a.json", '{"a": [1, {"b": "c"}]}'), ("a.yaml", "a:\n- 1\n- b: c\n")])
def test_damage_changes_the_file_and_is_repeatable(tmp_path, name, content):
    path = Path(tmp_path / name)
    seen = set()
    for seed in range(40):
        results = []
        for _ in range(2):
            path.write_text(content)
            done = damage_structure(path, random.Random(seed))
            results.append((done, path.read_bytes()))
        assert results[0] == results[1]
        seen.add(results[0][1])
        path.write_text(content)
        damage_bytes(path, random.Random(seed))
    assert len(seen) > 20


def test_damage_of_an_empty_file_replaces_it(tmp_path):
    for seed in range(10):
        path = tmp_path / f"{seed}.json"
        path.touch()
        assert mutate(path, random.Random(seed)).startswith("replaced by")
