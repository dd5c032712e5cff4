"""What a training step of each method costs, against one of a single model on the same batch, with random weights.

    python tools/benchmark_methods.py                                             the mini model
    python tools/benchmark_methods.py --config-file configs/cityscapes/full_finetune_r50.yaml --height 512 --width 512

Times are taken in turns in one process; peak memory is that of a process of its own for each method (on CUDA: of the device).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the source tree beside this file, installed or not

import zsseg_d2  # noqa: E402, F401  (before torch, whose threads it sets, and Detectron2, which it makes importable)
from tabulate import tabulate  # noqa: E402
from tqdm import tqdm  # noqa: E402
from zsseg_d2.engine import setup_cfg  # noqa: E402
from zsseg_d2.engine.benchmark.measure import machine, peak_memory, timed  # noqa: E402
from zsseg_d2.engine.benchmark.model_rows import training_step  # noqa: E402
from zsseg_d2.engine.errors import ConfigError  # noqa: E402

METHODS = {
    "single model": ("FCCLIP",),
    "distillation of classes": ("DistilledFCCLIP",),
    "distillation of classes and masks": (
        "DistilledFCCLIP",
        "ZSSEG.DISTILLATION.LOSS",
        "kl",
        "ZSSEG.DISTILLATION.MASK_WEIGHT",
        "5.0",
    ),
    "combined": ("CombinedFCCLIP",),
    "combined, queries matched": ("CombinedFCCLIP", "ZSSEG.FUSION.PAIRING", "hungarian"),
}


class Step:
    """A training step of one method on a batch that stays the same."""

    def __init__(self, args: argparse.Namespace, method: tuple[str, ...]) -> None:
        options = ["ZSSEG.DISTILLATION.CLASSES", "all", *args.opts, "MODEL.META_ARCHITECTURE", *method]
        self._step = training_step(args.config_file, (args.height, args.width), args.batch, options)

    def __call__(self) -> float:
        """Seconds of forward, backward and optimizer."""
        return timed(self._step)


def _peak(argv: list[str], method: str) -> float:
    """Peak memory in GB of a process that makes two steps of `method`."""
    output = subprocess.run(
        [sys.executable, __file__, "--memory-of", method, *argv], capture_output=True, text=True, check=True
    )
    return json.loads(output.stdout.splitlines()[-1])


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="configs/minicity/full_finetune.yaml")
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME", help=f"of {list(METHODS)}"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--memory-of", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs")
    own = sys.argv[1:] if words is None else words
    args = parser.parse_args(own)
    methods = {name: METHODS[name] for name in METHODS if name in ("single model", *args.methods)}
    try:
        if args.memory_of:
            step = Step(args, METHODS[args.memory_of])
            step(), step()
            print(peak_memory())
            return
        setup_cfg(args, check=False)  # mistakes end here, before any process is started
        peaks = {name: _peak(own, name) for name in methods}  # first: a child's peak starts from its parent's size
        steps = {name: Step(args, method) for name, method in methods.items()}
    except ConfigError as error:
        raise SystemExit(f"error: {error}") from error
    for step in steps.values():
        step()  # text rows, and memory that later steps reuse
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in tqdm(range(args.repeat), "steps of each method", disable=not sys.stderr.isatty()):
        for name, step in steps.items():
            seconds[name].append(step())
    rows = {
        name: {
            "seconds": round(statistics.median(times), 3),
            "spread": [round(min(times), 3), round(max(times), 3)],
            "ratio": round(statistics.median(a / b for a, b in zip(times, seconds["single model"])), 2),
            "memory_gb": round(peaks[name], 2),
            "memory_ratio": round(peaks[name] / peaks["single model"], 2),
        }
        for name, times in seconds.items()
    }
    if args.json:
        print(json.dumps({"machine": machine(), "size": [args.batch, 3, args.height, args.width], "methods": rows}))
        return
    table = [
        [n, r["seconds"], "{} to {}".format(*r["spread"]), r["ratio"], r["memory_gb"], r["memory_ratio"]]
        for n, r in rows.items()
    ]
    print(f"{args.config_file}, batch {args.batch} x 3 x {args.height} x {args.width}, on {machine()}")
    print(tabulate(table, headers=["training step of", "seconds", "spread", "ratio", "peak GB", "ratio"]))


if __name__ == "__main__":
    main()
