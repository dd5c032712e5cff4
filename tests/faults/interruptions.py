"""Kills at random moments: the next run of the same command completes the work."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.faults.cases import run_program
from tests.faults.commands import commands, compare, digests, run_undisturbed
from tests.faults.workspace import Workspace


def kill_and_repeat(
    workspace: Workspace,
    cases: int,
    seed: int,
    of: Sequence[str] = (),
    step: Callable[[list[str]], object] = lambda wrong: None,
) -> tuple[Counter[str], list[str]]:
    """Kill a program at a random moment, once or twice, run it again, and compare its files with an undisturbed run.

    Args:
        workspace: see :class:`Workspace`.
        cases: number of kills.
        seed: of the moments.
        of: names of :func:`commands`. Default: all that can be killed.
        step: called after each case, with a description of what went wrong in it.

    Returns:
        The number of endings of each kind: "same files", or what went wrong; a description of each wrong one.
    """
    chosen = [c for c in commands() if c.kills and (not of or c.name in of)]
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    bad: list[str] = []
    for case in range(cases):
        known = len(bad)
        command = chosen[case % len(chosen)]
        undisturbed = run_undisturbed(workspace, command)
        with tempfile.TemporaryDirectory(dir=workspace.root) as scratch:
            out = Path(scratch) / "out"
            out.mkdir()
            moments = [rng.uniform(0, 1.1 * undisturbed.seconds) for _ in range(rng.choice((1, 1, 2)))]
            for moment in moments:
                kill_after(workspace, command.first(out), moment)
            outcome = workspace.run(*command.again(out))
            result = outcome.kind if outcome.kind != "accepted" else compare(undisturbed.files, digests(out))
            counts[result] += 1
            if result != "same files":
                when = ", ".join(f"{moment:.2f} s" for moment in moments)
                name = f"{command.name} killed after {when}"
                bad.append(f"case {case} (seed {seed}): {name}: {result}: {outcome.last_line}")
        step(bad[known:])
    return counts, bad


def kill_after(workspace: Workspace, words: list[str], seconds: float) -> None:
    """Run a program, and kill it and the processes that it started after some time."""
    guard = os.fork()
    if guard == 0:
        with suppress(BaseException):
            run_program(words, environment=workspace.environment, folder=workspace.root, timeout=seconds)
        os._exit(0)
    os.waitpid(guard, 0)
    time.sleep(0.05)  # the killed processes let go of their locks
