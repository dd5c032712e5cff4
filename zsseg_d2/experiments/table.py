"""Results -> the table, for results.md and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tabulate import tabulate

from .durations import in_words
from .measures import Measure
from .results import Results, Row, SeedResult

NOTHING = "–"


@dataclass(frozen=True)
class Fact:
    """A column beside the measures, the text of a row in it, and the sentences that explain it ("": none)."""

    label: str
    text: Callable[[Results, Row], str]
    explain: Callable[[Results], str]
    left: bool = False  # aligned to the left


def _time(_results: Results, row: Row) -> str:
    seconds = row.mean("training_seconds")
    return NOTHING if seconds is None else in_words(seconds) if seconds else "none"


def _explain_time(results: Results) -> str:
    text = (
        "Training time: the sum of iteration times, without start-up and evaluations, of the run and of all trainings "
        "that it builds on; footnotes say what else it builds on."
    )
    seeds = [s for row in results.table() for s in row.there]
    shared = sorted({(s.side_by_side, s.threads or 1) for s in seeds if s.side_by_side and s.side_by_side > 1})
    if shared:
        how = " or ".join(f"{n} side by side with {t} thread{'s' if t > 1 else ''} each" for n, t in shared)
        text += f" The runs shared the machine ({how}), so each took longer than it would alone."
    return text


def _extra(results: Results, row: Row) -> str:
    extra = results.extra_parameters(row)
    return NOTHING if extra is None else "0" if extra == 0 else f"{extra / 1e6:.2f} million"


def _explain_extra(results: Results) -> str:
    plain = results.plain()
    return "" if plain is None else f"Extra parameters: of the model as built, beyond those of {plain.run.label}."


def _trained(_results: Results, row: Row) -> str:
    count = row.there[0].parameters.get("trainable") if row.there and row.there[0].parameters else None
    return NOTHING if count is None else f"{count:,}"


_TIME = Fact("training time", _time, _explain_time)
FACTS: dict[str, tuple[Fact, ...]] = {
    "panoptic": (
        _TIME,
        Fact("extra parameters", _extra, _explain_extra),
        Fact(
            "leak-free",
            lambda _, row: "yes" if row.leak_free else "no",
            lambda _: (
                "Leak-free: no training set of the run, or of those it builds on, has ground truth of an Out class."
            ),
            left=True,
        ),
    ),
    "referring": (
        Fact("trained parameters", _trained, lambda _: "Trained parameters: of the decoder; CLIP is frozen."),
        _TIME,
    ),
}
"""By task."""


def table(results: Results, *, markdown: bool) -> str:
    """A row for each method, then the published ones.

    Args:
        markdown: for results.md, the best leak-free figure of a column in bold; else for a terminal.
    """
    measures, facts = results.task.measures, FACTS[results.task.name]
    best = {m.key: results.best(m.key) for m in measures if m.ranks and len(results.competitors(m.key)) > 1}
    marks = Footnotes(results).marks
    lines = []
    for row in results.table():
        cells = [figure(row, m) for m in measures]
        if markdown:
            cells = [f"**{cell}**" if best.get(m.key) is row else cell for m, cell in zip(measures, cells)]
        label = row.run.label + _role(row) + (f" {marks[row.run.name]}" if row.run.name in marks else "")
        lines.append([label, *cells, *(fact.text(results, row) for fact in facts)])
    for published in results.suite.published:
        values = results.task.figures(lambda measure, row=published: row.get(measure.key))
        cells = [f"{values[m.key]:.1f}" if m.key in values else NOTHING for m in measures]
        lines.append([f"published: {published.get('label', '')}", *cells, *[NOTHING] * len(facts)])
    return tabulate(
        lines,
        headers=["method", *(m.label for m in measures), *(fact.label for fact in facts)],
        tablefmt="pipe" if markdown else "simple",
        colalign=("left", *["right"] * len(measures), *("left" if fact.left else "right" for fact in facts)),
        disable_numparse=True,
    )


def figure(row: Row, measure: Measure) -> str:
    """``37.2 ± 0.3``, ``41.1`` of a single value, a dash of none."""
    value, spread = row.mean(measure.key), row.std(measure.key)
    if value is None:
        return NOTHING
    return f"{value:.1f}" if spread is None else f"{value:.1f} ± {spread:.1f}"


class Footnotes:
    """Marks behind the labels of rows, and what they mean: holes, other settings, steps, notes of the suite file."""

    def __init__(self, results: Results) -> None:
        numbers: dict[str, int] = {}
        self.marks: dict[str, str] = {}
        for row in results.table():
            said = [*_holes(row), *_steps(results, row), *([row.run.note] if row.run.note else [])]
            if said:
                mine = sorted(numbers.setdefault(text, len(numbers) + 1) for text in said)
                self.marks[row.run.name] = f"({', '.join(map(str, mine))})"
        self.texts = [f"({number}) {text[0].upper()}{text[1:].removesuffix('.')}." for text, number in numbers.items()]
        if results.not_run():
            self.texts.append(f"Not run: {'; '.join(row.run.label for row in results.not_run())}.")


def _role(row: Row) -> str:
    role = row.run.role.replace("_", " ")
    return "" if not role or role in row.run.label.lower().replace("-", " ") else f" ({role})"


def _steps(results: Results, row: Row) -> list[str]:
    """What its training time leaves out, and how long that took."""
    said = []
    for name in dict.fromkeys(name for s in row.there for name in s.step_seconds):
        seconds = [s.step_seconds.get(name) for s in row.there]
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
