"""What is fast here, against its plain form: time and peak memory, in turns, each form in a process of its own.

    python tools/benchmark.py                                      every row: some 15 minutes and 16 GB on two cores
    python tools/benchmark.py --rows inference-512 text-rows --repeat 5
    python tools/benchmark.py --rows inference-512 training-step --parts             where their time goes
    python tools/benchmark.py --rows inference-1024 --no-plain --config-file configs/cityscapes/zero_shot_convnext_large.yaml --batch 4

Weights are random and pictures made up, so nothing need be downloaded. The plain forms are those of tests/plain, which the
tests compare with the fast ones. KEY VALUE pairs change the config of the rows that build a model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the source tree beside this file, installed or not

import zsseg_d2  # noqa: E402, F401  (before torch, whose threads it sets, and Detectron2, which it makes importable)
import torch  # noqa: E402
from tabulate import tabulate  # noqa: E402
from tqdm import tqdm  # noqa: E402
from zsseg_d2.data import CONFIGURATIONS  # noqa: E402
from zsseg_d2.engine import setup_cfg  # noqa: E402
from zsseg_d2.engine.benchmark import data_rows, model_rows  # noqa: E402
from zsseg_d2.engine.benchmark.measure import Timing, Worker, machine, matrix_rate, operations, serve  # noqa: E402
from zsseg_d2.engine.benchmark.parts import seconds_of_parts  # noqa: E402
from zsseg_d2.engine.errors import ConfigError  # noqa: E402
from zsseg_d2.process import keep_freed_memory  # noqa: E402

BF16 = ("MODEL.PRECISION", "bfloat16")
PICTURES = 24  # of the rows that delete classes


@dataclass(frozen=True)
class Row:
    """``make`` and ``other`` take the arguments and return what is to be timed."""

    make: Callable[[argparse.Namespace], Callable]
    other: Callable[[argparse.Namespace], Callable] | None
    against: str  # what `other` is
    target: str = ""
    met: Callable[[dict], bool] | None = None
    precision: torch.dtype | None = None  # of its matrix products; None: not made of them
    relative: bool = False  # whether the target is against `other`
    by_name: bool = False  # run only where it is asked for
    images: int = 0  # that one call makes, where images a second are of interest


def _inference(height: int, width: int, *options: str) -> Callable:
    return lambda a: model_rows.inference(a.config_file or ZERO_SHOT, (height, width), [*options, *a.opts], a.batch)


def _step(*options: str) -> Callable:
    return lambda a: model_rows.training_step(a.config_file or FINE_TUNING, (512, 512), 2, [*options, *a.opts])


def _compiled(part: str) -> Row:
    def form(compiled: bool) -> Callable:
        return lambda a: model_rows.head_part(
            a.config_file or ZERO_SHOT, (512, 1024), part, compiled=compiled, options=a.opts
        )

    return Row(form(True), form(False), "eager", by_name=True)


def _plain(make: Callable) -> Callable:
    """The same in the plain forms of tests/plain."""

    def made(args: argparse.Namespace) -> Callable:
        from tests.plain.model import plain_forms

        def run():
            with plain_forms():
                return function()

        function = make(args)
        return run

    return made


def _sampling(height: int, width: int, backward: bool) -> Callable:
    return lambda a: model_rows.deformable_sampling((height, width), backward=backward, device=a.device)


def _counting(args: argparse.Namespace) -> Callable:
    from tests.plain.data import cityscapes_counts

    folder = tempfile.TemporaryDirectory(prefix="zsseg_d2_")
    maps = data_rows.panoptic_maps()
    return lambda folder=folder: cityscapes_counts(Path(folder.name), *maps, 19)


def _deletion(configurations: tuple[str, ...], plain: bool = False) -> Callable:
    def made(args: argparse.Namespace) -> Callable:
        from tests.plain.data import delete_classes

        folder = tempfile.TemporaryDirectory(prefix="zsseg_d2_")
        root, copies = data_rows.city_pictures(PICTURE_FOLDER, PICTURES), Path(folder.name)
        write = data_rows.class_deletion(root, copies, configurations)

        def run(folder=folder) -> None:
            with tempfile.TemporaryDirectory(dir=folder.name) as one:
                delete_classes(root, "train", Path(one) / "copy", CONFIGURATIONS[configurations[0]])

        return run if plain else write

    return made


def _drawing(args: argparse.Namespace) -> Callable:
    from tests.plain.data import polygon_mask

    phrases = data_rows.phrase_polygons(20_316)
    return lambda: sum(int(polygon_mask(*phrase).sum()) for phrase in phrases)


ZERO_SHOT, FINE_TUNING = "configs/cityscapes/zero_shot_r50.yaml", "configs/cityscapes/full_finetune_r50.yaml"
PICTURE_FOLDER = Path(tempfile.gettempdir()) / "zsseg_d2_benchmark"
PLAIN = "plain form"
ROWS = {
    "inference-1024": Row(
        _inference(1024, 2048),
        _plain(_inference(1024, 2048)),
        PLAIN,
        "9 s, 3.5 GB",
        lambda r: r["seconds"] <= 9 and r["memory_gb"] <= 3.5,
        torch.float32,
        images=1,
    ),
    "inference-512": Row(
        _inference(512, 1024),
        _plain(_inference(512, 1024)),
        PLAIN,
        "2 s",
        lambda r: r["seconds"] <= 2,
        torch.float32,
        images=1,
    ),
    "inference-1024-bf16": Row(
        _inference(1024, 2048, *BF16),
        _inference(1024, 2048),
        "float32",
        "5 s",
        lambda r: r["seconds"] <= 5,
        torch.bfloat16,
        images=1,
    ),
    "inference-512-bf16": Row(
        _inference(512, 1024, *BF16),
        _inference(512, 1024),
        "float32",
        "1.2 s",
        lambda r: r["seconds"] <= 1.2,
        torch.bfloat16,
        images=1,
    ),
    "text-rows": Row(
        lambda a: model_rows.text_rows(a.config_file or ZERO_SHOT, cached=True, options=a.opts),
        lambda a: model_rows.text_rows(a.config_file or ZERO_SHOT, cached=False, options=a.opts),
        "first start",
        "0.1 s",
        lambda r: r["seconds"] <= 0.1,
    ),
    "deformable": Row(_sampling(1024, 2048, False), _plain(_sampling(1024, 2048, False)), PLAIN),
    "deformable-backward": Row(_sampling(512, 512, True), _plain(_sampling(512, 512, True)), PLAIN),
    "training-step": Row(
        _step(),
        _plain(_step()),
        PLAIN,
        "half, half the memory",
        lambda r: r["ratio"] <= 0.5 and r["memory_ratio"] <= 0.5,
        torch.float32,
        relative=True,
        images=2,
    ),
    "combined-step": Row(
        _step("MODEL.META_ARCHITECTURE", "CombinedFCCLIP"),
        _step(),
        "single model",
        "1.6 times",
        lambda r: r["ratio"] <= 1.6,
        torch.float32,
        relative=True,
        images=2,
    ),
    "evaluation": Row(
        lambda a: data_rows.panoptic_evaluation(),
        _counting,
        "cityscapesscripts",
        "15 ms",
        lambda r: r["seconds"] <= 0.015,
    ),
    "deletion": Row(
        _deletion(("008",)),
        _deletion(("008",), plain=True),
        PLAIN,
        "8 images/s",
        lambda r: r["rate"] >= 8,
        images=PICTURES,
    ),
    "deletion-nine": Row(
        _deletion(tuple(CONFIGURATIONS)),
        _deletion(("008",)),
        "one configuration",
        "3 times",
        lambda r: r["ratio"] < 3,
        relative=True,
        images=PICTURES,
    ),
    "phrase-masks": Row(lambda a: data_rows.phrase_masks(), _drawing, PLAIN, "30 s", lambda r: r["seconds"] <= 30),
    "compiled-pixel-decoder": _compiled("pixel decoder"),
    "compiled-query-decoder": _compiled("query decoder"),
    "mapper": Row(
        lambda a: data_rows.training_mapper(data_rows.city_pictures(PICTURE_FOLDER, PICTURES)), None, "", images=1
    ),
}
WITH_PARTS = [name for name in ROWS if name.startswith("inference")] + ["training-step"]


def describe(function: Callable, row: Row) -> dict:
    """Facts for the table, and for who checks that something was computed."""
    result = function()
    facts = {}
    if isinstance(result, dict) and "panoptic_seg" in result:
        facts = {"map_size": list(result["panoptic_seg"][0].shape), "segments": len(result["panoptic_seg"][1])}
    return {**facts, "operations": operations(function)} if row.precision else facts


def measure(name: str, row: Row, args: argparse.Namespace, words: list[str], rates: dict) -> dict:
    """The row's line of the table."""
    forms = ["make"] + (["other"] if row.other and not args.no_plain else [])
    workers: dict[str, Worker] = {}
    try:
        for form in forms:
            workers[form] = Worker([sys.executable, __file__, "--serve", name, form, *words])
        seconds: dict[str, list[float]] = {form: [] for form in forms}
        for _ in range(args.repeat):
            for form, worker in workers.items():
                seconds[form].append(worker())
        timings = {form: worker.finish(seconds[form]) for form, worker in workers.items()}
    except BaseException:
        for worker in workers.values():
            worker.stop()
        raise
    return _line(row, timings["make"], timings.get("other"), rates, args.batch)


