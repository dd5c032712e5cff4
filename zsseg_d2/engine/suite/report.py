"""Results -> results.json, results.md with its plots, and the table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...evaluation.report import write_json
from ...files import atomic_path
from .provenance import sentence
from .results import Results
from .tables import Footnotes, table

PLOTS = "plots"


def write_report(results: Results, folder: Path) -> Path:
    """Write everything into a folder.

    Returns:
        results.md
    """
    write_json(folder / "results.json", results.as_json())
    plots = results.task.plots(results, folder / PLOTS)
    for path in set((folder / PLOTS).glob("*.png")) - set(plots):
        path.unlink()  # of an earlier report; nothing is left to draw in it
    with atomic_path(folder / "results.md") as beside:
        beside.write_text(page(results, plots, folder), encoding="utf-8")
    return folder / "results.md"


def terminal(results: Results) -> str:
    """Title, table, footnotes and remarks, for a terminal."""
    remarks = [remark.replace("**", "") for remark in results.task.remarks(results)]
    blocks = [results.suite.title, table(results, markdown=False), "\n".join(Footnotes(results).texts), *remarks]
    return "\n\n".join(block for block in blocks if block)


def page(results: Results, plots: Sequence[Path], folder: Path) -> str:
    """results.md.

    Args:
        plots: pictures in or below `folder`, which the page shows.
    """
    captions = {path: path.relative_to(folder).as_posix() for path in plots}
    blocks = [
        f"# {results.suite.title}",
        _what(results),
        table(results, markdown=True),
        *Footnotes(results).texts,
        *results.task.remarks(results),
        _how_read(results),
        *results.suite.notes,
        *(f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in captions.values()),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _what(results: Results) -> str:
    seeds = results.suite.seeds
    several = f"Seeds {', '.join(map(str, seeds))}; mean ± standard deviation (n - 1)."
    first = several if len(seeds) > 1 else f"One seed ({seeds[0]}): nothing is known about the spread."
    return " ".join(part for part in (first, f"Written {results.made}.", sentence(results.provenances())) if part)


def _how_read(results: Results) -> str:
    seeds = [s for row in results.table() for s in row.seeds.values() if s.there]
    shared = sorted({(s.side_by_side, s.threads) for s in seeds if s.side_by_side and s.side_by_side > 1})
    text = (
        "Training time: the sum of iteration times, without start-up and evaluations, of the run and of all trainings that "
        "it builds on; footnotes say what else it builds on. "
    )
    if shared:
        how = " or ".join(f"{n} side by side with {t} thread{'s' if t > 1 else ''} each" for n, t in shared)
        text += f"The runs shared the machine ({how}), so each took longer than it would alone. "
    plain = results.plain()
    if plain is not None:
        text += f"Extra parameters: of the model as built, beyond those of {plain.spec.label}. "
    text += "Leak-free: no training set of the run, or of those it builds on, has ground truth of an Out class."
    if results.suite.published:
        text += f" Published rows: {results.suite.published_source or 'not measured here'}."
    return text
