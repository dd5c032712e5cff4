"""Knowledge distillation: a student with labels of some classes, a frozen zero-shot teacher for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_sem_seg_head
from torch import Tensor

from ..class_sets import ClassSets
from ..modeling.distillation import class_distillation, mask_distillation, out_queries
from ..modeling.fcclip.decoder_output import DecoderOutput, ImageQueries
from ..modeling.fcclip.head import FCCLIPHead
from ..modeling.fcclip.matcher import pair_queries
from ..modeling.fcclip.points import sample_points
from .base import PartWeights
from .fcclip import FCCLIP


@dataclass(frozen=True)
class DistillationSettings:
    """What a student learns from its teacher (ZSSEG.DISTILLATION).

    Attributes:
        loss: ``"mse"`` of class logits or ``"kl"`` of class probabilities.
        weight: Weight of the class term.
        temperature: Of ``"kl"``: logits are divided by it, the loss is multiplied by its square.
        compared: Contiguous ids whose logits are compared; None: all and void.
        pairing: How queries are paired: ``"index"`` or ``"hungarian"``.
        mask_weight: Weight of the mask term: the student's masks against those of the teacher's Out queries.
    """

    loss: str = "mse"
    weight: float = 1.0
    temperature: float = 2.0
    compared: tuple[int, ...] | None = None
    pairing: str = "index"
    mask_weight: float = 0.0


@dataclass(frozen=True)
class _Pair:
    """Paired queries of student and teacher for one image.

    ``student_logits`` and ``teacher_logits`` (Q, K + 1); at the same points, for the queries that name an Out class,
    ``student_masks`` and ``teacher_masks`` (n, P), or None where masks are not compared.
    """

    student_logits: Tensor
    teacher_logits: Tensor
    student_masks: Tensor | None = None
    teacher_masks: Tensor | None = None


@META_ARCH_REGISTRY.register()
class DistilledFCCLIP(FCCLIP):
    """FC-CLIP with a frozen teacher of its own weights over the same CLIP; at test time, and in checkpoints, the
    student.

    ``loss_distill`` compares the class logits of paired queries after the last layer; ``loss_distill_mask`` compares
    the student's masks with those of the teacher's queries that name a deleted class.

    Args:
        make_teacher_head: Builds the head of the teacher.
        distillation: What is learnt from the teacher.
        student: Of :class:`FCCLIP`.
    """

    frozen_parts = ("teacher",)

    @configurable
    def __init__(
        self, *, make_teacher_head: Callable[[], FCCLIPHead], distillation: DistillationSettings, **student: Any
    ) -> None:
        super().__init__(**student)
        self.teacher = self.with_shared_backbone(make_teacher_head()).requires_grad_(False).eval()
        self.distillation = distillation

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        student = super().from_config(cfg)
        d, classes = cfg.ZSSEG.DISTILLATION, student["classes"]
        return {
            **student,
            # Built after the student's parameters, so that a seed gives the student the weights that it has alone.
            "make_teacher_head": lambda: build_sem_seg_head(cfg, student["backbone"].output_shape()),
            "distillation": DistillationSettings(
                loss=d.LOSS,
                weight=d.WEIGHT,
                temperature=d.TEMPERATURE,
                compared=compared_classes(d.CLASSES, classes),
                pairing=d.PAIRING,
                mask_weight=d.MASK_WEIGHT,
            ),
        }

    @classmethod
    def part_weights(cls, cfg: CfgNode) -> dict[str, PartWeights]:
        return {"teacher": PartWeights("ZSSEG.DISTILLATION.TEACHER_WEIGHTS", cfg.ZSSEG.DISTILLATION.TEACHER_WEIGHTS)}

    @classmethod
    def check_config(cls, cfg: CfgNode) -> None:
        compared_classes(cfg.ZSSEG.DISTILLATION.CLASSES, ClassSets.from_config(cfg))

    def train(self, mode: bool = True) -> DistilledFCCLIP:
        """Switch the student; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Compute the weighted losses of a training batch; CLIP sees it once."""
        batch = self.training_batch(batched_inputs)
        features = self.clip_features(batch.images, batch.padding)
        decoded = self.decode(features, batch.padding, items=batched_inputs)
        losses = self.criterion(*self.predictions(decoded, batched_inputs), self.targets(batched_inputs))
        with torch.no_grad():
            teacher_output = self.teacher.decode(features, batch.padding, return_aux=False)
        taught = [not self.is_replayed(item) for item in batched_inputs]  # others have labels of all classes
        return {**losses, **self._distillation_losses(decoded, teacher_output, taught)}

    def _distillation_losses(
        self, student: DecoderOutput, teacher: DecoderOutput, taught: Sequence[bool] | None = None
    ) -> dict[str, Tensor]:
        settings = self.distillation
        images = list(zip(student.images(), teacher.images()))
        images = [pair for k, pair in enumerate(images) if taught is None or taught[k]]
        with torch.autocast(self.device.type, enabled=False):  # sums over points are beyond half precision
            pairs = [self._pair(*of_image) for of_image in images] or [_no_pair(student)]
            class_loss = class_distillation(
                torch.cat([p.student_logits for p in pairs]),
                torch.cat([p.teacher_logits for p in pairs]),
                settings.compared,
                settings.loss,
                settings.temperature,
            )
            losses = {"loss_distill": settings.weight * class_loss}
            if settings.mask_weight:
                entropy, dice = mask_distillation(
                    torch.cat([p.student_masks for p in pairs if p.student_masks is not None]),
                    torch.cat([p.teacher_masks for p in pairs if p.teacher_masks is not None]),
                )
                losses["loss_distill_mask"] = settings.mask_weight * (entropy + dice)
        return losses

    def _pair(self, student: ImageQueries, teacher: ImageQueries) -> _Pair:
        """Pair the queries of one image by ``distillation.pairing``."""
        settings = self.distillation
        by_masks = settings.pairing == "hungarian"
        if not (by_masks or settings.mask_weight):
            return _Pair(student.logits, teacher.logits)
        points = torch.rand(1, self.criterion.num_points, 2, device=self.device)
        student_masks, teacher_masks = (_masks_at(queries, points) for queries in (student, teacher))
        teacher_logits = teacher.logits
        if by_masks:
            order = pair_queries(student.logits, teacher_logits, student_masks, teacher_masks)
            teacher_logits, teacher_masks = teacher_logits[order], teacher_masks[order]
        chosen = out_queries(teacher_logits, self.classes.training.unlabeled)
        return _Pair(student.logits, teacher_logits, student_masks[chosen], teacher_masks[chosen])


def _no_pair(student: DecoderOutput) -> _Pair:
    """No queries of student or teacher; losses of it are 0 and have gradients."""
    none = next(iter(student.images())).logits[:0]
    return _Pair(none, none, none, none)


def _masks_at(queries: ImageQueries, points: Tensor) -> Tensor:
    """(Q, P) mask logits at points (1, P, 2)."""
    return queries.mask_embed.float() @ sample_points(queries.mask_features[None].float(), points)[0]


def compared_classes(choice: str, classes: ClassSets) -> tuple[int, ...] | None:
    """Return the contiguous ids whose logits a student learns from its teacher (ZSSEG.DISTILLATION.CLASSES).

    Args:
        choice: ``"all"`` or ``"deleted"``.
        classes: Classes of the run.

    Returns:
        None: all classes, and void.

    Raises:
        ValueError: The deleted classes are asked for, and no class is deleted.
    """
    if choice != "deleted":
        return None
    if not classes.training.unlabeled:
        raise ValueError(
            "ZSSEG.DISTILLATION.CLASSES='deleted': DATASETS.TRAIN deletes no class. Fix: train on a configuration such "
            "as '…_train_008', or give `ZSSEG.DISTILLATION.CLASSES all`."
        )
    return classes.training.unlabeled
