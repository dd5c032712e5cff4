"""Time a training step of each method against one of a single model on the same batch, with random weights.

    python tools/benchmark_methods.py                                             the mini model
    python tools/benchmark_methods.py --config-file configs/cityscapes/in_class_finetune.yaml --height 512 --width 512
    python tools/benchmark_methods.py --inference                                 inference instead

Times are taken in turns; each method has a process of its own, whose peak memory is reported (on CUDA: of the device).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from functools import partial

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program

SINGLE = "single model"
_MASKS = ("ZSSEG.DISTILLATION.LOSS", "kl", "ZSSEG.DISTILLATION.MASK_WEIGHT", "5.0")
# Masks of random weights cover much of an image, so that little of each is free of labels.
_TEACHER = ("MeanTeacherFCCLIP", "ZSSEG.PSEUDO_LABELS.MIN_VISIBLE", "0.0")
METHODS: dict[str, tuple[str, ...]] = {
    SINGLE: ("FCCLIP",),
    "distillation of classes": ("DistilledFCCLIP",),
    "distillation of classes and masks": ("DistilledFCCLIP", *_MASKS),
    "mean teacher": _TEACHER,
    "frozen queries": ("FrozenQueriesFCCLIP",),
    "replay": ("FCCLIP", "ZSSEG.REPLAY.DATASET", "miniworld_panoptic_train"),
    "mean teacher, replay": (*_TEACHER, "ZSSEG.REPLAY.DATASET", "miniworld_panoptic_train"),
    "L2-SP": ("AnchoredFCCLIP",),
    "EWC": ("ElasticFCCLIP", "ZSSEG.EWC.DATASET", "miniworld_panoptic_train"),
    "low-rank updates": ("LowRankFCCLIP",),
    "combined": ("CombinedFCCLIP",),
    "combined, queries matched": ("CombinedFCCLIP", "ZSSEG.FUSION.PAIRING", "hungarian"),
}
INFERENCE: dict[str, tuple[str, ...]] = {
    SINGLE: ("FCCLIP",),
    "frozen queries": ("FrozenQueriesFCCLIP",),
    "combined": ("CombinedFCCLIP",),
    "naive intersection": ("NaiveIntersection",),
    "per-image interpolation": ("InterpolatedFCCLIP",),
}
"""Methods that infer otherwise than a single model."""


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--inference", action="store_true", help="time inference in place of training steps")
    known = list(dict.fromkeys((*METHODS, *INFERENCE)))
    parser.add_argument("--methods", nargs="+", choices=known, metavar="NAME", help=f"of {known}; default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_config_arguments("default: minicity/in_class_finetune.yaml")
    args = parser.parse_args(argv)
    args.methods = args.methods or list(table_of(args))
    other = next((name for name in args.methods if name not in table_of(args)), None)
    if other is not None:
        what = "infers as a single model does" if args.inference else "has no training step"
        parser.error(f"--methods: '{other}' {what}; choose from {', '.join(table_of(args))}")
    args.config_file = args.config_file or ["minicity/in_class_finetune.yaml"]
    return args


def table_of(args: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Return the architecture and options of each method that can be timed."""
    return INFERENCE if args.inference else METHODS


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Measure, and print a table or JSON."""
    from tabulate import tabulate

    from zsseg_d2.engine.benchmark.measure import in_turns, machine
    from zsseg_d2.engine.benchmark.model_work import check_method

    methods = [name for name in table_of(args) if name in (SINGLE, *args.methods)]
    for name in methods:  # mistakes end here, before any process is started
        check_method(name, args.config_file, options_of(name, args))
    forms = in_turns({name: partial(make_work, name, args) for name in methods}, args.repeat)
    rows: dict[str, dict] = {}
    for name, form in forms.items():
        found = form.finish()
        ratios = [a / b for a, b in zip(form.seconds, forms[SINGLE].seconds)]
        rows[name] = {
            "seconds": round(found["seconds"], 3),
            "spread": [round(seconds, 3) for seconds in found["spread"]],
            "ratio": round(statistics.median(ratios), 2),
            "memory_gb": round(found["memory_gb"], 2),
            "memory_ratio": round(found["memory_gb"] / rows[SINGLE]["memory_gb"], 2) if rows else 1.0,
        }
    if args.json:
        print(json.dumps({"machine": machine(), "size": [args.batch, 3, args.height, args.width], "methods": rows}))
        return
    print(f"{' '.join(args.config_file)}, batch {args.batch} x 3 x {args.height} x {args.width}, on {machine()}")
    table = [[name, r["seconds"], "{} to {}".format(*r["spread"]), *list(r.values())[2:]] for name, r in rows.items()]
    print(
        tabulate(
            table,
            headers=[
                "inference of" if args.inference else "training step of",
                "seconds",
                "spread",
                "ratio",
                "peak GB",
                "ratio",
            ],
        )
    )


def make_work(method: str, args: argparse.Namespace):
    """Make the training step of a method, or its inference."""
    from zsseg_d2.engine.benchmark.model_work import inference, training_step

    size, options = (args.height, args.width), options_of(method, args)
    if args.inference:
        return inference(args.config_file, size, options, args.batch)
    return training_step(args.config_file, size, args.batch, options)


def options_of(method: str, args: argparse.Namespace) -> list[str]:
    """Return the config options of a method, those of the command line among them."""
    return ["ZSSEG.DISTILLATION.CLASSES", "all", *args.opts, "MODEL.META_ARCHITECTURE", *table_of(args)[method]]
