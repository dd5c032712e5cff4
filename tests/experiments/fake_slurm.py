"""The commands of Slurm, as far as Snakemake's plugin calls them; jobs start at once, on this machine.

``install(folder)`` writes ``sbatch``, ``srun``, ``squeue``, ``sacct``, ``scancel`` and ``sacctmgr`` into a folder for
PATH.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "sacctmgr")


def install(folder: Path) -> Path:
    """Write the commands, and return the folder where they note the jobs."""
    jobs = folder / "jobs"
    jobs.mkdir(parents=True)
    for name in COMMANDS:
        command = folder / name
        command.write_text(f"#!{sys.executable}\n{Path(__file__).read_text(encoding='utf-8')}", encoding="utf-8")
        command.chmod(0o755)
    return jobs


def submissions(jobs: Path) -> list[list[str]]:
    """The words of each call of sbatch."""
    return [path.read_text().split("\n") for path in sorted(jobs.glob("*.call"))]


def sbatch(words: list[str], jobs: Path) -> None:
    number = str(len(list(jobs.glob("*.call"))) + 1)
    (jobs / f"{number}.call").write_text("\n".join(words))
    wrapped = next(word.removeprefix("--wrap=") for word in words if word.startswith("--wrap="))
    (jobs / f"{number}.sh").write_text(f"{wrapped}\necho $? > {jobs / number}.status\n")
    with open(jobs / f"{number}.log", "w") as log:
        environment = {**os.environ, "SLURM_JOB_ID": number}
        job = subprocess.Popen(
            ["bash", str(jobs / f"{number}.sh")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    (jobs / f"{number}.pid").write_text(str(job.pid))
    print(number)


def srun(words: list[str], _jobs: Path) -> None:
    first = next(k for k, word in enumerate(words) if not word.startswith("-"))
    os.execvp(words[first], words[first:])


def squeue(_words: list[str], jobs: Path) -> None:
    for call in jobs.glob("*.call"):
        status = call.with_suffix(".status")
        ended = status.read_text().strip() if status.exists() else ""
        print(f"{call.stem}|{'COMPLETED' if ended == '0' else 'FAILED' if ended else 'RUNNING'}")


def scancel(words: list[str], jobs: Path) -> None:
    for number in filter(str.isdigit, words):
        os.killpg(int((jobs / f"{number}.pid").read_text()), signal.SIGTERM)


def sacctmgr(_words: list[str], _jobs: Path) -> None:
    print("me")


sacct = squeue

if __name__ == "__main__":
    here = Path(__file__)
    globals()[here.name](sys.argv[1:], here.parent / "jobs")
