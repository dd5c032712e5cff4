"""Depth from a model of transformers in a local folder, for images that have no measured depth."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...reading import printable
from ..errors import DatasetError
from .depth import METRIC, RELATIVE


class DepthModel:
    """Predicts the depth of images.

    Nothing is downloaded and no code of the folder runs; weights must be safetensors. A model whose config says
    ``"depth_estimation_type": "metric"`` predicts metres. All others predict an inverse depth without a unit, which
    becomes relative depth: 0 is the nearest pixel of the image, 1 the farthest.

    Args:
        folder: with the model and its image processor.

    Attributes:
        kind: "metric" or "relative".

    Raises:
        DatasetError: transformers is not installed, or the folder does not hold such a model.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        try:
            from transformers import AutoImageProcessor, AutoModelForDepthEstimation
        except ImportError:
            raise DatasetError("A depth model needs transformers. Fix: pip install transformers") from None
        if not Path(folder).is_dir():
            raise DatasetError(
                f"{printable(folder)}: there is no such folder. Fix: name a local folder with a depth model."
            )
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor = AutoImageProcessor.from_pretrained(folder, **options)
            model = AutoModelForDepthEstimation.from_pretrained(folder, use_safetensors=True, **options)
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(
                f"{printable(folder)}: holds no depth model of transformers with safetensors "
                f"({printable(str(error).splitlines()[0])}). Fix: save one there with save_pretrained."
            ) from None
        self._model = model.eval()
        found = getattr(model.config, "depth_estimation_type", RELATIVE)
        self.kind = METRIC if found == METRIC else RELATIVE

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Predict the depth of an image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (H, W) float32, of the kind that :attr:`kind` says; larger is farther.
        """
        import torch

        with torch.inference_mode():
            inputs = self._processor(images=image, return_tensors="pt")
            predicted = self._model(**inputs).predicted_depth[:, None].float()
            found = torch.nn.functional.interpolate(predicted, size=image.shape[:2], mode="bilinear")[0, 0].numpy()
        return found if self.kind == METRIC else relative_from_inverse(found)


def relative_from_inverse(inverse: np.ndarray) -> np.ndarray:
    """Return relative depth, 0 for the largest inverse depth of an image and 1 for the smallest; a constant gives 0.

    Example:
        >>> relative_from_inverse(np.array([[4.0, 2.0], [3.0, 2.0]])).tolist()
        [[0.0, 1.0], [0.5, 1.0]]
    """
    span = float(inverse.max() - inverse.min())
    return ((inverse.max() - inverse) / (span or 1.0)).astype(np.float32)
