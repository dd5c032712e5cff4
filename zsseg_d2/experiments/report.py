"""Results -> results.json, results.csv, results.md with its plots, and the table on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tabulate import tabulate

from ..evaluation.panoptic.report import write_json
from .comparisons import comparison_table
from .measures import Measure
from .progress import in_words
from .remarks import remarks
from .report_files import ReportFiles
from .results import Provenance, Results, Row, SeedResult

NOTHING = "–"
_MOST_NAMES = 6
_COMMIT = 10
"""Digits of a commit that are shown."""


def write_report(results: Results, folder: Path) -> Path:
    """Write everything into a folder.

    Returns:
        results.md

    Raises:
        ConfigError: a file of the same name is there that no report wrote.
    """
    # Matplotlib takes a second to import: only where something is drawn.
    from . import composite_plots, panoptic_plots, referring_plots

    tasks = {"panoptic": panoptic_plots, "referring": referring_plots, "composites": composite_plots}
    with ReportFiles(folder) as files:
        drawn = tasks[results.task.name].draw(results, files.draft / "plots")
        plots = [folder / path.relative_to(files.draft) for path in drawn if path is not None]
        write_json(files.draft / "results.json", results.as_json())
        results.frame.to_csv(files.draft / "results.csv", index=False)
        (files.draft / "results.md").write_text(page(results, plots, folder), encoding="utf-8")
        files.publish()
    return folder / "results.md"


def terminal(results: Results) -> str:
    """Return title, table, footnotes and remarks, for a terminal."""
    plain = [remark.replace("**", "") for remark in remarks(results)]
    blocks = [results.suite.title, table(results, markdown=False), "\n".join(footnotes(results)[1]), *plain]
    return "\n\n".join(block for block in blocks if block)


def page(results: Results, plots: Sequence[Path], folder: Path) -> str:
    """Return the text of results.md.

    Args:
        plots: images in or below `folder`, which the page shows.
    """
    suite = results.suite
    several = f"Seeds {', '.join(map(str, suite.seeds))}; mean ± standard deviation (n - 1)."
    spread = several if len(suite.seeds) > 1 else f"One seed ({suite.seeds[0]}): nothing is known about the spread."
    provenances = {
        row.run.label if seed == "once" else f"{row.run.label}, seed {seed}": result.provenance
        for row in results.rows
        for seed, result in row.seeds.items()
        if result.counts and not row.run.of
    }
    explained = [fact.explain(results) for fact in FACTS[results.task.name]]
    blocks = [
        f"# {suite.title}",
        _join(spread, f"Written {results.made}.", describe_provenance(provenances)),
        table(results, markdown=True),
        *footnotes(results)[1],
        *remarks(results),
        comparison_table(results),
        _join(*explained),
        *suite.notes,
        *(f"![{path.stem.replace('_', ' ')}]({path.relative_to(folder).as_posix()})" for path in plots),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _join(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def describe_provenance(found: Mapping[str, Provenance]) -> str:
    """Name the machine, software and commit of all runs, and which runs differ.

    Args:
        found: by what the runs are called.
    """
    same, differing = [], []
    frame = pd.DataFrame([{"name": name, **asdict(provenance)} for name, provenance in found.items()])
    for aspect in frame.columns.drop("name", errors="ignore"):
        given = frame[frame[aspect] != ""]
        values = given[aspect].map(_shorten) if aspect == "commit" else given[aspect]
        names = given.groupby(values, sort=False)["name"].agg(list)
        if len(names) == 1:
            same.append(f"{aspect} {names.index[0]}")
        elif len(names):
            *others, (most, _) = sorted(names.items(), key=lambda item: len(item[1]))
            parts = [f"{value} ({_list(runs)})" for value, runs in others]
            differing.append(f"The runs differ in {aspect}: {'; '.join([*parts, f'{most} (the others)'])}.")
    return _join(f"By the runs' own records: {'; '.join(same)}." if same else "", *differing)


def _shorten(commit: str) -> str:
    name, dash, dirty = commit.partition("-")
    return f"{name[:_COMMIT]}{dash}{dirty}"


def _list(names: list[str]) -> str:
    """List all names, or the first of many and how many there are."""
    rest = [f"{len(names)} runs in all"] if len(names) > _MOST_NAMES else []
    return "; ".join([*names[:_MOST_NAMES], *rest])


class Fact(NamedTuple):
    """A column behind the measures, the text of a row in it, and the sentences that explain it ("": none)."""

    label: str
    text: Callable[[Results, Row], str]
    explain: Callable[[Results], str]
    align: str = "right"


def _time(_results: Results, row: Row) -> str:
    seconds = row.mean("training_seconds")
    return (in_words(seconds) if seconds else "none") if row.has("training_seconds") else NOTHING


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
    count = row.parameters("trainable")
    return NOTHING if count is None else f"{count:,}"


_LEAK_FREE = (
    "Leak-free: no training set of the run, or of those it builds on, has ground truth of an Out class; unknown: it "
    "builds on weights that do not say what they were trained on."
)
_YES_OR_NO = {True: "yes", False: "no", None: "unknown"}
_TIME = Fact("training time", _time, _explain_time)
FACTS: dict[str, tuple[Fact, ...]] = {
    "panoptic": (
        _TIME,
        Fact("extra parameters", _extra, _explain_extra),
        Fact("leak-free", lambda _, row: _YES_OR_NO[row.leak_free], lambda _: _LEAK_FREE, "left"),
    ),
    "referring": (
        Fact("trained parameters", _trained, lambda _: "Trained parameters: of the decoder; CLIP is frozen."),
        _TIME,
    ),
    "composites": (
        Fact("parameters", _trained, lambda _: "Subtraction: at the threshold that is best on val."),
        _TIME,
    ),
}
"""By task."""


def table(results: Results, *, markdown: bool) -> str:
    """Return a table with a row for each method, then the published ones.

    Args:
        markdown: for results.md, with the best leak-free figure of a column in bold; else for a terminal.
    """
    rows, facts = results.table(), FACTS[results.task.name]
    measures = [m for m in results.suite.measures if not m.optional or any(row.has(m.key) for row in rows)]
    best = {m.key: results.best(m.key) for m in measures if m.ranks and len(results.competitors(m.key)) > 1}
    best |= {f"test_{key}": row for key, row in best.items()}  # what validation chooses is bold on the test set, too
    marks, _ = footnotes(results)
    lines = []
    for row in rows:
        cells = [figure(row, m) for m in measures]
        if markdown:
            cells = [f"**{cell}**" if best.get(m.key) is row else cell for m, cell in zip(measures, cells)]
        role = row.run.role.replace("_", " ")
        label = f"{row.run.label} ({role})" if role not in row.run.label.lower().replace("-", " ") else row.run.label
        lines.append([_join(label, marks.get(row.run.name, "")), *cells, *(fact.text(results, row) for fact in facts)])
    for published in results.suite.published:
        values = results.task.figures_of_published(published)
        cells = [f"{values[m.key]:.1f}" if m.key in values else NOTHING for m in measures]
        lines.append([f"published: {published.get('label', '')}", *cells, *[NOTHING] * len(facts)])
    return tabulate(
        lines,
        headers=["method", *(m.label for m in measures), *(fact.label for fact in facts)],
        tablefmt="pipe" if markdown else "simple",
        colalign=("left", *["right"] * len(measures), *(fact.align for fact in facts)),
        disable_numparse=True,
    )


def figure(row: Row, measure: Measure) -> str:
    """Return ``37.2 ± 0.3``, ``41.1`` of a single value, or a dash."""
    parts = [f"{value:.1f}" for value in (row.mean(measure.key), row.std(measure.key)) if value == value]
    return " ± ".join(parts) or NOTHING


def footnotes(results: Results) -> tuple[dict[str, str], list[str]]:
    """Collect footnotes: holes, other settings, steps, notes of the suite file.

    Returns:
        Marks behind the labels of rows, by name of the run; and the texts.
    """
    numbers: dict[str, int] = {}
    marks: dict[str, str] = {}
    for row in results.table():
        notes = [*_holes(row), *_steps(results, row), *filter(None, [row.run.note])]
        if notes:
            own = sorted(numbers.setdefault(text, len(numbers) + 1) for text in notes)
            marks[row.run.name] = f"({', '.join(map(str, own))})"
    texts = [f"({number}) {text[0].upper()}{text[1:].removesuffix('.')}." for text, number in numbers.items()]
    not_run = [row.run.label for row in results.table(not_run=True)]
    if not_run:
        texts.append(f"Not run: {'; '.join(not_run)}.")
    if results.suite.published:
        source = results.suite.published_source
        texts.append(f"Published rows: {source}." if source else "Published rows: not measured here.")
    return marks, [*texts, *_without_row(results)]


def _without_row(results: Results) -> list[str]:
    """Name the runs that have finished but that the table leaves out, though no other run builds on them."""
    needed = {name for run in results.suite.runs for name in (*run.needs, run.of)}
    left_out = [
        row.run.label
        for row in results.rows
        if row.there and not (row.run.has_row or row.run.curve or row.run.name in needed)
    ]
    if not left_out:
        return []
    return [
        f"Finished, but without a row: {'; '.join(left_out)}. A row needs `metrics`, the file of scores below "
        f"inference/<dataset>/ in the run's folder, such as {results.task.metrics_file}."
    ]


def _steps(results: Results, row: Row) -> list[str]:
    """Name the steps that a training time leaves out, and how long they took."""
    notes = []
    for name in dict.fromkeys(name for s in row.there for name in s.step_seconds):
        seconds = [s.step_seconds.get(name) for s in row.there]
        known = [value for value in seconds if value is not None]
        mean = in_words(sum(known) / len(known)) if len(known) == len(seconds) else ""
        took = f"which took {mean}" if mean else "whose time is not recorded"
        notes.append(f"training time leaves out {results.suite.run(name).label}, {took}")
    return notes


def _holes(row: Row) -> list[str]:
    """List what is missing of a row."""

    def seeds(results: Mapping[str, SeedResult]) -> str:
        return "" if list(results) == ["once"] else f" (seed{'s' * (len(results) > 1)} {', '.join(results)})"

    notes = []
    for status in dict.fromkeys(s.status for s in row.seeds.values() if not s.counts):
        those = {seed: s for seed, s in row.seeds.items() if s.status == status}
        messages = "; ".join(dict.fromkeys(s.message for s in those.values() if s.message))
        word = "not up to date" if status == "outdated" else status
        notes.append(f"{word}{seeds(those)}{messages and f': {messages}'}")
    return notes
