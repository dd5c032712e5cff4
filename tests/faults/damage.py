"""Damaged files: a program may accept one or end with one clear sentence; it never crashes, hangs or fills memory."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from tests.faults.cases import GOOD, Outcome
from tests.faults.mutations import mutate, restore
from tests.faults.workspace import Target, Workspace


def damage_files(
    workspace: Workspace,
    cases: int,
    seed: int,
    log: IO[str] | None = None,
    targets: Sequence[Target] | None = None,
    step: Callable[[list[str]], object] = lambda wrong: None,
) -> tuple[Counter[str], list[str]]:
    """Damage one file at a time in a random way, and run a command that reads it.

    Args:
        workspace: only one caller at a time may use it.
        cases: number of damaged files; all targets have a turn before any has another.
        seed: of the damage.
        log: gets a line of JSON for each case.
        targets: default: all of the workspace.
        step: called after each case, with a description of what went wrong in it.

    Returns:
        The number of endings of each kind; a description of each bad one.
    """
    targets = list(targets or workspace.targets)
    counts: Counter[str] = Counter()
    bad: list[str] = []
    for case in range(cases):
        known = len(bad)
        rng = random.Random(f"{seed} {case}")
        outcome, done = damage_one(workspace, targets[case % len(targets)], rng)
        counts[outcome.kind] += 1
        name = f"case {case} (seed {seed}): {targets[case % len(targets)].file}: {done}: {outcome.kind}"
        if outcome.kind not in GOOD:
            bad.append(f"{name}: {outcome.last_line[:300]}")
            if outcome.kind == "traceback":  # it may stand before the sentence
                bad.append(outcome.output[outcome.output.index("Traceback") :][:3000])
        if log:
            facts = {"case": name, "kind": outcome.kind, "seconds": outcome.seconds, "memory": outcome.memory}
            output = outcome.output[-4000:] if outcome.kind not in GOOD else ""
            log.write(json.dumps({**facts, "line": outcome.last_line[:500], "output": output}) + "\n")
            log.flush()
        step(bad[known:])
    return counts, bad


def damage_one(workspace: Workspace, target: Target, rng: random.Random) -> tuple[Outcome, str]:
    """Damage the file of a target, run its command, and put the file back.

    Returns:
        The outcome; what was done to the file.
    """
    with tempfile.TemporaryDirectory(dir=workspace.root) as scratch:
        out = Path(scratch) / "out"
        path = workspace.root / target.file
        if target.before:
            shutil.copytree(workspace.root / target.before, out, symlinks=True)
            inside = Path(target.file)
            in_copy = inside.is_relative_to(target.before)
            path = out / (inside.relative_to(target.before) if in_copy else inside)
        else:
            out.mkdir()
        kept = Path(scratch) / "kept"
        shutil.copy2(path, kept)
        try:
            done = mutate(path, rng)
            words = [word.replace("{out}", str(out)) for word in target.words]
            return workspace.run(*words, about=path), done
        finally:
            restore(path, kept)
