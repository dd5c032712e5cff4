"""Hand the jobs of a suite to Snakemake: what to do, where, and which of them it finds due."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..engine.errors import ConfigError
from ..files import atomic_path
from .job_record import FINISHED, Action, Job, State, read_record, state
from .machine import Place
from .runs import RunJob

STATE_FOLDER = ".suite"
"""In the suite's folder: the plan, Snakemake's log, and a lock for each place."""

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Executor:
    """Where jobs run: on this machine, or wherever an executor plugin or a profile of Snakemake sends them."""

    name: str | None = None
    profile: str | None = None
    arguments: tuple[str, ...] = ()  # for Snakemake, as they are

    @property
    def is_local(self) -> bool:
        return self.name in (None, "local") and self.profile is None


@dataclass(frozen=True)
class Workflow:
    """Jobs of a suite, and how Snakemake is to run them."""

    output: Path
    jobs: Sequence[RunJob]  # each after those it needs
    overwrite: Collection[str]  # names of runs that are to be done again in any case
    executor: Executor
    places: Sequence[Place]  # those of this machine; of a cluster, how many jobs may be submitted at the same time
    memory_gb: float  # of one job
    on_cuda: bool
    session: str = field(
        default_factory=lambda: uuid.uuid4().hex
    )  # tells the records of this attempt from earlier ones

    @property
    def log(self) -> Path:
        return self.output / STATE_FOLDER / "snakemake.log"

    def command(self) -> list[str]:
        """Write the plan, and return the command that carries it out."""
        plan = self.output / STATE_FOLDER / "plan.json"
        plan.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(plan) as temporary:
            temporary.write_text(json.dumps(self._plan(plan), indent=1), encoding="utf-8")
        return self._command(plan)

    def due(self) -> set[str]:
        """Ask Snakemake which jobs it would start; by their keys.

        Raises:
            ConfigError: Snakemake refuses.
        """
        if not self.output.exists():  # where Snakemake would make a folder for its own state
            return {job.key for job in self.jobs}
        with tempfile.TemporaryDirectory() as folder:
            plan = Path(folder) / "plan.json"
            plan.write_text(json.dumps(self._plan(plan)), encoding="utf-8")
            command = [*self._command(plan), "--summary"]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise ConfigError(f"Snakemake refuses the suite:\n{done.stderr.strip()}")
        lines = [line.split("\t") for line in done.stdout.splitlines() if line.endswith("update pending")]
        return {str(Path(line[0]).parent) for line in lines}

    def states(self, due: Collection[str] | None = None) -> dict[RunJob, State]:
        """Return what is left to do for each job, by the records of its own and of those it needs.

        Args:
            due: keys of the jobs that Snakemake would start; None: all may be.
        """
        due, found = due if due is not None else {job.key for job in self.jobs}, dict[RunJob, State]()
        for job in self.jobs:
            found[job] = state(job) if job.key in due else State(Action.NONE)
            again = [need.name for need in job.needs if found[need].action in (Action.START, Action.REPLACE)]
            if job.name in self.overwrite:
                action = Action.REPLACE if job.folder.exists() else Action.START
                found[job] = State(action, "asked for by --overwrite")
            elif again and read_record(job.folder) and found[job].action is not Action.REPLACE:
                found[job] = State(Action.REPLACE, f"{again[0]} is run again")
        return found

    def is_finished(self) -> bool:
        """Return whether every job has finished with its present settings, and has Snakemake's output."""
        there = all((job.folder / FINISHED).exists() for job in self.jobs)
        return there and all(state.action is Action.NONE for state in self.states().values())

    def _plan(self, path: Path) -> dict:
        resources = {"mem_mb": self._mem_mb, **({"gpu": 1} if self.on_cuda else {})}
        local = self.executor.is_local
        program = [sys.executable, str(_HERE / "job.py"), str(path.resolve())]
        return {
            "program": shlex.join(program),
            "finished": FINISHED,
            "output": str(self.output.resolve()),
            "working_directory": os.getcwd(),
            "parent": os.getpid(),
            "session": self.session,
            "places": list(self.places) if local else [],
            "side_by_side": len(self.places) if local else 1,
            "threads": self.places[0].threads if local else 1,
            "resources": resources,
            "overwrite": [job.key for job in self.jobs if job.name in self.overwrite],
            "priorities": _priorities(self.jobs),
            "jobs": {job.key: job.to_json() for job in self.jobs},
        }

    @property
    def _mem_mb(self) -> int:
        return round(1024 * self.memory_gb)

    def _command(self, plan: Path) -> list[str]:
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(_HERE / "Snakefile"),
            "--config",
            f"plan={plan.resolve()}",
        ]
        command += ["--directory", str(self.output.resolve()), "--nolock", "--rerun-incomplete", "--keep-going"]
        command += ["--rerun-triggers", "mtime", "params", "input", "--scheduler", "greedy"]
        forced = [job for job in self.jobs if job.name in self.overwrite or _is_stale(job)]
        command += ["--forcerun", *(f"{job.key}/{FINISHED}" for job in forced)] if forced else []
        if not self.executor.is_local:
            command += ["--executor", self.executor.name] if self.executor.name else []
            command += ["--profile", self.executor.profile] if self.executor.profile else []
            return [*command, "--jobs", str(len(self.places)), *self.executor.arguments]
        command += ["--executor", "local", "--profile", "none"]
        command += ["--cores", str(len(self.places) * self.places[0].threads)]
        command += ["--resources", f"mem_mb={len(self.places) * self._mem_mb}", f"gpu={len(self.places)}"]
        # Without the cache of sources, which would be in the user's home.
        command += [
            "--shared-fs-usage",
            "persistence",
            "input-output",
            "software-deployment",
            "sources",
            "storage-local-copies",
        ]
        return [*command, *self.executor.arguments]


def _is_stale(job: Job) -> bool:
    """Return whether it has finished once, but its files or settings have changed since."""
    return (job.folder / FINISHED).exists() and state(job).action is not Action.NONE


def _priorities(jobs: Sequence[Job]) -> dict[str, int]:
    """Return priorities by key: seed by seed, within a seed those first that the longest chain waits for."""
    behind: dict[str, int] = {}
    for job in reversed(jobs):
        behind.setdefault(job.key, 0)
        for need in job.needs:
            behind[need.key] = max(behind.get(need.key, 0), behind[job.key] + (10 if job.trains else 1))
    seeds = list(dict.fromkeys(job.seed for job in jobs))
    first = max(behind.values(), default=0) + 20
    return {
        job.key: (len(seeds) - seeds.index(job.seed)) * first + behind[job.key] + (10 if job.trains else 0)
        for job in jobs
    }
