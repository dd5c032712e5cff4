"""Break the code in one place at a time, and see that the tests which ought to notice do.

    python tests/mutants/run.py [--only WORDS] [--jobs N] [--list]

Each ``[[mutant]]`` of the TOML files of this folder replaces ``old``, which its ``file`` holds just once, by ``new``,
and names ``tests`` of which one must fail. Mutants are made in copies of the working tree. The named tests must pass
there first, unmutated. Exits with 1 if a mutant survives, or cannot be judged.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent
PASSED, FAILED = 0, 1  # pytest's exit codes
SECONDS = 300  # after which a mutant counts as noticed: its tests hang
LIBRARIES = ("torch", "torchvision", "open_clip", "timm", "scipy.optimize", "matplotlib.pyplot", "pandas", "hypothesis")


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        name: What is broken.
        file: Path in the repository.
        old: Text that occurs once in the file.
        new: Text in its place.
        tests: Files or ids of tests, one of which must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def load_mutants(folder: Path = FOLDER) -> list[Mutant]:
    """Read the mutants of all TOML files of a folder.

    Raises:
        ValueError: Two mutants have one name.
    """
    mutants = []
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
            mutants.append(Mutant(**{**entry, "tests": tuple(entry["tests"])}))
    names = [mutant.name for mutant in mutants]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"mutants: two are called '{name}'. Fix: rename one.")
    return mutants


def problems(mutants: Sequence[Mutant], root: Path = ROOT) -> list[str]:
    """Return what makes mutants unusable: text that is not in its file just once, tests that are not there."""
    found = []
    for mutant in mutants:
        path = root / mutant.file
        times = path.read_text(encoding="utf-8").count(mutant.old) if path.is_file() else 0
        if times != 1:
            found.append(f"{mutant.name}: `old` occurs {times} times in {mutant.file}")
        if mutant.old == mutant.new:
            found.append(f"{mutant.name}: `old` and `new` are the same")
        for test in mutant.tests:
            file, _, function = test.partition("::")
            text = (root / file).read_text(encoding="utf-8") if (root / file).is_file() else ""
            if not text or f"def {function.partition('[')[0]}" not in text:
                found.append(f"{mutant.name}: there is no test {test}")
    return found


def copy_tree(target: Path) -> Path:
    """Copy the files that git tracks, or would, into a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def start_tests(root: Path, tests: Sequence[str], log: Path, seconds: int = SECONDS) -> int:
    """Fork a process that runs tests in a copy of the tree; the libraries are already imported.

    Returns:
        Its process id.
    """
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        sys.dont_write_bytecode = True  # a mutant may have the size and the second of the file before it
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        signal.alarm(seconds)
        os.setpgid(0, 0)
        os.chdir(root)
        sys.path[:] = [str(root), *(p for p in sys.path if p not in ("", str(ROOT), str(FOLDER)))]
        os.environ["PYTHONPATH"] = str(root)
        with open(log, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        import pytest

        import zsseg_d2

        assert Path(zsseg_d2.__file__).is_relative_to(root), f"not the copy: {zsseg_d2.__file__}"
        status = int(pytest.main(["-n", "0", "-x", "-q", "-p", "no:cacheprovider", "--rootdir", str(root), *tests]))
    finally:
        sys.stdout.flush()
        os._exit(status)


@contextlib.contextmanager
def mutated(root: Path, mutant: Mutant) -> Iterator[None]:
    """Apply a mutant to a copy of the tree, and take it back."""
    path = root / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def judge(status: int) -> str:
    """Return "killed", "survived" or "broken" for the wait status of a run of tests."""
    if os.WIFSIGNALED(status):
        return "killed"  # a hang, or a crash
    return {PASSED: "survived", FAILED: "killed"}.get(os.WEXITSTATUS(status), "broken")


def run(mutants: Sequence[Mutant], jobs: int, folder: Path) -> dict[str, str]:
    """Run the tests of each mutant, several at a time.

    Returns:
        "killed", "survived" or "broken" by name.
    """
    copies = [copy_tree(folder / f"copy_{k}") for k in range(jobs)]
    waiting, verdicts = list(mutants), {}
    running: dict[int, tuple[Path, Mutant, contextlib.ExitStack, Path]] = {}
    while waiting or running:
        while waiting and copies:
            root, mutant = copies.pop(), waiting.pop(0)
            stack = contextlib.ExitStack()
            stack.enter_context(mutated(root, mutant))
            log = folder / f"{len(verdicts) + len(running)}_{mutant.name.replace(' ', '_').replace('/', '_')[:60]}.log"
            running[start_tests(root, mutant.tests, log)] = (root, mutant, stack, log)
        process, status = os.wait()
        root, mutant, stack, log = running.pop(process)
        stack.close()
        copies.append(root)
        verdicts[mutant.name] = judge(status)
        print(f"{verdicts[mutant.name]:9}{mutant.name}", flush=True)
        if verdicts[mutant.name] == "broken":
            print("".join(log.read_text().splitlines(keepends=True)[-15:]))
    return verdicts


def main(words: Sequence[str] | None = None) -> int:
    """Run the tool; see the text at the top."""
    parser = argparse.ArgumentParser(description="Break the code in one place at a time, and see that tests notice.")
    parser.add_argument("--only", default="", help="run the mutants whose name or file contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    parser.add_argument("--list", action="store_true", help="name the mutants, and stop")
    args = parser.parse_args(words)
    mutants = [m for m in load_mutants() if args.only in m.name or args.only in m.file]
    unusable = problems(mutants)
    if unusable or not mutants:
        print(
            "error: " + ("\n       ".join(unusable) or f"--only {args.only}: there is no such mutant"), file=sys.stderr
        )
        return 2
    if args.list:
        print("\n".join(f"{m.file}: {m.name}" for m in mutants))
        return 0
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    for library in LIBRARIES:  # once, not in every process
        importlib.import_module(library)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants_") as name:
        folder = Path(name).resolve()
        clean, log = copy_tree(folder / "clean"), folder / "clean.log"
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        whole = [test for test in tests if test.partition("::")[0] not in tests or "::" not in test]
        if judge(os.waitpid(start_tests(clean, whole, log, 20 * SECONDS), 0)[1]) != "survived":
            print(
                f"error: the tests fail without a mutant. Fix them first.\n{log.read_text()[-3000:]}", file=sys.stderr
            )
            return 2
        print(f"{len(whole)} tests or files of tests pass without a mutant.", flush=True)
        verdicts = run(mutants, max(1, args.jobs), folder)
    killed = sum(verdict == "killed" for verdict in verdicts.values())
    print(f"\n{killed} of {len(verdicts)} mutants were noticed, in {time.monotonic() - start:.0f} seconds.")
    for name, verdict in verdicts.items():
        if verdict != "killed":
            print(f"{verdict}: {name}")
    return int(killed != len(verdicts))


if __name__ == "__main__":
    sys.exit(main())
