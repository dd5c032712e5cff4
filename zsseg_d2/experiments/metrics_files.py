"""Read the files that finished runs leave: metrics by line, training time, evaluations on the way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .measures import Measure


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file is missing or not a JSON object; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a JSON object.")
    return content


def metrics_file(folder: Path, name: str) -> Path | None:
    """``inference/<dataset>/<name>``; of several datasets the first."""
    return next(iter(sorted(folder.glob(f"inference/*/{name}"))), None)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.json; of iterations that a resumed training wrote twice, the later one.

    A line that a killed process did not finish is skipped.
    """
    by_iteration: dict[int, dict[str, Any]] = {}
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


def training_seconds(lines: Sequence[Mapping[str, Any]]) -> float:
    """Sum of iteration times: each line's ``time`` (a median over the last 20 iterations) for all since the line before.

    Start-up, evaluations and checkpoints do not count, nor iterations that were lost and done again.
    """
    total, before = 0.0, -1
    for line in lines:
        if "time" in line:
            total += line["time"] * (line["iteration"] - before)
            before = line["iteration"]
    return total


def history(lines: Sequence[Mapping[str, Any]], measure: Measure) -> list[tuple[int, float]]:
    """(Iterations trained, figure) of the evaluations on the way and at the end."""
    # Evaluations on the way carry the number of the iteration just done, from 0; the last one the number of iterations.
    last = max((line["iteration"] + 1 for line in lines if "time" in line), default=0)
    evaluated = [line for line in lines if _is_number(line.get(measure.scalar))]
    return [(min(line["iteration"] + 1, last), line[measure.scalar]) for line in evaluated]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
