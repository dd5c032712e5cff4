"""What each kind of suite measures: its columns of figures, and where they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..evaluation.panoptic.panoptic_counts import harmonic_mean


@dataclass(frozen=True)
class Measure:
    """One column of figures."""

    key: str  # in results.json and in `published` rows
    label: str  # heading
    path: tuple[str, ...] = ()  # where it is in a metrics file
    derive: Callable[[Mapping[str, float]], float] | None = (
        None  # from the other figures of one seed, in place of `path`
    )
    scalar: str = ""  # its name in the metrics.json of a training that evaluates on the way
    point: str = ""  # its name in the points of a curve file
    ranks: bool = True  # higher is better


@dataclass(frozen=True)
class Task:
    """One kind of suite: the value of `task` in a suite file."""

    name: str
    metrics_file: str  # in OUTPUT_DIR/inference/<dataset>/
    measures: tuple[Measure, ...]
    details: Callable[
        [Mapping[str, Any]], dict[str, Any]
    ]  # what results.json keeps of a metrics file beyond the measures
    logged: tuple[Measure, ...] = ()  # figures of metrics.json that the history holds beyond the measures

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

    def figures_of_file(self, content: Mapping[str, Any]) -> dict[str, float]:
        """The measures of a metrics file."""
        return self.figures(lambda measure: _at(content, measure.path))

    def figures_of_point(self, point: Mapping[str, Any]) -> dict[str, float]:
        """The measures of a point of a curve file."""
        return self.figures(lambda measure: point.get(measure.point))


def _at(content: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


# Panoptic quality: of all classes, of those with labels (In) and of those without (Out).

ALL = Measure("all", "PQ All", ("All", "PQ"), scalar="panoptic_seg/PQ", point="pq_all")
IN = Measure("in", "In", ("In", "PQ"), scalar="panoptic_seg/PQ_in", point="pq_in")
OUT = Measure("out", "Out", ("Out", "PQ"), scalar="panoptic_seg/PQ_out", point="pq_out")
HARMONIC = Measure(
    "harmonic", "harmonic mean", point="harmonic_mean", derive=lambda found: harmonic_mean(found["in"], found["out"])
)


def _panoptic_details(content: Mapping[str, Any]) -> dict[str, Any]:
    """PQ and group of each class, and how many classes In and Out average."""
    return {
        "per_class": {
            name: {"PQ": scores.get("PQ"), "group": scores.get("group")}
            for name, scores in content.get("per_class", {}).items()
        },
        "sizes": {key: content.get(group, {}).get("n") for key, group in (("in", "In"), ("out", "Out"))},
    }


PANOPTIC = Task("panoptic", "panoptic_quality.json", (ALL, IN, OUT, HARMONIC), _panoptic_details)

# Referring segmentation: how well decoders and losses find what a phrase means.

MEAN_IOU = Measure("mean_iou", "mean IoU", ("mean_iou",), scalar="referring/mean_iou")
BLIND = Measure("blind", "shuffled phrase IoU", ("shuffled_phrase_baseline", "mean_iou"), ranks=False)
LOSS = Measure("loss", "loss", scalar="total_loss")


def _referring_details(content: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes and mean IoU of the subsets."""
    return {
        "per_class": {
            name: {"mean IoU": scores.get("mean_iou"), "n": scores.get("n"), "group": ""}
            for name, scores in content.get("subsets", {}).items()
            if scores.get("n")
        }
    }


REFERRING = Task(
    "referring",
    "referring.json",
    (
        MEAN_IOU,
        Measure("cum_iou", "cumulative IoU", ("cum_iou",)),
        Measure("acc_50", "accuracy at 0.5", ("acc@0.5",)),
        Measure("pixel_accuracy", "pixel accuracy", ("pixel_accuracy",)),
        Measure("dice", "Dice", ("dice",)),
        BLIND,
    ),
    _referring_details,
    logged=(LOSS,),
)

TASKS = {task.name: task for task in (PANOPTIC, REFERRING)}
