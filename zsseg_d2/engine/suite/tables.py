"""Results -> the table, for results.md and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tabulate import tabulate

from .facts import NOTHING
from .measures import Measure
from .results import (Results, Row, SeedResult)
from .words import in_words


def table(results: Results, *, markdown: bool) -> str:
    """A row a method, then the published ones.

    Args:
        markdown: for results.md, the best leak-free figure of a column in bold; else for a terminal.
    """
    measures, facts = results.task.measures, results.task.facts
    best = _best(results)
    marks = Footnotes(results).marks
    lines = []
    for row in results.table():
        cells = [figure(row, m) for m in measures]
        if markdown:
            cells = [f"**{cell}**" if best.get(m.key) is row else cell for m, cell in zip(measures, cells)]
        label = row.spec.label + _role(row) + (f" {marks[row.spec.name]}" if row.spec.name in marks else "")
        lines.append([label, *cells, *(fact.text(results, row) for fact in facts)])
    for published in results.suite.published:
        values = results.task.figures(lambda measure, row=published: row.get(measure.key))
        cells = [f"{values[m.key]:.1f}" if m.key in values else NOTHING for m in measures]
        lines.append([f"published: {published.get('label', '')}", *cells, *[NOTHING] * len(facts)])
    headers = ["method", *(m.label for m in measures), *(fact.label for fact in facts)]
    return tabulate(
        lines,
        headers=headers,
        tablefmt="pipe" if markdown else "simple",
        colalign=("left", *["right"] * len(measures), *("left" if fact.left else "right" for fact in facts)),
        disable_numparse=True,
    )


def figure(row: Row, measure: Measure) -> str:
    """``37.2 ± 0.3``, ``41.1`` of a single value, a dash of none."""
    value, spread = row.mean(measure.key), row.deviation(measure.key)
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:.1f}" if spread is None else f"{value:.1f} ± {spread:.1f}"


class Footnotes:
    """Marks behind the labels of rows, and what they mean: holes, other settings, steps, notes of the suite file."""

    def __init__(self, results: Results) -> None:
        numbers: dict[str, int] = {}
        self.marks: dict[str, str] = {}
        for row in results.table():
            said = [*_holes(row), *_steps(results, row), *([row.spec.note] if row.spec.note else [])]
            if said:
                mine = sorted(numbers.setdefault(text, len(numbers) + 1) for text in said)
                self.marks[row.spec.name] = f"({', '.join(map(str, mine))})"
        self.texts = [f"({number}) {text[0].upper()}{text[1:].removesuffix('.')}." for text, number in numbers.items()]
        if results.not_run():
            self.texts.append(f"Not run: {'; '.join(row.spec.label for row in results.not_run())}.")


def _role(row: Row) -> str:
    role = row.spec.role.replace("_", " ")
    return "" if not role or role in row.spec.label.lower().replace("-", " ") else f" ({role})"


def _best(results: Results) -> Mapping[str, Row]:
    found = {}
    for measure in results.task.measures:
        rows = [row for row in results.competitors() if row.mean(measure.key) is not None]
        if measure.ranks and len(rows) > 1:
            found[measure.key] = max(rows, key=lambda row: row.mean(measure.key))
    return found


def _steps(results: Results, row: Row) -> list[str]:
    """What its training time leaves out, and how long that took."""
    said = []
    for name in dict.fromkeys(name for s in row.seeds.values() if s.there for name in s.step_seconds):
        seconds = [s.step_seconds.get(name) for s in row.seeds.values() if s.there]
        known = None not in seconds
        took = f"which took {in_words(sum(seconds) / len(seconds))}" if known else "whose time is not recorded"
        said.append(f"training time leaves out {results.suite.run(name).label}, {took}")
    return said


def _holes(row: Row) -> list[str]:
    """What is missing of a row, in words."""

    def seeds(results: Mapping[str, SeedResult]) -> str:
        return "" if list(results) == ["once"] else f" (seed{'s' * (len(results) > 1)} {', '.join(results)})"

    said = []
    for status in dict.fromkeys(s.status for s in row.seeds.values() if s.status != "finished"):
        those = {seed: s for seed, s in row.seeds.items() if s.status == status}
        messages = "; ".join(dict.fromkeys(s.message for s in those.values() if s.message))
        word = "not up to date" if status == "outdated" else status
        said.append(f"{word}{seeds(those)}{messages and f': {messages}'}")
    return said