def _line(row: Row, fast: Timing, other: Timing | None, rates: dict, batch: int) -> dict:
    line = {
        "seconds": fast.median,
        "spread": [min(fast.seconds), max(fast.seconds)],
        "memory_gb": fast.memory,
        "added_gb": fast.added,
    }
    line |= fast.facts
    images = row.images * (batch if row.images == 1 else 1)
    if images:
        line["rate"] = images / fast.median
    if row.precision:
        line["limit_seconds"] = fast.facts["operations"] / rates[row.precision]
    if other:
        ratio = statistics.median(a / b for a, b in zip(fast.seconds, other.seconds))
        line |= {
            "against": row.against,
            "other_seconds": other.median,
            "other_spread": [min(other.seconds), max(other.seconds)],
        }
        line |= {"other_memory_gb": other.memory, "other_added_gb": other.added, "ratio": ratio}
        line["memory_ratio"] = fast.memory / other.memory
        if row.relative and row.precision:  # inference held most of it before, as its model has seen an image
            line["added_ratio"] = fast.added / other.added
    if row.target:
        line["target"] = row.target
        if other or not row.relative:
            line["met"] = row.met(line)
    return line


def report_parts(args: argparse.Namespace) -> None:
    """A table of the seconds of each part of the rows' models: medians over the calls."""
    keep_freed_memory()
    found = {}
    for name in tqdm(args.rows, "rows", disable=args.json or not sys.stderr.isatty()):
        function = ROWS[name].make(args)
        function()
        calls = [seconds_of_parts(function.model, function) for _ in range(args.repeat)]
        found[name] = {part: statistics.median(c[part] for c in calls) for part in calls[0]}
    if args.json:
        print(json.dumps({"machine": machine(), "parts": found}))
        return
    print(machine())
    parts = list(dict.fromkeys(part for seconds in found.values() for part in seconds))
    parts.sort(key=lambda part: ("rest", "all").index(part) if part in ("rest", "all") else -1)
    rows = [[part, *(_short(seconds.get(part)) for seconds in found.values())] for part in parts]
    print(tabulate(rows, headers=["seconds", *found], disable_numparse=True))


