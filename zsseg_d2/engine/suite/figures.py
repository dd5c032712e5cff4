"""Files of finished runs -> figures of one seed; figures of seeds -> mean and standard deviation."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .measures import Measure


def read_json(path: Path) -> dict:
    """
    Raises:
        ValueError: the file is missing or no JSON object; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no JSON object.")
    return content


def read_lines(path: Path) -> list[dict]:
    """The lines of a metrics.json; of iterations that a resumed training wrote twice, the later one.

    A line that a killed process left unfinished is left out.
    """
    by_iteration: dict[int, dict] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            entry = json.loads(line)
            iteration = int(entry["iteration"])
        except (ValueError, KeyError, TypeError):
            continue
        by_iteration[iteration] = by_iteration.get(iteration, {}) | entry
    return [by_iteration[k] for k in sorted(by_iteration)]


def training_seconds(lines: Sequence[Mapping]) -> float:
    """Sum of iteration times: each line's ``time`` (a median over the last 20 iterations) for all since the line before.

    Start-up, evaluations and checkpoints are not in it, nor iterations that were lost and done again.
    """
    total, before = 0.0, -1
    for line in lines:
        if "time" in line:
            total += line["time"] * (line["iteration"] - before)
            before = line["iteration"]
    return total


def history(lines: Sequence[Mapping], measure: Measure) -> list[tuple[int, float]]:
    """(Iterations trained, figure) of the evaluations on the way and at the end."""
    # Evaluations on the way carry the number of the iteration just done, from 0; the last one the number of iterations.
    last = max((line["iteration"] + 1 for line in lines if "time" in line), default=0)
    evaluated = [line for line in lines if _is_number(line.get(measure.scalar))]
    return [(min(line["iteration"] + 1, last), line[measure.scalar]) for line in evaluated]


def mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1 in the denominator); None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def mean_curve(curves: Iterable[Mapping[float, float]]) -> list[tuple[float, float, float | None]]:
    """(x, mean, standard deviation) at every x that all curves have."""
    curves = list(curves)
    common = sorted(set.intersection(*(set(c) for c in curves))) if curves else []
    return [(x, mean(y := [c[x] for c in curves]), deviation(y)) for x in common]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
