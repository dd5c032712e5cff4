"""What a suite consists of, once its file is read: runs, their settings, and what each needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError
from .measures import Task

TRAINER = "train_net.py"
ROLES = ("zero_shot", "upper_bound", "lower_bound")
RESERVED = ("folder", "output", "seed")
"""Placeholders that are no runs: the run's own folder, the suite's, and the seed."""

Options = tuple[tuple[str, str], ...]
"""(KEY, VALUE) pairs."""

_PLACEHOLDER = re.compile(r"\{([\w-]+)\}")


@dataclass(frozen=True)
class RunSpec:
    """One run of a suite, for every seed. Text may hold placeholders: ``{name of a run}`` is that run's folder."""

    name: str
    label: str  # in tables and plots
    tool: Path | None  # the program; None: a row of the table that is read from the files of the run `of`
    config: str = ""  # given as --config-file, with the options behind it
    arguments: tuple[str, ...] = ()
    options: Options = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    eval_only: bool = False
    trains: bool = False  # goes on with --resume; SOLVER options of the suite reach it; its iterations are timed
    once: bool = False  # nothing random: one run for all seeds
    needs: tuple[str, ...] = ()  # runs that must have finished
    of: str = ""
    metrics: str = ""  # file in inference/<data set>/; "": the run has none, and no row
    result: str = ""  # file or folder elsewhere that it makes, without which it has not finished
    overwrite_argument: str = ""  # given to the program where the suite is asked to --overwrite the run
    curve: str = ""  # file in the run's folder with ``points`` over alpha
    curve_row: float | None = None  # the alpha whose point is the row of the table
    role: str = ""
    leak_free: bool | None = None  # a claim, which must agree with what the training sets say (see leaks.py)
    competes: bool = True  # False: never the best of the table, such as figures that no real output has
    extra_parameters: int | None = None  # instead of the measured number
    note: str = ""  # a footnote of the table

    @property
    def has_row(self) -> bool:
        """Whether it stands in the table."""
        return bool(self.metrics) or self.curve_row is not None

    @property
    def is_step(self) -> bool:
        """Whether it only makes something for others, such as pseudo-labels."""
        return self.tool is not None and not (self.trains or self.has_row or self.curve)


@dataclass(frozen=True)
class Suite:
    """A suite file."""

    path: Path
    title: str
    output: Path
    seeds: tuple[int, ...]
    options: Options
    runs: tuple[RunSpec, ...]
    task: Task
    compare: tuple[str, ...]  # runs of the per-class bars; (): chosen by role and result
    published: tuple[Mapping, ...]  # rows: label and figures
    published_source: str
    memory_gb: float  # of one run
    notes: tuple[str, ...]

    def run(self, name: str) -> RunSpec:
        return next(r for r in self.runs if r.name == name)


def placeholders(text: str) -> list[str]:
    """Names in braces."""
    return _PLACEHOLDER.findall(text)


def fill(text: str, values: Mapping[str, object]) -> str:
    """`text` with ``{name}`` replaced by ``values[name]``."""
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), text)


def in_order(suite: Suite) -> Iterator[RunSpec]:
    """Runs, each after those it needs, otherwise as in the file.

    Raises:
        ConfigError: runs need one another in a circle.
    """
    placed: list[str] = []

    def place(run: RunSpec, above: tuple[str, ...]) -> Iterator[RunSpec]:
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
