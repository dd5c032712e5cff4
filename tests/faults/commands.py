"""Programs that write, and what each of them writes if nothing happens to it."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.faults.workspace import SMALL, TRAIN, Workspace

PER_RUN = ("run.json", "log.txt", "events*", "*.lock", "*config.yaml", "metrics.json", "suite.log", "suite_job.json",
           ".snakemake/*", ".snakemake/*/*", ".suite/*", "results.json", "results.md")  # fmt: skip
"""Files with times, addresses or logs in them, which no two runs share."""


@dataclass(frozen=True)
class Command:
    """A program that writes.

    Args:
        name: of the program.
        words: its command line; ``{out}`` is the output folder.
        resume: the word that makes it go on where it was; "" if it does so by itself.
        kills: whether it is killed; a suite's runs go on without it, for they are processes of Snakemake's.
        short: whether the suite of tests runs it.
    """

    name: str
    words: tuple[str, ...]
    resume: str = ""
    kills: bool = True
    short: bool = True

    def first(self, out: Path) -> list[str]:
        """Return the command line."""
        return [word.replace("{out}", str(out)) for word in self.words]

    def again(self, out: Path) -> list[str]:
        """Return the command line that goes on with what is there."""
        program, *rest = self.first(out)
        return [program, *([self.resume] if self.resume else []), *rest]


def commands() -> list[Command]:
    """Return programs that write a folder, and some that write a file or two."""
    train = ("train", "--config-file", "minicity/in_class_finetune.yaml", *SMALL, *TRAIN)
    label = ("make-pseudo-labels", "--configuration", "008", "--output", "{out}")
    city = ("--train", "2", "--val", "1", "--height", "64", "--width", "128", "--num-workers", "1")
    phrases = ("--train", "2", "--val", "1", "--test", "1", "--miniv", "1", "--side", "64", "--num-workers", "1")
    found = ("predict", "image.png", "--words", "road, car, sky", "--semantic", "--csv")
    weights = ("--zero-shot", "weights.safetensors", "--fine-tuned", "trained/model_final.pth")
    curve = ("--alphas", "0", "0.5", "--save", "0.5", "--config-file", "config.yaml", *SMALL)
    parts = ("--foregrounds", "foregrounds", "--backgrounds", "backgrounds", "--split", "all", "--size", "64")
    return [
        Command("delete-classes", ("delete-classes", "--root", "datasets/minicity", "--configuration", "008",
                                   "--output", "{out}", "--num-workers", "1")),
        Command("make-minicity", ("make-minicity", "--root", "{out}", *city)),
        Command("make-pseudo-labels", (*label, "--config-file", "minicity/zero_shot.yaml", *SMALL)),
        Command("train", (*train, "SOLVER.MAX_ITER", "3", "OUTPUT_DIR", "{out}"), "--resume"),
        Command("export-weights", ("export-weights", "trained/model_final.pth", "{out}/weights.safetensors")),
        Command("combined-weights split", ("combined-weights", "split", "combined.safetensors", "--output-one",
                                           "{out}/one.safetensors", "--output-two", "{out}/two.safetensors")),
        Command("combined-weights join", ("combined-weights", "join", "exported.safetensors", "weights.safetensors",
                                          "{out}/both.safetensors")),
        Command("predict", (*found, "--output", "{out}", *SMALL[:4])),
        Command("make-composites", ("make-composites", *parts, "--count", "4", "--num-workers", "1",
                                    "--output", "{out}")),
        Command("make-miniphrases", ("make-miniphrases", "--root", "{out}", *phrases)),
        Command("evaluate", ("evaluate", "--config-file", "config.yaml", *SMALL, "OUTPUT_DIR", "{out}")),
        Command("wise-ft", ("wise-ft", *weights, *curve, "OUTPUT_DIR", "{out}"), short=False),
        Command("run-suite", ("run-suite", "suite.yaml", "--output", "{out}"), kills=False, short=False),
    ]  # fmt: skip


@dataclass(frozen=True)
class Undisturbed:
    """What a program writes if nothing happens to it."""

    folder: Path
    files: dict[str, str]  # see :func:`digests`
    seconds: float


def run_undisturbed(workspace: Workspace, command: Command) -> Undisturbed:
    """Run a program in a workspace; later calls return the same."""
    known = workspace.undisturbed
    if command.name not in known:
        out = workspace.root / "undisturbed" / command.name.replace(" ", "_")
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        outcome = workspace.run(*command.first(out))
        if outcome.kind != "accepted":
            raise RuntimeError(f"{command.name}: {outcome.output}")
        known[command.name] = Undisturbed(out, digests(out), outcome.seconds)
    return known[command.name]


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