def main(words: list[str] | None = None) -> int | None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, metavar="NAME", help=f"of {', '.join(ROWS)}; default: all but compiled-…"
    )
    parser.add_argument("--repeat", type=int, default=3, help="timed calls of each form, after one that is not timed")
    parser.add_argument("--no-plain", action="store_true", help="without what the rows are compared with")
    parser.add_argument("--config-file", help="of the rows that build a model; default: FC-CLIP R50 on Cityscapes")
    parser.add_argument("--batch", type=int, default=1, help="images of inference")
    parser.add_argument("--parts", action="store_true", help="instead: where the time goes, in rows that run a model")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs")
    own = sys.argv[1:] if words is None else words
    args = parser.parse_args(own)
    args.rows = args.rows or (WITH_PARTS if args.parts else [name for name, row in ROWS.items() if not row.by_name])
    if args.parts and not set(args.rows) <= set(WITH_PARTS):
        parser.error(f"--parts is for {', '.join(WITH_PARTS)}")
    if args.repeat < 1 or args.batch < 1:
        parser.error("--repeat and --batch must be positive")
    try:
        cfg = setup_cfg(
            argparse.Namespace(config_file=args.config_file or ZERO_SHOT, opts=list(args.opts)), check=False
        )
    except ConfigError as error:
        raise SystemExit(f"error: {error}") from error
    args.device = cfg.MODEL.DEVICE
    if args.serve:
        row = ROWS[args.serve[0]]
        fast = args.serve[1] == "make"
        facts = partial(describe, row=row) if fast else lambda function: {}
        # The plain form stands for a program that knows nothing of this.
        return serve(
            lambda: (row.make if fast else row.other)(args), keep_memory=fast or row.against != PLAIN, describe=facts
        )
    if args.parts:
        return report_parts(args)
    rates = {d: matrix_rate(d, args.device) for d in {ROWS[n].precision for n in args.rows} - {None}}
    lines = {}
    for name in tqdm(args.rows, "rows", disable=args.json or not sys.stderr.isatty()):
        try:
            lines[name] = measure(name, ROWS[name], args, own, rates)
        except RuntimeError as error:
            raise SystemExit(f"error: {name}: {error}") from error
        except KeyboardInterrupt:
            print(f"Stopped in row {name}.", file=sys.stderr)
            break
    _report(lines, rates, args)
    return None if len(lines) == len(args.rows) else 130


