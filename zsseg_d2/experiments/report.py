"""Results -> results.json, results.csv, results.md with its plots, and the table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..evaluation.panoptic.report import write_json
from ..files import atomic_path
from . import panoptic, referring
from .provenance import sentence
from .results import Results
from .table import FACTS, Footnotes, table

PLOTS = "plots"
_KINDS = {"panoptic": panoptic, "referring": referring}


def write_report(results: Results, folder: Path) -> Path:
    """Write everything into a folder.

    Returns:
        results.md
    """
    write_json(folder / "results.json", results.as_json())
    with atomic_path(folder / "results.csv") as beside:
        results.frame.to_csv(beside, index=False)
    plots = _KINDS[results.task.name].plots(results, folder / PLOTS)
    for path in set((folder / PLOTS).glob("*.png")) - set(plots):
        path.unlink()  # of an earlier report; nothing is left to draw in it
    with atomic_path(folder / "results.md") as beside:
        beside.write_text(page(results, plots, folder), encoding="utf-8")
    return folder / "results.md"


def terminal(results: Results) -> str:
    """Title, table, footnotes and remarks, for a terminal."""
    remarks = [remark.replace("**", "") for remark in _KINDS[results.task.name].remarks(results)]
    blocks = [results.suite.title, table(results, markdown=False), "\n".join(Footnotes(results).texts), *remarks]
    return "\n\n".join(block for block in blocks if block)


def page(results: Results, plots: Sequence[Path], folder: Path) -> str:
    """results.md.

    Args:
        plots: images in or below `folder`, which the page shows.
    """
    captions = {path: path.relative_to(folder).as_posix() for path in plots}
    blocks = [
        f"# {results.suite.title}",
        _what(results),
        table(results, markdown=True),
        *Footnotes(results).texts,
        *_KINDS[results.task.name].remarks(results),
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
    sentences = [fact.explain(results) for fact in FACTS[results.task.name]]
    if results.suite.published:
        sentences.append(f"Published rows: {results.suite.published_source or 'not measured here'}.")
    return " ".join(sentence for sentence in sentences if sentence)
