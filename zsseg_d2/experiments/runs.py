"""Suites: runs and their settings, and the jobs that they expand into over seeds."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from ..data.paths import data_folder
from ..engine.checkpoints.resuming import FINAL
from ..engine.config.packaged import find_config
from ..engine.config.references import leaves
from ..engine.config.yaml_files import read_yaml
from ..engine.errors import ConfigError
from .job_record import Job
from .measures import Measure, Target, Task

TRAINER = "train_net.py"
ROLES = ("zero_shot", "upper_bound", "lower_bound")
RESERVED = ("folder", "output", "seed")
"""Placeholders that are not runs: the run's own folder, the suite's, and the seed."""

Options = tuple[tuple[str, str], ...]
"""(KEY, VALUE) pairs."""

_PLACEHOLDER = re.compile(r"\{([\w-]+)\}")

_OF_TRAINING = ("SOLVER.", "TEST.EVAL_PERIOD")
"""Keys that begin so mean nothing to runs that do not train: options for the whole suite do not reach these."""

_WITHOUT_EFFECT = (
    "SEED",
    "OUTPUT_DIR",
    "VERSION",
    "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "ZSSEG.TEXT_CACHE",
)
"""Keys that change no result, or that the suite sets."""


@dataclass(frozen=True)
class Run:
    """One run of a suite, for every seed. Text may hold placeholders: ``{name of a run}`` is that run's folder."""

    name: str
    label: str  # in tables and plots
    tool: Path | None  # the program; None: a row of the table that is read from the files of the run `of`
    config: str = ""  # given as --config-file, with the options behind it
    arguments: tuple[str, ...] = ()
    options: Options = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    eval_only: bool = False
    trains: bool = False  # resumes with --resume; SOLVER options of the suite reach it; its iterations are timed
    is_own: bool = False  # the program is the user's, named on the command line
    once: bool = False  # nothing random: one run for all seeds
    most_seeds: int | None = None  # the first so many seeds of the suite; None: all
    needs: tuple[str, ...] = ()  # runs that must have finished
    of: str = ""
    metrics: str = ""  # file in inference/<dataset>/; "": the run has none, and no row
    result: str = ""  # file or folder elsewhere that it makes, without which it has not finished
    overwrite_argument: str = ""  # given to the program where the suite is asked to --overwrite the run
    curve: str = ""  # file in the run's folder with ``points`` over alpha
    curve_row: float | None = None  # the alpha whose point is the row of the table
    role: str = ""
    leak_free: bool | None = None  # a claim, which must agree with what the training sets say (see leak_free.py)
    competes: bool = True  # False: never the best of the table, such as figures that no real output has
    extra_parameters: int | None = None  # instead of the measured number
    note: str = ""  # a footnote of the table
    against: tuple[str, ...] = ()  # runs that the report compares it with, beside the best one
    series: str = ""  # a line of the plot over the number of deleted classes; the run is its point at `deleted`
    deleted: int | None = None

    @property
    def has_row(self) -> bool:
        """Return whether it has a row in the table."""
        return bool(self.metrics) or self.curve_row is not None

    @property
    def is_step(self) -> bool:
        """Return whether it only makes something for others, such as pseudo-labels."""
        return self.tool is not None and not (self.trains or self.has_row or self.curve)


