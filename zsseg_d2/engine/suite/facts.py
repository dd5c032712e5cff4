"""Columns of the table beside the measures: what a row cost, and what it has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .words import in_words

if TYPE_CHECKING:
    from .results import (Results, Row)

NOTHING = "–"


@dataclass(frozen=True)
class Fact:
    """A column, the text of a row in it, and the sentences that explain it ("": none)."""

    label: str
    text: Callable[[Results, Row], str]
    explain: Callable[[Results], str]
    left: bool = False  # aligned to the left


def _time(_results: Results, row: Row) -> str:
    seconds = row.mean_of("training_seconds")
    return NOTHING if seconds is None else in_words(seconds) if seconds else "none"


def _explain_time(results: Results) -> str:
    text = (
        "Training time: the sum of iteration times, without start-up and evaluations, of the run and of all trainings that "
        "it builds on; footnotes say what else it builds on."
    )
    seeds = [s for row in results.table() for s in row.seeds.values() if s.there]
    shared = sorted({(s.side_by_side, s.threads) for s in seeds if s.side_by_side and s.side_by_side > 1})
    if shared:
        how = " or ".join(f"{n} side by side with {t} thread{'s' if t > 1 else ''} each" for n, t in shared)
        text += f" The runs shared the machine ({how}), so each took longer than it would alone."
    return text


def _extra(results: Results, row: Row) -> str:
    extra = results.extra_parameters(row)
    return NOTHING if extra is None else "0" if extra == 0 else f"{extra / 1e6:.2f} million"


def _explain_extra(results: Results) -> str:
    plain = results.plain()
    return "" if plain is None else f"Extra parameters: of the model as built, beyond those of {plain.spec.label}."


def _trainable(_results: Results, row: Row) -> str:
    first = row.first()
    count = first.parameters.get("trainable") if first and first.parameters else None
    return NOTHING if count is None else f"{count:,}"


TIME = Fact("training time", _time, _explain_time)
EXTRA_PARAMETERS = Fact("extra parameters", _extra, _explain_extra)
TRAINABLE_PARAMETERS = Fact("trained parameters", _trainable, lambda _: "Trained parameters: of the decoder; CLIP is frozen.")
LEAK_FREE = Fact(
    "leak-free",
    lambda _, row: "yes" if row.leak_free else "no",
    lambda _: "Leak-free: no training set of the run, or of those it builds on, has ground truth of an Out class.",
    left=True,
)
