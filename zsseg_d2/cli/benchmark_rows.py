"""The rows of ``tools/benchmark.py``: measured in turns, and printed as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import torch
from tabulate import tabulate
from tqdm import tqdm

from zsseg_d2.engine import setup_cfg
from zsseg_d2.engine.benchmark.measure import in_turns, machine, matrix_rate, seconds_of_parts
from zsseg_d2.engine.benchmark.rows import PLAIN, ROWS, ZERO_SHOT, Row, make_form
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.process import keep_freed_memory


def run_benchmark(args: argparse.Namespace) -> int:
    """Measure the rows, and print a table or JSON.

    Args:
        args: as parsed by :mod:`zsseg_d2.cli.benchmark`.

    Returns:
        The exit status: 0, or 130 after Ctrl-C.

    Raises:
        ConfigError: see the message.
    """
    config_file = args.config_file or [ZERO_SHOT]
    args.device = setup_cfg(argparse.Namespace(config_file=config_file, opts=args.opts), check=False).MODEL.DEVICE
    if args.parts:
        report_parts(args)
        return 0
    rates = {d: matrix_rate(d, args.device) for d in {ROWS[name].precision for name in args.rows} if d is not None}
    lines: dict[str, dict] = {}
    status = 0
    for name in tqdm(args.rows, "rows", disable=args.json or not sys.stderr.isatty()):
        try:
            lines[name] = measure(name, ROWS[name], args, rates)
        except (BrokenProcessPool, ConfigError, RuntimeError) as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            status = 1  # the other rows are measured all the same
        except KeyboardInterrupt:
            print(f"Stopped in row {name}.", file=sys.stderr)
            status = 130
            break
    if lines:
        report(lines, rates, args)
    return status


def measure(name: str, row: Row, args: argparse.Namespace, rates: dict[torch.dtype, float]) -> dict:
    """Measure one row, in both its forms unless --no-plain is given."""
    kinds = ["fast", *(["other"] if row.other and not args.no_plain else [])]
    plain = ["other"] if row.against == PLAIN else []
    forms = in_turns({kind: partial(make_form, name, kind, args) for kind in kinds}, args.repeat, plain)
    found = {kind: form.finish() for kind, form in forms.items()}
    ratios = [a / b for a, b in zip(forms["fast"].seconds, forms["other"].seconds)] if "other" in forms else []
    return row_line(row, found["fast"], found.get("other"), ratios, rates, args.batch)


def row_line(
    row: Row, fast: dict, other: dict | None, ratios: Sequence[float], rates: dict[torch.dtype, float], batch: int
) -> dict:
    """Combine the two forms of a row.

    Args:
        row: the row.
        fast: what :meth:`Form.finish` returned; `other` is None if it was not measured.
        other: the same of the other form.
        ratios: seconds of `fast` over those of `other`, of each pair of calls.
        rates: operations a second of matrix products.
        batch: images of a call of inference.
    """
    line = dict(fast)
    images = row.images * (batch if row.images == 1 else 1)
    if images:
        line["rate"] = images / fast["seconds"]
    if row.precision:
        line["limit_seconds"] = fast["operations"] / rates[row.precision]
    else:
        line.pop("operations", None)
    if other:
        line |= {f"other_{k}": other[k] for k in ("seconds", "spread", "memory_gb", "added_gb")}
        line |= {"against": row.against, "ratio": statistics.median(ratios)}
        line["memory_ratio"] = fast["memory_gb"] / other["memory_gb"]
        if row.relative and row.precision:
            line["added_ratio"] = fast["added_gb"] / other["added_gb"]
    if row.target:
        line["target"] = row.target
        if row.met and (other or not row.relative):
            line["met"] = row.met(line)
    return line


def report_parts(args: argparse.Namespace) -> None:
    """Print the seconds of each part of the rows' models: medians over the calls."""
    keep_freed_memory()
    found: dict[str, dict[str, float]] = {}
    for name in tqdm(args.rows, "rows", disable=args.json or not sys.stderr.isatty()):
        work = ROWS[name].fast(args)
        work()
        calls = [seconds_of_parts(work, work.parts()) for _ in range(args.repeat)]
        found[name] = {part: statistics.median(call[part] for call in calls) for part in calls[0]}
    if args.json:
        print(json.dumps({"machine": machine(), "parts": found}))
        return
    print(machine())
    parts = [p for p in dict.fromkeys(part for row in found.values() for part in row) if p not in ("rest", "all")]
    table = [[part, *(_short(row.get(part)) for row in found.values())] for part in (*parts, "rest", "all")]
    print(tabulate(table, headers=["seconds", *found], disable_numparse=True))


def report(lines: dict[str, dict], rates: dict[torch.dtype, float], args: argparse.Namespace) -> None:
    """Print the rows as a table or as JSON."""
    speeds = {str(d).removeprefix("torch."): round(rate / 1e9) for d, rate in rates.items()}
    if args.json:
        print(json.dumps({"machine": machine(), "matrix_gflops": speeds, "batch": args.batch, "rows": lines}))
        return
    print(f"{machine()}; matrix products: " + (", ".join(f"{k} {v} GFLOP/s" for k, v in speeds.items()) or "not asked"))
    table = [
        {
            "": name,
            **_figures(r, ""),
            "limit": _short(r.get("limit_seconds")),
            "against": r.get("against", ""),
            **_figures(r, "other_"),
            "ratio": _short(r.get("ratio")),
            "GB ratio": _short(r.get("memory_ratio")),
            "of added": _short(r.get("added_ratio")),
            "images/s": _short(r.get("rate")),
            "target": r.get("target", ""),
            " ": {True: "met", False: "missed", None: ""}[r.get("met")],
        }
        for name, r in lines.items()
    ]
    print(tabulate(table, headers="keys", disable_numparse=True))
    print(
        "limit: matrix products, convolutions and attention at the rate above; ratio: median of the calls' own ratios;"
    )
    print("GB: peak of the process; of added: the same ratio without what was held before the first call")
    if any(r.get("met") is False for r in lines.values()):
        print("missed: docs/performance.md says what limits it and what was tried")


def _figures(line: dict, prefix: str) -> dict[str, str]:
    mark = "other " if prefix else ""
    if f"{prefix}seconds" not in line:
        return {f"{mark}seconds": "", f"{mark}spread": "", f"{mark}GB": ""}
    low, high = line[f"{prefix}spread"]
    return {
        f"{mark}seconds": _short(line[f"{prefix}seconds"]),
        f"{mark}spread": f"{_short(low)} to {_short(high)}",
        f"{mark}GB": f"{line[f'{prefix}memory_gb']:.2f}",
    }


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}"
