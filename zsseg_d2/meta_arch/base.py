"""Base classes of all methods: the interface that trainer, checkpointer and evaluation rely on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from ..modeling.padding import Padding
from .batches import PaddedBatch


class PartWeights(NamedTuple):
    """Initial weights of a part of a model: the config key that names the file, and the file."""

    key: str
    path: str


class Study(NamedTuple):
    """Labeled images that a method looks at before its first iteration.

    ``key`` is the config key that names the ``dataset``, ``images`` their number, evenly spread over it (0: all).
    """

    key: str
    dataset: str
    images: int


class SegmentationModel(nn.Module, ABC):
    """A meta-architecture that any trainer, checkpointer and evaluation of this project can run.

    A method from outside the package subclasses this, or :class:`PanopticModel` or one of the registered architectures,
    registers itself with Detectron2's ``META_ARCH_REGISTRY``, and is chosen by MODEL.META_ARCHITECTURE
    (docs/extending.md).

    Args:
        precision: MODEL.PRECISION, of matrix products and convolutions at test time: ``"float32"`` or ``"bfloat16"``.
        initial_weights: What :meth:`part_weights` returns for the config of this model.
        random_clip: No file gives the weights of the frozen CLIP.
    """

    task: ClassVar[str] = "panoptic"
    """``"panoptic"``, ``"referring"`` or ``"composites"``: which mapper, evaluator and config checks belong to it."""

    trainable: ClassVar[bool] = True
    """False for a method that joins trained models and is only evaluated."""

    frozen_parts: ClassVar[tuple[str, ...]] = ()
    """Submodules that are neither trained nor saved, such as a teacher."""

    def __init__(
        self,
        *,
        precision: str = "float32",
        initial_weights: Mapping[str, PartWeights] | None = None,
        random_clip: bool = False,
    ) -> None:
        super().__init__()
        self.precision = precision
        self.initial_weights = dict(initial_weights or {})
        self.random_clip = random_clip

    @classmethod
    def part_weights(cls, cfg: CfgNode) -> dict[str, PartWeights]:
        """Return the submodules that start from weights of their own; empty for a model that has only MODEL.WEIGHTS."""
        return {}

    @classmethod
    def check_config(cls, cfg: CfgNode) -> None:
        """Check what only this method knows about its config, before data and weights are read.

        Raises:
            ValueError: The config cannot work; the message names key and remedy.
        """

    @classmethod
    def base_arguments(cls, cfg: CfgNode) -> dict[str, Any]:
        """Return the arguments of this class's constructor that a config determines, for ``from_config``."""
        return {
            "precision": cfg.MODEL.PRECISION,
            "initial_weights": cls.part_weights(cfg),
            "random_clip": not cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS,
        }

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Device of the parameters."""

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Return weighted losses in training, else one result per item of the input."""
        return self.losses(batched_inputs) if self.training else self.inference(batched_inputs)

    @abstractmethod
    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Compute the weighted losses () of a training batch, by name."""

    @abstractmethod
    def inference(self, batched_inputs: list[dict]) -> list[dict]:
        """Compute one result per item, in the order of the input."""

    @classmethod
    def study_of(cls, cfg: CfgNode) -> Study | None:
        """Return which labeled images are studied before the first iteration; None: none."""
        return None

    def study(self, items: Iterable[dict]) -> dict[str, Tensor]:
        """Compute what training has to know of the images of :meth:`study_of`, by name; it is kept for resuming.

        Args:
            items: Training items, one an image, made when they are asked for.
        """
        raise NotImplementedError(f"{type(self).__name__} studies no images.")

    def use_study(self, found: Mapping[str, Tensor]) -> None:
        """Take what :meth:`study` computed.

        Raises:
            ValueError: It does not belong to this model.
        """

    def after_step(self) -> None:
        """Do what follows each step of the optimizer, such as moving an average of the weights."""

    def complete_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add what a file of weights lacks and this model makes of the rest, such as those of a mean teacher."""
        return dict(state)

    def inference_precision(self) -> torch.autocast:
        """Return the context in which the model runs at test time (MODEL.PRECISION)."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


class PanopticModel(SegmentationModel):
    """A method that segments an image from the features of one frozen CLIP.

    The result of an image does not depend on the others: at test time, images of one padded size share a batch and
    others do not; in training, all share one, and what is padded beyond an image's own size is masked.
    """

    @abstractmethod
    def padded_batches(self, batched_inputs: Sequence[Mapping]) -> list[PaddedBatch]:
        """Normalize and pad the images, one batch per padded size."""

    @abstractmethod
    def clip_features(self, images: Tensor, padding: Padding | None = None) -> dict[str, Tensor]:
        """Compute the features of the frozen CLIP of (B, 3, H, W) normalized images; None: all of them is image."""

    @abstractmethod
    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """Segment the images of one padded batch.

        Args:
            features: Of :meth:`clip_features`.
            items: Items of the input.
            padded: (H, W) of the padded images.

        Returns:
            One dict per image with ``panoptic_seg`` ((H, W) map, segments), and ``sem_seg`` (K, H, W) and ``instances``
            as switched on in ``MODEL.MASK_FORMER.TEST``.
        """

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict]) -> list[dict]:
        """Compute one result per image, in the order of the input; CLIP sees each image once."""
        results: list[dict] = [{} for _ in batched_inputs]
        for positions, images in self.padded_batches(batched_inputs):
            items = [batched_inputs[p] for p in positions]
            height, width = images.shape[-2:]
            with self.inference_precision():
                found = self.segment(self.clip_features(images), items, (height, width))
            for position, result in zip(positions, found):
                results[position] = result
        return results
