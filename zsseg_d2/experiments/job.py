"""The program that Snakemake starts for each job of a suite.

    python job.py PLAN OUTPUT

It runs one tool, with ``--resume`` where a checkpoint is there, keeps the record in the job's folder, and writes the
file that Snakemake waits for at the very end. It imports the package without torch, so that it starts at once.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

import portalocker

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # where the package is, in place of this folder
    import zsseg_d2_console

    zsseg_d2_console.import_without_torch("zsseg_d2.experiments.job_record")

from zsseg_d2.experiments import job_record
from zsseg_d2.experiments.job_record import Action, Job, State, read_record, write_record

_POLL = 0.05
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Place(NamedTuple):
    """The share of the machine that a job runs on."""

    threads: int
    gpu: str | None = None  # its entry of CUDA_VISIBLE_DEVICES
    locks: tuple[int, ...] = ()  # descriptors; the place is taken for as long as a process holds them

    def environment(self) -> dict[str, str]:
        """Environment variables of a run in this place."""
        # Snakemake has set these to the threads of the rule.
        own = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self.threads))
        return own if self.gpu is None else {**own, "CUDA_VISIBLE_DEVICES": self.gpu}


class Attempt:
    """One attempt at a job: decide what is left to do, run its tool, and record the result."""

    def __init__(self, job: Job, plan: Mapping[str, Any]) -> None:
        """
        Args:
            plan: of :func:`zsseg_d2.experiments.workflow.Workflow.command`.
        """
        self.job, self.plan = job, plan
        self.overwrite = job.key in plan["overwrite"]
        self._asked_to_stop = 0

    def run(self) -> bool:
        """Do what is left to do, and return whether the job has finished."""
        job, old = self.job, Path(self.plan["output"]) / "old"
        for number in _STOP_SIGNALS:
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._ask_to_stop)
        if job_record.in_use(job.folder):
            print(f"An earlier process is still running in {job.folder}.", file=sys.stderr)
            return False
        now = State(Action.REPLACE, "asked for by --overwrite") if self.overwrite else job_record.state(job)
        if not self.overwrite and (now.action is Action.REPLACE or not read_record(job.folder)):
            now = job_record.state(job) if job_record.bring_back(job, old) else now
        if now.action is not Action.NONE:
            moved_to = job_record.put_aside(job, old) if now.action is Action.REPLACE else None
            job.folder.mkdir(parents=True, exist_ok=True)
            with job_record.locked_log(job.folder) as log, self._place() as place:
                if self._work(log, place, now, moved_to)["status"] != "finished":
                    return False
        made = {"run": job.name, "seed": job.seed, "fingerprint": job.fingerprint}
        job_record.write_json(job.folder / job_record.FINISHED, {**made, "made": read_record(job.folder).get("made")})
        return True

    def _work(self, log: IO[bytes], place: Place, now: State, moved_to: Path | None) -> dict[str, Any]:
        """Run the tool, and return the record as written.

        Args:
            moved_to: where the folder's earlier content is now.
        """
        job, resume = self.job, now.action is Action.RESUME
        before, time_of_day = read_record(job.folder), datetime.now(UTC).isoformat()
        command = job.command_line(resume=resume, overwrite=self.overwrite)
        record = {
            "run": job.name,
            "seed": job.seed,
            "status": "running",
            "command": command,
            "environment": dict(job.environment),
            "fingerprint": job.fingerprint,
            "settings": dict(job.settings),
            "needs": job_record.needs_of(job),
            "made": before.get("made", time_of_day) if resume else time_of_day,  # a resumed run is still the same
            "started": time_of_day,
            "seconds": before.get("seconds", 0.0) if resume else 0.0,
            "attempts": before.get("attempts", 0) + 1,
            "threads": place.threads,
            "side_by_side": self.plan["side_by_side"],
            "gpu": place.gpu,
            "session": self.plan["session"],
            "pid": os.getpid(),
            "resumed": resume,
            "reason": now.reason,
            "replaced": None if moved_to is None else str(moved_to),
        }
        log.write(f"\n$ {shlex.join(command)}\n".encode())
        log.flush()
        record["log_start"] = log.tell()
        write_record(job.folder, record)
        start = time.monotonic()
        code = self._call(command, log, place)
        record.update(self._ending(code, record["log_start"]), seconds=record["seconds"] + time.monotonic() - start)
        write_record(job.folder, record)
        return record

    def _call(self, command: list[str], log: IO[bytes], place: Place) -> int:
        """Run the tool until it ends, passing on requests to stop, and return its exit status."""
        # The tool inherits both locks and holds them for as long as it lives, even where this process is killed.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **place.environment(), **self.job.environment},
            pass_fds=place.locks,
            start_new_session=True,
        )
        passed_on = 0
        while True:
            try:
                return process.wait(_POLL)
            except subprocess.TimeoutExpired:
                while passed_on < self._asked_to_stop:
                    passed_on += 1
                    os.killpg(process.pid, signal.SIGINT if passed_on < 3 else signal.SIGKILL)

    def _ending(self, code: int, log_start: int) -> dict[str, Any]:
        """Return the ``status`` ("finished", "interrupted" or "failed") and a ``message``, the reason of a failure."""
        missing = job_record.missing_result(self.job) if code == 0 else None
        if code == 0 and missing is None:
            return {"status": "finished", "message": "", "result_sha256": job_record.result_digest(self.job)}
        if self._asked_to_stop:
            return {"status": "interrupted", "message": ""}
        if code == 0:
            return {"status": "failed", "message": f"it ended without {missing}"}
        refusals = [line for line in job_record.last_lines(self.job.folder, log_start) if line.startswith("error: ")]
        reason = f": {refusals[-1].removeprefix('error: ')}" if refusals else ""
        return {"status": "failed", "message": f"signal {-code}" if code < 0 else f"exit status {code}{reason}"}

    @contextmanager
    def _place(self) -> Iterator[Place]:
        """Wait for one of the plan's places, and hold it."""
        if not self.plan["places"]:  # on a cluster, whose scheduler says which cores and devices are the job's
            yield Place(len(os.sched_getaffinity(0)))
            return
        while not self._asked_to_stop:
            for number, (threads, gpu) in enumerate(self.plan["places"]):
                with open(Path(self.plan["output"]) / ".suite" / f"place_{number}.lock", "w") as lock:
                    try:
                        portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
                    except portalocker.LockException:
                        continue
                    yield Place(threads, gpu, (lock.fileno(),))
                    return
            time.sleep(_POLL)
        sys.exit(1)

    def _ask_to_stop(self, _number: int, _frame: object) -> None:
        self._asked_to_stop += 1


def main(words: list[str]) -> int:
    """Run the job, and return the exit status: 0, or 1 if it has not finished."""
    plan = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    os.chdir(plan["working_directory"])
    key = Path(words[1]).parent.as_posix()  # of "seed_1/<run>/suite_finished.json"
    return 0 if Attempt(Job.from_plan(plan["jobs"], key), plan).run() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
