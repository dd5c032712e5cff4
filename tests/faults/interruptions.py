"""Kills at random moments and disks without space: the next run of the same command completes the work."""

from __future__ import annotations

import hashlib
import os
import random
import re
import resource
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.faults.cases import GOOD, run_program
from tests.faults.workspace import SMALL, TRAIN, Workspace

PER_RUN = ("run.json", "log.txt", "events*", "*.lock", "config.yaml", "metrics.json", "suite.log", "suite_job.json")
"""Files with times, addresses or logs in them, which no two runs share."""

Command = tuple[str, tuple[str, ...], str]
"""Name, words (``{out}`` is the output folder), and the word that makes it resume ("" if it does so by itself)."""


def commands() -> list[Command]:
    """Return programs that write a folder, and some that write a file or two."""
    train = ("train", "--config-file", "minicity/in_class_finetune.yaml", *SMALL, *TRAIN)
    label = ("make-pseudo-labels", "--configuration", "008", "--output", "{out}")
    return [
        ("delete-classes", ("delete-classes", "--root", "datasets/minicity", "--configuration", "008", "--output",
                            "{out}", "--num-workers", "1"), ""),
        ("make-minicity", ("make-minicity", "--root", "{out}", "--train", "2", "--val", "1", "--height", "64",
                           "--width", "128", "--num-workers", "1"), ""),
        ("make-pseudo-labels", (*label, "--config-file", "minicity/zero_shot.yaml", *SMALL), ""),
        ("train", (*train, "SOLVER.MAX_ITER", "3", "OUTPUT_DIR", "{out}"), "--resume"),
        ("export-weights", ("export-weights", "trained/model_final.pth", "{out}/weights.safetensors"), ""),
        ("combined-weights split", ("combined-weights", "split", "combined.safetensors", "--output-one",
                                    "{out}/one.safetensors", "--output-two", "{out}/two.safetensors"), ""),
        ("combined-weights join", ("combined-weights", "join", "exported.safetensors", "weights.safetensors",
                                   "{out}/both.safetensors"), ""),
    ]  # fmt: skip


def kill_and_repeat(
    workspace: Workspace,
    cases: int,
    seed: int,
    of: Sequence[str] = (),
    step: Callable[[], object] = lambda: None,
) -> tuple[Counter[str], list[str]]:
    """Kill a program at a random moment, once or twice, run it again, and compare its files with an undisturbed run.

    Args:
        workspace: see :class:`Workspace`.
        cases: number of kills.
        seed: of the moments.
        of: names of :func:`commands`. Default: all.
        step: called after each case.

    Returns:
        The number of endings of each kind: "same files", or what went wrong; a description of each wrong one.
    """
    chosen = [c for c in commands() if not of or c[0] in of]
    rng = random.Random(seed)
    references: dict[str, tuple[dict[str, str], float]] = {}
    counts: Counter[str] = Counter()
    bad = []
    for case in range(cases):
        name, words, resume = chosen[case % len(chosen)]
        with tempfile.TemporaryDirectory(dir=workspace.root) as scratch:
            if name not in references:
                out = Path(scratch) / "undisturbed"
                out.mkdir()
                outcome = workspace.run(*_fill(words, out))
                if outcome.kind != "accepted":
                    raise RuntimeError(f"{name}: {outcome.output}")
                references[name] = digests(out), outcome.seconds
            expected, seconds = references[name]
            out = Path(scratch) / "out"
            out.mkdir()
            moments = [rng.uniform(0, 1.1 * seconds) for _ in range(rng.choice((1, 1, 2)))]
            for moment in moments:
                _kill_after(workspace, _fill(words, out), moment)
            again = (words[0], *([resume] if resume else []), *words[1:])
            outcome = workspace.run(*_fill(again, out))
            found = digests(out)
            result = outcome.kind if outcome.kind != "accepted" else compare(expected, found)
            counts[result] += 1
            if result != "same files":
                when = ", ".join(f"{moment:.2f} s" for moment in moments)
                bad.append(f"case {case} (seed {seed}): {name} killed after {when}: {result}: {outcome.last_line}")
        step()
    return counts, bad


def fill_the_disk(
    workspace: Workspace, cases: int, seed: int, step: Callable[[], object] = lambda: None
) -> tuple[Counter[str], list[str]]:
    """Let writing fail at a random size, see one clear sentence, and the same command complete the work afterwards.

    A limit on the size of files stands for a disk without space: writing fails in the same places.
    """
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    bad = []
    chosen = commands()
    for case in range(cases):
        name, words, resume = chosen[case % len(chosen)]
        limit = int(10 ** rng.uniform(0, 6.5))
        with tempfile.TemporaryDirectory(dir=workspace.root) as scratch:
            out = Path(scratch) / "out"
            out.mkdir()

            def limits(limit: int = limit) -> None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails with an error
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

            first = workspace.run(*_fill(words, out), limits=limits)
            result = first.kind
            if result in GOOD:
                again = (words[0], *([resume] if resume else []), *words[1:])
                second = workspace.run(*_fill(again, out))
                result = "completed" if second.kind == "accepted" else f"{second.kind} when repeated"
                first = first if second.kind == "accepted" else second
            counts[result] += 1
            if result != "completed":
                bad.append(f"case {case} (seed {seed}): {name}, {limit} bytes: {result}: {first.last_line}")
        step()
    return counts, bad


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file below a folder that two runs share; temporary files are listed too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(path.match(pattern) for pattern in PER_RUN):
            content = path.read_bytes()
            if path.suffix == ".json":
                content = re.sub(rb'"seconds": (?:[\d.]+|null)', b"", content)
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def compare(expected: dict[str, str], found: dict[str, str]) -> str:
    """Describe how the files of two runs differ: "same files", or the names."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    changed = sorted(name for name in set(expected) & set(found) if expected[name] != found[name])
    parts = [
        f"{what} {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("left over", extra), ("different", changed))
        if names
    ]
    return "; ".join(parts) or "same files"


def _fill(words: Sequence[str], out: Path) -> list[str]:
    return [word.replace("{out}", str(out)) for word in words]


def _kill_after(workspace: Workspace, words: list[str], seconds: float) -> None:
    """Run a program, and kill it and the processes that it started after some time."""
    guard = os.fork()
    if guard == 0:
        with suppress(BaseException):
            run_program(words, environment=workspace.environment, folder=workspace.root, timeout=seconds)
        os._exit(0)
    os.waitpid(guard, 0)
    time.sleep(0.05)  # the killed processes let go of their locks
