"""Damage files, kill programs, fill disks and try odd config values, and count how the programs end.

    python -m tests.faults files --cases 4000 --jobs 2
    python -m tests.faults kills --cases 150
    python -m tests.faults disk --cases 78

Disks have no room for large files, are full (a small tmpfs) or read-only; the latter two need root.

Cases that end badly are printed at once; exit status 1 if there are any. The same seed gives the same damage. Config
values have a program of their own: python -m tests.faults.config_values
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from tests.faults.damage import damage_files
from tests.faults.disks import fill_the_disk
from tests.faults.interruptions import kill_and_repeat
from tests.faults.workspace import Workspace

KINDS = {"files": damage_files, "kills": kill_and_repeat, "disk": fill_the_disk}


def main() -> int:
    """Run the cases of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="process k uses seed + k")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with a workspace of its own")
    parser.add_argument("--log", type=Path, help="folder for a line of JSON a case (files)")
    args = parser.parse_args()
    share = [args.cases // args.jobs + (k < args.cases % args.jobs) for k in range(args.jobs)]
    torch.set_num_threads(1)  # OpenMP's other threads do not survive a fork, and each program is one
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [
        context.Process(target=_work, args=(args.kind, share[k], args.seed + k, args.log, queue))
        for k in range(args.jobs)
    ]
    for worker in workers:
        worker.start()
    counts: Counter[str] = Counter()
    bad = False
    finished = 0
    with tqdm(total=args.cases, unit="case") as bar:
        while finished < args.jobs:
            message = queue.get()
            if isinstance(message, Exception):
                raise message
            if isinstance(message, Counter):
                counts += message
                finished += 1
                continue
            bar.update()
            for line in message:
                bad = True
                tqdm.write(line)
    print(f"{sum(counts.values())} cases: " + ", ".join(f"{kind} {n}" for kind, n in counts.most_common()))
    return 1 if bad else 0


def _work(kind: str, cases: int, seed: int, log: Path | None, queue: multiprocessing.Queue) -> None:
    try:
        with tempfile.TemporaryDirectory(prefix="zsseg_d2_faults_") as folder:
            function = partial(KINDS[kind], Workspace(Path(folder)), cases, seed, step=queue.put)
            if not log or kind != "files":
                queue.put(function()[0])
                return
            log.mkdir(parents=True, exist_ok=True)
            with open(log / f"{seed}.jsonl", "w", encoding="utf-8") as file:
                queue.put(function(log=file)[0])
    except Exception as error:
        queue.put(RuntimeError(str(error)))


if __name__ == "__main__":
    sys.exit(main())
