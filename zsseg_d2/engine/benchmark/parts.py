"""Where the time of a model goes: seconds of its parts in one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch import nn

from .measure import timed, wait_for_gpu


def seconds_of_parts(model: nn.Module, function: Callable[[], Any]) -> dict[str, float]:
    """Seconds of each part of an FC-CLIP in one call of ``function``, without what other parts took inside it.

    ``all`` is the whole call, and ``rest`` what no part took: of training, the backward pass and the optimizer; of
    inference, the way of the image into the model. Each part waits for a GPU, which would else work on in the next one.
    """
    head = model.sem_seg_head
    places = {
        "CLIP": [(model.backbone, "forward")],
        "deformable encoder": [(head.pixel_decoder.transformer, "forward")],
        "rest of the pixel decoder": [(head.pixel_decoder, "forward"), (head.pixel_decoder, "features")],
        "query decoder": [(head.predictor, "forward"), (head.predictor, "last")],
        "losses": [(model.criterion, "forward")],
        "class scores": [(model, "in_vocab_logits"), (model, "class_scores")],
        "panoptic rule": [(model, "postprocess")],
    }
    watch = _Watch()
    patches = [
        mock.patch.object(o, n, watch.over(getattr(o, n), part)) for part, found in places.items() for o, n in found
    ]
    for patch in patches:
        patch.start()
    try:
        whole = timed(function)
    finally:
        for patch in patches:
            patch.stop()
    parts = {part: watch.seconds[part] for part in places if part in watch.seconds}
    return {**parts, "rest": whole - sum(parts.values()), "all": whole}


class _Watch:
    """Own time of functions that call one another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = [0.0]  # what has gone by in parts inside each part that runs

    def over(self, function: Callable, part: str) -> Callable:
        def watched(*args, **kwargs):
            with self._running(part):
                return function(*args, **kwargs)

        return watched

    @contextmanager
    def _running(self, part: str) -> Iterator[None]:
        self._inside.append(0.0)
        wait_for_gpu()
        start = time.perf_counter()
        try:
            yield
        finally:
            wait_for_gpu()
            took = time.perf_counter() - start
            self.seconds[part] = self.seconds.get(part, 0.0) + took - self._inside.pop()
            self._inside[-1] += took
