"""Ground truth of a training image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..class_sets import TrainingClasses
from ..modeling.fcclip.targets import Target


def ground_truth(item: Mapping, padded: tuple[int, int], classes: TrainingClasses, device: torch.device) -> Target:
    """Return the ground truth on the image's own padded grid, with columns of the training classifier as labels.

    Padded pixels have no loss.

    Args:
        item: Of the input, with ``instances`` and possibly ``ignore`` (h, w).
        padded: (H, W) of the image's own padded size.
        classes: Of the dataset of the image.
        device: Of the result.

    Raises:
        ValueError: The image has a label of a class that its dataset deletes.
    """
    leaked = sorted(set(item["instances"].gt_classes.tolist()) & set(classes.deleted))
    if leaked:
        raise ValueError(
            f"{item.get('file_name', 'a training image')} has labels of classes that the dataset deletes: "
            f"{', '.join(classes.vocabulary.names[k] for k in leaked)}."
        )
    instances = item["instances"].to(device)
    column = torch.full((len(classes.vocabulary),), -1, device=device)
    column[list(classes.kept)] = torch.arange(len(classes.kept), device=device)
    labels = column[instances.gt_classes]

    def pad(mask: Tensor, value: bool) -> Tensor:
        return F.pad(mask, (0, padded[1] - mask.shape[-1], 0, padded[0] - mask.shape[-2]), value=value)

    ignore, size = item.get("ignore"), instances.gt_masks.shape[-2:]
    if ignore is None and tuple(size) != padded:
        ignore = torch.zeros(size, dtype=torch.bool)
    return Target(labels, pad(instances.gt_masks, False), None if ignore is None else pad(ignore.to(device), True))
