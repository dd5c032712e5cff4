"""Disks that cannot be written to for a while: one clear sentence, nothing lost, and the same command goes on later."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.cases import GOOD
from tests.faults.commands import Command, commands, compare, digests, run_undisturbed
from tests.faults.interruptions import kill_after
from tests.faults.workspace import Workspace


def _nothing() -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Disk:
    """A folder to write to, and how writing there is made to fail.

    Args:
        out: the folder, empty at first.
        spoil: makes writing fail from now on.
        mend: the contrary.
        limits: called in the process of a program that is to fail.
    """

    out: Path
    spoil: Callable[[], None] = _nothing
    mend: Callable[[], None] = _nothing
    limits: Callable[[], None] = _nothing


@contextmanager
def limited(scratch: Path, size: int) -> Iterator[Disk]:
    """No file may be larger than ``size`` bytes (EFBIG); writing fails in the same places as on a full disk."""

    def limits() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails with an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    out = scratch / "out"
    out.mkdir()
    yield Disk(out, limits=limits)


@contextmanager
def full(scratch: Path, size: int) -> Iterator[Disk]:
    """The disk has room for ``size`` bytes (ENOSPC): a small tmpfs."""
    with _mounted(scratch / "out") as out:

        def spoil() -> None:
            state = os.statvfs(out)
            page = state.f_frsize
            _remount(out, f"size={(state.f_blocks - state.f_bfree) * page + max(size, page)}")

        yield Disk(out, spoil, lambda: _remount(out, "size=1g"))


@contextmanager
def read_only(scratch: Path, size: int) -> Iterator[Disk]:
    """The disk is mounted read-only (EROFS), whatever ``size`` is."""
    with _mounted(scratch / "out") as out:
        yield Disk(out, lambda: _remount(out, "ro"), lambda: _remount(out, "rw"))


DISKS: dict[str, Callable[[Path, int], AbstractContextManager[Disk]]] = {
    "limit": limited,
    "full": full,
    "read-only": read_only,
}


def fill_the_disk(
    workspace: Workspace,
    cases: int,
    seed: int,
    of: Sequence[str] = (),
    step: Callable[[list[str]], object] = lambda wrong: None,
    disk: str = "",
) -> tuple[Counter[str], list[str]]:
    """Let programs fail to write, see one clear sentence, and the same command complete the work afterwards.

    A program starts in an empty folder, with what a killed run left, or with its complete earlier output. Of the files
    that are there and as they should be, none may be lost, and those of the repeated run are those of an undisturbed
    one.

    Args:
        workspace: see :class:`Workspace`.
        cases: number of programs that are run.
        seed: of sizes and earlier outputs.
        of: names of :func:`commands`. Default: all.
        step: called after each case, with a description of what went wrong in it.
        disk: a key of :data:`DISKS`. Default: each that can be made here, in turn.

    Returns:
        The number of endings of each kind: "completed", or what went wrong; a description of each wrong one.
    """
    chosen = [c for c in commands() if not of or c.name in of]
    disks = [disk] if disk else [name for name in DISKS if not why_not(name)]
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    bad: list[str] = []
    for case in range(cases):
        known = len(bad)
        command, kind = chosen[case % len(chosen)], disks[case // len(chosen) % len(disks)]
        start = rng.choice(("empty", "killed", "complete") if command.kills else ("empty", "complete"))
        size, moment = int(10 ** rng.uniform(0, 6.5)), rng.random()
        with tempfile.TemporaryDirectory(dir=workspace.root) as scratch, DISKS[kind](Path(scratch), size) as place:
            result, line = _try(workspace, command, start, moment, place)
        counts[result] += 1
        if result != "completed":
            name = f"{command.name}, {start}, {kind}, {size} bytes"
            bad.append(f"case {case} (seed {seed}): {name}: {result}: {line}")
        step(bad[known:])
    return counts, bad


def _try(workspace: Workspace, command: Command, start: str, moment: float, disk: Disk) -> tuple[str, str]:
    """Run one case; return how it ended, and the last line."""
    undisturbed, out = run_undisturbed(workspace, command), disk.out
    if start == "killed":
        kill_after(workspace, command.first(out), moment * undisturbed.seconds)
    elif start == "complete":
        shutil.copytree(undisturbed.folder, out, dirs_exist_ok=True)
    before = digests(out)
    disk.spoil()
    words = command.first(out) if start == "empty" else command.again(out)
    first = workspace.run(*words, limits=disk.limits, about=out)
    disk.mend()
    if first.kind not in GOOD:
        return first.kind, first.last_line
    after = digests(out)
    lost = [name for name, digest in before.items() if digest == undisturbed.files.get(name) != after.get(name)]
    if lost:
        return f"lost {', '.join(lost)}", first.last_line
    second = workspace.run(*command.again(out))
    if second.kind != "accepted":
        return f"{second.kind} when repeated", second.last_line
    found = compare(undisturbed.files, digests(out))
    return ("completed" if found == "same files" else found), second.last_line


def why_not(disk: str) -> str:
    """Return why this kind of disk cannot be made here; "" if it can."""
    if disk == "limit":
        return ""
    try:
        with tempfile.TemporaryDirectory() as folder, _mounted(Path(folder) / "out"):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"a tmpfs cannot be mounted: {getattr(error, 'stderr', None) or error}"


@contextmanager
def _mounted(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    _call("mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _call("umount", "--lazy", str(folder))


def _remount(folder: Path, option: str) -> None:
    _call("mount", "-o", f"remount,{option}", str(folder))


def _call(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)