def _report(lines: dict[str, dict], rates: dict, args: argparse.Namespace) -> None:
    speeds = {str(d).removeprefix("torch."): round(rate / 1e9) for d, rate in rates.items()}
    if args.json:
        print(json.dumps({"machine": machine(), "matrix_gflops": speeds, "batch": args.batch, "rows": lines}))
        return
    print(f"{machine()}; matrix products: " + (", ".join(f"{k} {v} GFLOP/s" for k, v in speeds.items()) or "not asked"))
    table = [
        [
            name,
            *_figures(r["seconds"], r["spread"], r["memory_gb"]),
            _short(r.get("limit_seconds")),
            r.get("against", ""),
            *(_figures(r["other_seconds"], r["other_spread"], r["other_memory_gb"]) if "ratio" in r else [""] * 3),
            *map(_short, (r.get("ratio"), r.get("memory_ratio"), r.get("added_ratio"), r.get("rate"))),
            r.get("target", ""),
            {True: "met", False: "missed"}.get(r.get("met"), ""),
        ]
        for name, r in lines.items()
    ]
    headers = [
        "",
        "seconds",
        "spread",
        "GB",
        "limit",
        "against",
        "seconds",
        "spread",
        "GB",
        "ratio",
        "GB ratio",
        "of added",
        "images/s",
    ]
    print(tabulate(table, headers=[*headers, "target", ""], disable_numparse=True))
    print(
        "limit: its matrix products, convolutions and attention at the rate above; ratio: median of the calls' own ratios;"
    )
    print(
        "GB: peak of the process; of added: the same ratio without what was held before the first call, programs and weights"
    )
    if any(r.get("met") is False for r in lines.values()):
        print("missed: docs/performance.md says what limits it and what was tried")


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}"


def _figures(seconds: float, spread: list[float], memory: float) -> list[str]:
    return [_short(seconds), f"{_short(spread[0])} to {_short(spread[1])}", f"{memory:.2f}"]


if __name__ == "__main__":
    sys.exit(main())
