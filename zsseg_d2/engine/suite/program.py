"""The program behind ``tools/run_suite.py``: from the command line to tables and plots."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import portalocker
from tabulate import tabulate

from ..config.setup import (find_config, packaged_suites)
from ..errors import (ConfigError, near_matches)
from . import records
from .arguments import parse_arguments
from .checks import (check_configs, check_data, check_weights)
from .figures import read_json
from .jobs import (Job, make_jobs)
from .leaks import (check_claims, find_leaks)
from .machine import places
from .process import check_unused
from .progress import Progress
from .records import (Action, State)
from .report import (terminal, write_report)
from .results import gather
from .runner import Runner
from .spec import Suite
from .suite_file import load_suite
from .values import (check_seeds, parse_options)

OLD = "old"
"""Folder, in that of the suite, of what was replaced."""


def main(words: Sequence[str] | None = None, *, tools: Path, description: str = "") -> int:
    """
    Args:
        words: of the command line; None: this process's.
        tools: the folder of the programs that suites run.
    Returns:
        The exit status: 0, 1 after a mistake or a failed run, 130 after Ctrl-C.
    """
    try:
        return run_suite(parse_arguments(words, description), tools)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run_suite(args: argparse.Namespace, tools: Path) -> int:
    """
    Args:
        args: of :func:`parse_arguments`.
    Raises:
        ConfigError: see the message.
    """
    suite = load_suite(find_config(args.suite, packaged_suites()), tools)
    suite = replace(
        suite,
        seeds=check_seeds(args.seeds, "--seeds") if args.seeds else suite.seeds,
        output=Path(args.output or suite.output).expanduser(),
    )
    names = [run.name for run in suite.runs]
    for name in args.only or ():
        if name not in names:
            raise ConfigError(f"--only: there is no run '{name}'.{near_matches(name, names) or f' There are {names}.'}")
    options = parse_options(args.options, "Options")
    every = make_jobs(suite, options)
    jobs = make_jobs(suite, options, only=args.only or ())
    overwrite = (args.only or names) if args.overwrite else ()
    check_claims(suite, find_leaks(every, check_configs(every, check=False), suite.output))
    if args.list:
        print(list_of(jobs, records.states(jobs, overwrite=overwrite)))
        return 0
    if args.report:
        _report(suite, every, show=True)
        return 0
    configs = check_configs(jobs)
    if args.dry_run:
        print(commands_of(jobs, records.states(jobs, overwrite=overwrite)))
        return 0
    check_weights(configs, suite.output)
    check_data(jobs, configs)
    suite.output.mkdir(parents=True, exist_ok=True)
    with _only_one(suite.output):
        for job in jobs:
            check_unused(job.folder)
            records.bring_back(job, suite.output / OLD)
        states = records.states(jobs, overwrite=overwrite)
        on_cuda = any(cfg.MODEL.DEVICE.startswith("cuda") for cfg in configs.values())
        where = places(args.jobs, memory_gb=suite.memory_gb, on_cuda=on_cuda)
        done = sum(state.action is Action.NONE for state in states.values())
        progress = Progress(len(jobs), done, result=_in_short(suite))
        each = f"{len(where)} at a time, with {where[0].threads} thread(s) each"
        progress.say(f"{len(jobs)} runs, {done} of them finished; {each}")
        iterations = {name: cfg.SOLVER.MAX_ITER for name, cfg in configs.items()}
        runner = Runner(jobs, states, where, old=suite.output / OLD, iterations=iterations, progress=progress)
        runner.run()
        progress.close()
        _report(suite, every, show=not runner.interrupted)
    if runner.interrupted:
        print("Stopped. The same command goes on from here.")
        return 130
    return 1 if runner.failed else 0


def list_of(jobs: Sequence[Job], states: Mapping[Job, State]) -> str:
    """A line a job: what is left to do, where, and what it needs."""
    rows = [
        [job.title, states[job].action.value, states[job].reason, ", ".join(n.spec.name for n in job.needs), job.folder]
        for job in jobs
    ]
    return tabulate(rows, headers=["run", "state", "because", "needs", "folder"], disable_numparse=True)


def commands_of(jobs: Sequence[Job], states: Mapping[Job, State]) -> str:
    """The commands of what is left to do, in an order in which they work, each below what it is."""
    lines = []
    for job in jobs:
        state = states[job]
        lines.append(f"# {job.title}: {state.action.value}{state.reason and f' ({state.reason})'}")
        if state.action is not Action.NONE:
            settings = [f"{key}={shlex.quote(value)}" for key, value in job.environment.items()]
            words = job.command_line(resume=state.action is Action.RESUME, overwrite=state.overwrite)
            lines.append(" ".join([*settings, shlex.join(words)]))
    return "\n".join(lines)


def _report(suite: Suite, jobs: Sequence[Job], *, show: bool) -> None:
    results = gather(suite, jobs)
    suite.output.mkdir(parents=True, exist_ok=True)
    path = write_report(results, suite.output)
    if show:
        print(f"\n{terminal(results)}\n")
    print(f"Table, plots and all figures so far: {path} and {path.with_suffix('.json')}")


def _in_short(suite: Suite) -> Callable[[Job], str]:
    """The first measure of a finished job."""

    def text(job: Job) -> str:
        path = records.metrics_file(job.folder, job.spec.metrics) if job.spec.metrics else None
        try:
            values = suite.task.figures_of_file(read_json(path)) if path else {}
        except ValueError:
            return ""
        first = suite.task.measures[0]
        return f"{first.label} {values[first.key]:.1f}" if first.key in values else ""

    return text


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """
    Raises:
        ConfigError: another suite works in the folder.
    """
    flags = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
    try:
        with portalocker.Lock(folder / ".lock", "w", flags=flags, timeout=0):
            yield
    except portalocker.LockException:
        raise ConfigError(f"Another run_suite works in {folder}; wait for it, or give another --output.") from None
