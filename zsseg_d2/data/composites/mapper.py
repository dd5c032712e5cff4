"""Numbers of composites -> tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from .augmentation import Augmentation, Pair
from .composer import Composer
from .disturbance import Disturbance


class CompositeMapper:
    """Map a record of a composite to an item of a batch.

    Items hold ``image`` ((3, S, S) uint8 RGB, the composite), ``background`` ((3, S, S) uint8 RGB, disturbed),
    ``mask`` ((S, S) bool), ``depth_kind`` (``"metric"``: metres, ``"relative"``: in [0, 1], ``"none"``), ``depth``
    ((S, S) float32, larger is farther; missing with ``"none"``), ``image_id`` (the number of the composite),
    ``height``, ``width``, ``file_name`` (what it is made of) and ``dataset_name``.

    Args:
        composers: by the name of the dataset.
        augmentation: of both inputs and both targets.
        disturbance: of the background alone.
    """

    def __init__(
        self,
        composers: Mapping[str, Composer],
        augmentation: Augmentation | None = None,
        disturbance: Disturbance | None = None,
    ) -> None:
        self.composers = composers
        self.augmentation = augmentation or Augmentation()
        self.disturbance = disturbance or Disturbance()

    def __call__(self, record: dict) -> dict:
        """Make a composite.

        Args:
            record: with ``index`` and ``dataset_name``.

        Raises:
            DatasetError: a file is missing or damaged.
        """
        composer = self.composers[record["dataset_name"]]
        made = composer[record["index"]]
        pair = self.augmentation(Pair(made.image, made.background, made.mask, made.depth, made.depth_kind))
        height, width = pair.mask.shape
        item = {
            "image": _planes(pair.image),
            "background": _planes(self.disturbance(pair.background)),
            "mask": torch.from_numpy(np.ascontiguousarray(pair.mask)),
            "depth_kind": pair.depth_kind,
            "image_id": record["index"],
            "height": height,
            "width": width,
            "file_name": composer.name(record["index"]),
            "dataset_name": record["dataset_name"],
        }
        if pair.depth is not None:
            item["depth"] = torch.from_numpy(np.ascontiguousarray(pair.depth))
        return item


def _planes(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