@dataclass(frozen=True)
class Suite:
    """The content of a suite file."""

    path: Path
    title: str
    output: Path
    seeds: tuple[int, ...]
    options: Options
    runs: tuple[Run, ...]
    task: Task
    compare: tuple[str, ...]  # runs of the per-class bars; (): chosen by role and result
    published: tuple[Mapping[str, Any], ...]  # rows: label and figures
    published_source: str
    memory_gb: float  # of one run
    notes: tuple[str, ...]
    test: str = ""  # dataset whose figures are reported and choose nothing; "": the suite has only DATASETS.TEST
    target: Target = Target()
    pretraining: str = ""  # dataset of the world that the weights were pre-trained on: what a run forgets there

    @property
    def further(self) -> dict[str, str]:
        """Return by prefix of its figures each dataset that is evaluated at the end of a run, besides DATASETS.TEST."""
        named = {"test_": self.test, "pretraining_": self.pretraining}
        return {prefix: dataset for prefix, dataset in named.items() if dataset}

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return the columns of figures; only those of DATASETS.TEST rank."""
        shown = {"test_": self.task.measures, "pretraining_": self.task.measures[:1]}
        return (
            *self.task.measures,
            *(measure.of(prefix) for prefix in self.further for measure in shown[prefix]),
        )

    def run(self, name: str) -> Run:
        return next(r for r in self.runs if r.name == name)

    def seeds_of(self, run: Run) -> tuple[int | None, ...]:
        """Return the seeds of a run; (None,) of one that is run once for all."""
        return (None,) if run.once else self.seeds[: run.most_seeds]


@dataclass(frozen=True, eq=False, kw_only=True)
class RunJob(Job):
    """A job of a run."""

    run: Run
    options: tuple[str, ...]  # KEY VALUE words of the command
    needs: tuple[RunJob, ...] = field(default=(), repr=False)

    @property
    def origins(self) -> dict[Path, RunJob]:
        """This job and all that it builds on, by folder, those first that others build on."""
        found: dict[Path, RunJob] = {}
        for job in self.needs:
            found |= job.origins
        return found | {self.folder: self}


def placeholders(text: str) -> list[str]:
    """Return the names in braces."""
    return _PLACEHOLDER.findall(text)


def fill(text: str, values: Mapping[str, object]) -> str:
    """Replace each ``{name}`` in `text` by ``values[name]``."""
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), text)


def in_order(suite: Suite) -> Iterator[Run]:
    """Yield runs, each after those it needs, otherwise as in the file.

    Raises:
        ConfigError: runs need one another in a circle.
    """
    placed: list[str] = []

    def place(run: Run, above: tuple[str, ...]) -> Iterator[Run]:
        if run.name in above:
            circle = " -> ".join((*above[above.index(run.name) :], run.name))
            raise ConfigError(f"{suite.path}: runs need one another in a circle: {circle}.")
        if run.name in placed:
            return
        for name in run.needs:
            yield from place(suite.run(name), (*above, run.name))
        placed.append(run.name)
        yield run

    for run in suite.runs:
        yield from place(run, ())


def make_jobs(suite: Suite, options: Options = (), only: Collection[str] = ()) -> list[RunJob]:
    """Expand runs over seeds: seed by seed, each job after those it needs.

    Args:
        options: KEY VALUE pairs for every run, above those of the suite file.
        only: names of runs; those that they need come with them. Empty: all.
    """
    made: dict[tuple[str, int | None], RunJob] = {}
    for seed in (None, *suite.seeds):
        for run in in_order(suite):
            if run.tool is not None and seed in suite.seeds_of(run):
                names = dict.fromkeys(suite.run(name).of or name for name in run.needs)
                needs = [made[name, None if suite.run(name).once else seed] for name in names]
                made[run.name, seed] = _job(suite, run, seed, options, tuple(needs))
    if not only:
        return list(made.values())
    chosen = {suite.run(name).of or name for name in only}
    wanted = {folder for job in made.values() if job.name in chosen for folder in job.origins}
    return [job for job in made.values() if job.folder in wanted]


def run_folder(output: Path, run: Run, seed: int | None) -> Path:
    """Return ``<output>/seed_1/<run>``, or ``<output>/once/<run>``."""
    return output / ("once" if run.once else f"seed_{seed}") / (run.of or run.name)


def effective_options(suite: Suite, run: Run, above: Options) -> dict[str, str]:
    """Merge the suite's options, over them the run's, over them those of the command line."""

    def reaching(options: Options) -> Iterator[tuple[str, str]]:
        return ((k, v) for k, v in options if run.trains or not k.startswith(_OF_TRAINING))

    further = {"DATASETS.FINAL_TEST": str(tuple(suite.further.values()))} if suite.further and run.metrics else {}
    return further | dict(reaching(suite.options)) | dict(run.options) | dict(reaching(above))


def _job(suite: Suite, run: Run, seed: int | None, above: Options, needs: tuple[RunJob, ...]) -> RunJob:
    folder = run_folder(suite.output, run, seed)
    number = 0 if seed is None else seed
    values: dict[str, object] = {"folder": folder, "output": suite.output, "seed": number}
    values |= {name: run_folder(suite.output, suite.run(name), seed) for name in run.needs}
    options = effective_options(suite, run, above) if run.config else {}
    words = [word for key, value in options.items() for word in (key, fill(value, values))]
    if run.config:
        words += [*(["SEED", str(number)] if seed is not None else []), "OUTPUT_DIR", str(folder)]
    arguments = [fill(word, values) for word in run.arguments]
    if not run.is_own:
        _refuse_code(suite, run, [run.config, *arguments, *words, run.overwrite_argument])
    assert run.tool is not None  # rows that are read from another run's files have no jobs
    settings = {
        "tool": run.tool.name,
        "arguments": list(run.arguments),
        "eval_only": run.eval_only,
        "environment": dict(run.environment),
        "seed": seed,
        "values": _values(run, options) if run.config else {},
    }
    return RunJob(
        run=run,
        name=run.name,
        seed=seed,
        folder=folder,
        command=(
            *(sys.executable, str(run.tool)),
            *(["--config-file", run.config] if run.config else []),
            *["--eval-only"] * run.eval_only,
            *arguments,
            *words,
        ),
        options=tuple(words),
        environment={key: fill(value, values) for key, value in run.environment.items()},
        settings=settings,
        fingerprint=_fingerprint(settings, needs),
        mode="" if not run.config else "train" if run.trains else "eval",
        trains=run.trains,
        expects=tuple(filter(None, (*_expected_files(suite, run), run.curve))),
        needs=needs,
        result=_outside(fill(run.result, values)) if run.result else None,
        overwrite_argument=run.overwrite_argument,
    )


def _expected_files(suite: Suite, run: Run) -> list[str]:
    datasets = ("*", *suite.further.values()) if run.metrics else ()
    weights = [FINAL] if run.trains and not run.is_own else []  # a program of one's own names its files as it likes
    return [*weights, *(f"inference/{dataset}/{run.metrics}" for dataset in datasets)]


def _refuse_code(suite: Suite, run: Run, words: Iterable[str]) -> None:
    """Refuse words of a suite file that would make a program import Python code.

    Raises:
        ConfigError: one of them is ``--import``, in whole or as far as argparse needs it.
    """
    for word in words:
        flag = word.split("=")[0]
        if len(flag) > 2 and "--import".startswith(flag):
            raise ConfigError(
                f"{suite.path}: run '{run.name}': {word}: a suite file names no code. Fix: give --import where you "
                "start the suite; it reaches every run."
            )


def _fingerprint(settings: Mapping[str, Any], needs: tuple[RunJob, ...]) -> str:
    content = {"settings": settings, "needs": [job.fingerprint for job in needs]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _values(run: Run, options: Mapping[str, str]) -> dict[str, Any]:
    """Return what config file, bases and options set, ``{"SOLVER.MAX_ITER": 150, …}``, as read back from JSON."""
    found = dict(leaves(CfgNode(read_yaml(find_config(run.config)))))
    found |= {key: _literal(value) for key, value in options.items()}
    unused = _WITHOUT_EFFECT if run.trains else (*_WITHOUT_EFFECT, *_OF_TRAINING)
    kept = {k: v for k, v in found.items() if not k.startswith(unused)}
    return json.loads(json.dumps(kept, default=str), parse_constant=str)  # JSON has no infinity


def _outside(text: str) -> Path:
    """Expand ``~`` and ``$VARIABLES``; ``$DETECTRON2_DATASETS`` is the folder of the datasets, set or not."""
    return Path(os.path.expandvars(text.replace("$DETECTRON2_DATASETS", str(data_folder())))).expanduser()


def _literal(text: str) -> object:
    """Parse a value as yacs does on a command line."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
