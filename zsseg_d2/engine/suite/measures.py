"""What a kind of suite measures, in a form that the rest of the suite need not look into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .facts import Fact

if TYPE_CHECKING:
    from .results import Results


@dataclass(frozen=True)
class Measure:
    """One column of figures."""

    key: str  # in results.json and in `published` rows
    label: str  # heading
    path: tuple[str, ...] = ()  # where it stands in a metrics file
    derive: Callable[[Mapping[str, float]], float] | None = None  # from the other figures of one seed, in place of `path`
    scalar: str = ""  # its name in the metrics.json of a training that evaluates on the way
    point: str = ""  # its name in the points of a curve file
    ranks: bool = True  # higher is better


@dataclass(frozen=True)
class Task:
    """The columns of one kind of suite, and what is said and drawn beside the table."""

    metrics_file: str  # in OUTPUT_DIR/inference/<data set>/
    measures: tuple[Measure, ...]
    facts: tuple[Fact, ...]  # the columns behind them
    details: Callable[[Mapping], dict]  # of a metrics file: what results.json keeps of it beside the measures
    remarks: Callable[[Results], list[str]]  # sentences below the table
    plots: Callable[[Results, Path], list[Path]]  # draws into a folder
    logged: tuple[Measure, ...] = ()  # figures of metrics.json that `history` holds beside the measures

    def figures(self, read: Callable[[Measure], float | None]) -> dict[str, float]:
        """All measures that there are.

        Args:
            read: the figure of a measure that is not derived from others; None where there is none.
        """
        found = {m.key: read(m) for m in self.measures if m.derive is None}
        found = {key: float(value) for key, value in found.items() if value is not None}
        for measure in self.measures:
            if measure.derive is not None:
                try:
                    found[measure.key] = float(measure.derive(found))
                except KeyError:  # one of its figures is missing
                    continue
        return {m.key: found[m.key] for m in self.measures if m.key in found}

    def figures_of_file(self, content: Mapping) -> dict[str, float]:
        """The measures of a metrics file."""
        return self.figures(lambda measure: _at(content, measure.path))

    def figures_of_point(self, point: Mapping) -> dict[str, float]:
        """The measures of a point of a curve file."""
        return self.figures(lambda measure: point.get(measure.point))


def _at(content: object, path: tuple[str, ...]) -> float | None:
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content
