"""What each kind of suite measures: its columns of figures, and where they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Required, TypedDict

from ..evaluation.panoptic.panoptic_counts import harmonic_mean


@dataclass(frozen=True)
class Measure:
    """One column of figures."""

    key: str  # in results.json and in `published` rows
    label: str  # heading
    path: tuple[str, ...] = ()  # where it is in a metrics file
    derive: Callable[[Mapping[str, float]], float | None] | None = None  # from the measures before it, not from `path`
    scalar: str = ""  # its name in the metrics.json of a training that evaluates on the way
    point: str = ""  # its name in the points of a curve file
    ranks: bool = True  # higher is better
    optional: bool = False  # left out of tables where no row has it

    def of(self, prefix: str) -> Measure:
        """Return the same column of another dataset, such as ``"test_"``, whose figures choose nothing."""
        label = f"{prefix.removesuffix('_').replace('pretraining', 'pre-training')} {self.label}"
        return replace(self, key=f"{prefix}{self.key}", label=label, scalar="", point="", derive=None, ranks=False)


@dataclass(frozen=True)
class Task:
    """One kind of suite: the value of `task` in a suite file."""

    name: str
    metrics_file: str  # in OUTPUT_DIR/inference/<dataset>/
    measures: tuple[Measure, ...]
    details: Callable[[Mapping[str, Any]], dict[str, Any]]  # what else results.json keeps of a metrics file
    logged: tuple[Measure, ...] = ()  # further figures of metrics.json that the history holds

    def figures_of_file(self, content: Mapping[str, Any]) -> dict[str, float]:
        """Return the measures in a metrics file, by key."""
        return self._figures(lambda measure: _at(content, measure.path))

    def figures_of_point(self, point: Mapping[str, Any]) -> dict[str, float]:
        """Return the measures in a point of a curve file, by key."""
        return self._figures(lambda measure: point.get(measure.point))

    def figures_of_published(self, row: Mapping[str, Any]) -> dict[str, float]:
        """Return the measures in a published row of a suite file, by key."""
        return self._figures(lambda measure: row.get(measure.key))

    def _figures(self, read: Callable[[Measure], Any]) -> dict[str, float]:
        found: dict[str, float] = {}
        for measure in self.measures:
            value = measure.derive(found) if measure.derive else read(measure)
            if value is not None:
                found[measure.key] = float(value)
        return found


def _at(content: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


@dataclass(frozen=True)
class Target:
    """What a suite asks of its best leak-free method, by means over seeds (`target` in a suite file).

    Attributes:
        all_share: Share of the upper bound's PQ All that it reaches at least.
        in_lost: PQ In that it may lose against the lower bound.
        out_gain: PQ Out that it gains over zero shot at least; 0: any gain.
        pretraining_lost: PQ that it may lose against zero shot on the pre-training world; None: not asked.
    """

    all_share: float = 0.9
    in_lost: float = 1.0
    out_gain: float = 0.0
    pretraining_lost: float | None = None


class Scores(TypedDict, total=False):
    """What results.json keeps of a class, or of a subset of phrases, besides its figure."""

    group: Required[str]
    PQ: float | None
    n: int


class Details(TypedDict, total=False):
    """What :attr:`Task.details` returns."""

    per_class: Required[dict[str, Scores]]
    sizes: dict[str, int | None]


# Panoptic quality: of all classes, of those with labels (In) and of those without (Out).


def _harmonic(found: Mapping[str, float]) -> float | None:
    return harmonic_mean(found["in"], found["out"]) if {"in", "out"} <= found.keys() else None


def _panoptic_details(content: Mapping[str, Any]) -> dict[str, Any]:
    """Keep PQ and group of each class, and how many classes In and Out average."""
    classes = content.get("per_class", {}).items()
    return {
        "per_class": {name: {"PQ": scores.get("PQ"), "group": scores.get("group")} for name, scores in classes},
        "sizes": {key: content.get(group, {}).get("n") for key, group in (("in", "In"), ("out", "Out"))},
    }


ALL = Measure("all", "PQ All", ("All", "PQ"), scalar="panoptic_seg/PQ", point="pq_all")
IN = Measure("in", "In", ("In", "PQ"), scalar="panoptic_seg/PQ_in", point="pq_in")
OUT = Measure("out", "Out", ("Out", "PQ"), scalar="panoptic_seg/PQ_out", point="pq_out")
HARMONIC = Measure("harmonic", "harmonic mean", point="harmonic_mean", derive=_harmonic)
PANOPTIC = Task("panoptic", "panoptic_quality.json", (ALL, IN, OUT, HARMONIC), _panoptic_details)

# Referring segmentation: how well decoders and losses find what a phrase means.


def _referring_details(content: Mapping[str, Any]) -> dict[str, Any]:
    """Keep sizes and mean IoU of the subsets that are not empty."""
    return {
        "per_class": {
            name: {"mean IoU": scores.get("mean_iou"), "n": scores.get("n"), "group": ""}
            for name, scores in content.get("subsets", {}).items()
            if scores.get("n")
        }
    }


MEAN_IOU = Measure("mean_iou", "mean IoU", ("mean_iou",), scalar="referring/mean_iou")
BLIND = Measure("blind", "shuffled phrase IoU", ("shuffled_phrase_baseline", "mean_iou"), ranks=False)
LOSS = Measure("loss", "loss", scalar="total_loss")
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

# Composites: mask and depth, beside the subtraction of the background.

MASK_IOU = Measure("mask_iou", "mask IoU", ("mask_iou",), scalar="composites/mask_iou")


def _depth_percent(key: str, label: str) -> Measure:
    scalar = f"composites/{key}"
    return Measure(key, f"{label} (% of range)", (key,), scalar=scalar, ranks=False, optional=True)


DEPTH_PERCENT = _depth_percent("depth_rmse_percent", "depth RMSE")
ALIGNED_PERCENT = _depth_percent("aligned_rmse_percent", "aligned RMSE of relative depth")
COMPOSITES = Task(
    "composites",
    "composites.json",
    (
        MASK_IOU,
        Measure("mask_dice", "Dice", ("mask_dice",)),
        Measure("boundary_f", "boundary F", ("boundary_f",)),
        Measure("subtraction_iou", "subtraction IoU", ("subtraction_baseline", "mask_iou"), ranks=False),
        DEPTH_PERCENT,
        ALIGNED_PERCENT,
        Measure("abs_rel", "AbsRel", ("abs_rel",), ranks=False, optional=True),
        Measure("delta", "δ < 1.25", ("delta_1.25",), optional=True),
    ),
    lambda _: {"per_class": {}},
    logged=(LOSS,),
)

TASKS = {task.name: task for task in (PANOPTIC, REFERRING, COMPOSITES)}
