"""The program behind ``tools/run_suite.py``: from the command line to tables and plots."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from ..engine.config.packaged import find_config, packaged_suites
from ..engine.errors import ConfigError
from ..folder_lock import writing
from ..registry import did_you_mean
from .checks import check_configs, check_data, check_held_out, check_weights
from .gather import gather, metrics_file, read_json
from .job_record import Action, State, in_use
from .leak_free import check_claims, find_leaks
from .machine import Place, places
from .progress import Progress
from .report import terminal, write_report
from .runs import RunJob, Suite, make_jobs
from .suite_file import check_seeds, load_suite, parse_options
from .workflow import Executor, Workflow

_POLL = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_suite(args: argparse.Namespace, tools: Path) -> int:
    """Do what a command line asks for, and return the exit status.

    Args:
        args: as parsed by :mod:`zsseg_d2.cli.run_suite`.
        tools: the folder of the programs that suites run.
    Raises:
        ConfigError: see the message.
    """
    suite = load_suite(find_config(args.suite, packaged_suites()), tools, own_tools(args.tools))
    suite = replace(
        suite,
        seeds=check_seeds(args.seeds, "--seeds") if args.seeds else suite.seeds,
        output=Path(args.output or suite.output).expanduser(),
    )
    names = [run.name for run in suite.runs]
    for name in args.only or ():
        if name not in names:
            raise ConfigError(f"--only: there is no run '{name}'.{did_you_mean(name, names) or f' There are {names}.'}")
    options = parse_options(args.options, "Options")
    every = make_jobs(suite, options)
    jobs = make_jobs(suite, options, only=args.only or ())
    unchecked = check_configs(suite.path, every, check=False)
    check_held_out(suite, unchecked)
    check_claims(suite, find_leaks(every, unchecked, suite.output))
    if args.report:
        _report(suite, every, show=True)
        return 0
    configs = check_configs(suite.path, jobs, check=not args.list)
    executor = Executor(args.executor, args.profile, tuple(args.for_snakemake))
    on_cuda = any(cfg.MODEL.DEVICE.startswith("cuda") for cfg in configs.values())
    if executor.is_local:
        where = places(args.jobs, memory_gb=suite.memory_gb, on_cuda=on_cuda)
    else:
        where = [Place(1, None)] * (args.jobs or len(jobs))
    overwrite = (args.only or names) if args.overwrite else ()
    workflow = Workflow(suite.output, jobs, overwrite, executor, where, suite.memory_gb, on_cuda)
    if args.list:
        print(list_of(workflow.states(workflow.due())))
        return 0
    if args.dry_run:
        print(commands_of(workflow.states(workflow.due()), overwrite))
        return 0
    check_weights(configs, suite.output)
    check_data(jobs, configs)
    return _work(suite, workflow, every, {name: cfg.SOLVER.MAX_ITER for name, cfg in configs.items()})


def own_tools(named: Sequence[str]) -> dict[str, Path]:
    """Return the programs that ``--tool NAME=PATH`` names.

    Raises:
        ConfigError: a word without a name, or a path that is no file.
    """
    found: dict[str, Path] = {}
    for word in named:
        name, _, path = word.partition("=")
        if not name or not Path(path).expanduser().is_file():
            raise ConfigError(f"--tool {word}: there is no such file. Fix: give it as NAME=PATH of a Python program.")
        found[name] = Path(path).expanduser().absolute()
    return found


def _work(suite: Suite, workflow: Workflow, every: Sequence[RunJob], iterations: Mapping[str, int]) -> int:
    with writing(suite.output, "run_suite.py"):
        for job in workflow.jobs:
            if in_use(job.folder):
                raise ConfigError(f"An earlier process is still running in {job.folder}. Fix: wait for it, or stop it.")
        progress = Progress(
            workflow.states(),
            session=workflow.session,
            places=len(workflow.places),
            iterations=iterations,
            result=_in_short(suite),
        )
        local = f"at a time, with {workflow.places[0].threads} thread(s) each"
        elsewhere = f"submitted at a time by Snakemake ({workflow.log})"
        progress.say(f"{progress.summary}; {len(workflow.places)} {local if workflow.executor.is_local else elsewhere}")
        # Snakemake takes seconds to find out that there is nothing to do.
        status, interrupted = (0, False) if workflow.is_finished() else _follow(workflow, progress)
        _report(suite, every, show=not interrupted)
    if interrupted:
        print("Stopped. The same command continues from here.")
        return 130
    if status and not progress.failed:
        end = "".join(f"\n    {line}" for line in workflow.log.read_text(errors="replace").splitlines()[-15:])
        print(f"error: Snakemake failed (exit status {status}); the end of {workflow.log}:{end}", file=sys.stderr)
    return 1 if status or progress.failed else 0


def _follow(workflow: Workflow, progress: Progress) -> tuple[int, bool]:
    """Run Snakemake, and print what happens.

    Ctrl-C: no more jobs start, and the running ones save and end; again: at once; a third time: they are killed.

    Returns:
        Snakemake's exit status, and whether it was asked to stop.
    """
    requests: list[int] = []
    passed: dict[int, int] = {}  # requests to stop that were passed on, by process
    command = workflow.command()
    with open(workflow.log, "wb") as log, _stop_signals(requests):
        snakemake = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        next_show, passed_on = 0.0, 0
        while snakemake.poll() is None:
            progress.look()
            if passed_on < len(requests):
                passed_on += 1
                if passed_on == 1:
                    progress.say("Stopping: the runs save what they have. Ctrl-C again stops them at once.")
                # On SIGTERM, Snakemake starts nothing more and waits; on SIGINT, it cancels the jobs of a cluster.
                snakemake.send_signal(signal.SIGTERM if workflow.executor.is_local else signal.SIGINT)
            if workflow.executor.is_local:
                for process in progress.processes:
                    while passed.get(process, 0) < passed_on:
                        passed[process] = passed.get(process, 0) + 1
                        _interrupt(process)
            if time.monotonic() >= next_show:
                progress.show()
                next_show = time.monotonic() + 1
            time.sleep(_POLL)
        progress.look()
        progress.close()
    return snakemake.returncode, bool(requests)


def _interrupt(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGINT)


@contextmanager
def _stop_signals(requests: list[int]) -> Iterator[None]:
    """Collect signals that ask to stop."""
    previous: dict = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                previous[number] = signal.signal(number, lambda number, _frame: requests.append(number))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def list_of(states: Mapping[RunJob, State]) -> str:
    """Return a line for each job: what is left to do, where, and what it needs."""
    rows = [
        [job.title, state.action.value, state.reason, ", ".join(need.name for need in job.needs), job.folder]
        for job, state in states.items()
    ]
    return tabulate(rows, headers=["run", "state", "because", "needs", "folder"], disable_numparse=True)


def commands_of(states: Mapping[RunJob, State], overwrite: Sequence[str]) -> str:
    """Return the commands that are left to do, in a valid order, each below its title."""
    lines = []
    for job, state in states.items():
        lines.append(f"# {job.title}: {state.action.value}{state.reason and f' ({state.reason})'}")
        if state.action is not Action.NONE:
            settings = [f"{key}={shlex.quote(value)}" for key, value in job.environment.items()]
            words = job.command_line(resume=state.action is Action.RESUME, overwrite=job.name in overwrite)
            lines.append(" ".join([*settings, shlex.join(words)]))
    return "\n".join(lines)


def _report(suite: Suite, jobs: Sequence[RunJob], *, show: bool) -> None:
    results = gather(suite, jobs)
    suite.output.mkdir(parents=True, exist_ok=True)
    path = write_report(results, suite.output)
    if show:
        print(f"\n{terminal(results)}\n")
    print(f"Table, plots and all figures so far: {path} and {path.with_suffix('.json')}")


def _in_short(suite: Suite) -> Callable[[RunJob], str]:
    """Return a function that gives the first measure of a finished job."""

    def text(job: RunJob) -> str:
        path = metrics_file(suite, job.folder, job.run.metrics) if job.run.metrics else None
        try:
            values = suite.task.figures_of_file(read_json(path)) if path else {}
        except ValueError:
            return ""
        first = suite.task.measures[0]
        return f"{first.label} {values[first.key]:.1f}" if first.key in values else ""

    return text
