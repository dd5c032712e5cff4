"""Images computed together where their sizes agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from ..errors import ConfigError, explanation
from .predictor import Predictor
from .result import Prediction

S = TypeVar("S")


def predictions(
    predictor: Predictor,
    prepared: Iterable[tuple[S, Callable[[], Mapping[str, Any]]]],
    size: int,
    failed: Callable[[S, str], None],
) -> Iterator[tuple[S, Prediction | None]]:
    """Predict images in their order; up to `size` that follow each other share a pass if they are of one size.

    Args:
        predictor: computes them.
        prepared: see :func:`zsseg_d2.engine.prediction.inputs.prepared`.
        size: of the largest batch.
        failed: is told each image that gives no result, with the problem.

    Yields:
        Each image with its result, None if it failed.

    Raises:
        ConfigError: the model does not fit.
        Exception: a bug.
    """
    waiting: list[tuple[S, Mapping[str, Any]]] = []
    for source, item in prepared:
        ready = _attempt(item, source, failed)
        if waiting and (ready is None or _shape(ready) != _shape(waiting[0][1]) or len(waiting) == size):
            yield from _computed(predictor, waiting, failed)
            waiting = []
        if ready is None:
            yield source, None
        else:
            waiting.append((source, ready))
            if size == 1:  # a result is written as soon as it is there
                yield from _computed(predictor, waiting, failed)
                waiting = []
    yield from _computed(predictor, waiting, failed)


def _computed(
    predictor: Predictor, waiting: list[tuple[S, Mapping[str, Any]]], failed: Callable[[S, str], None]
) -> Iterator[tuple[S, Prediction | None]]:
    if len(waiting) > 1:
        results = _attempt(lambda: predictor.predict_batch([item for _, item in waiting]), None, lambda *_: None)
        if results is not None:
            yield from zip((source for source, _ in waiting), results)
            return
    for source, item in waiting:  # also after a batch that failed, as one image may be to blame
        yield source, _attempt(lambda: predictor.predict(item), source, failed)  # noqa: B023


def _attempt(work: Callable[[], Any], source: Any, failed: Callable[[Any, str], None]) -> Any:
    """Return what `work` returns; None if an image is to blame."""
    try:
        return work()
    except (ConfigError, KeyboardInterrupt):
        raise
    except Exception as error:  # of this image; explanation() tells bugs apart
        problem = explanation(error)
        if problem is None:
            raise
        failed(source, problem)
        return None


def _shape(item: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(item["image"].shape)
