"""A student that learns the deleted classes from the moving average of its own weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_sem_seg_head
from torch import Tensor
from torchvision.transforms import v2

from ..class_sets import ClassSets
from ..modeling.averaging import move_average
from ..modeling.fcclip.head import FCCLIPHead
from ..modeling.fcclip.targets import Target
from ..modeling.padding import Padding
from ..modeling.teaching import TeachingSettings, free_share, teach, with_taught
from .batches import TrainingBatch
from .fcclip import FCCLIP

TEACHER = "teacher"
_STRIDE = 4  # of mask logits


@dataclass(frozen=True)
class MeanTeacherSettings:
    """How teacher and student differ (ZSSEG.MEAN_TEACHER).

    Attributes:
        momentum: Of the moving average of the student's weights, a step.
        strength: Of the student's view, in [0, 1]; 0: the teacher's own.
        ensemble: CLIP's scores join those of the teacher, as at test time.
        prediction: Which of them predicts at test time: ``"teacher"`` or ``"student"``.
    """

    momentum: float = 0.999
    strength: float = 1.0
    ensemble: bool = True
    prediction: str = "teacher"


@META_ARCH_REGISTRY.register()
class MeanTeacherFCCLIP(FCCLIP):
    """FC-CLIP with a mean teacher (Tarvainen and Valpola 2017) over the same frozen CLIP.

    In each step the teacher segments the batch as it is (weak view); its queries of classes without labels become
    targets beside the ground truth, with soft classes, mask probabilities and weights by its confidence
    (:mod:`zsseg_d2.modeling.teaching`). The student learns them on the same images in other colors and blurred (strong
    view). After the step the teacher's weights move towards the student's. Both start alike. A checkpoint holds the
    student under FC-CLIP's names and the teacher as ``teacher.*``.

    Args:
        make_teacher_head: Builds the head of the teacher.
        teaching: Which of the teacher's queries become targets.
        mean_teacher: How teacher and student differ.
        student: Of :class:`FCCLIP`.
    """

    @configurable
    def __init__(
        self,
        *,
        make_teacher_head: Callable[[], FCCLIPHead],
        teaching: TeachingSettings,
        mean_teacher: MeanTeacherSettings,
        **student: Any,
    ) -> None:
        super().__init__(**student)
        self.teacher = self.with_shared_backbone(make_teacher_head()).requires_grad_(False).eval()
        move_average(self.teacher, self, 0.0)
        self.teaching = teaching
        self.mean_teacher = mean_teacher
        self.strong_view = strong_view(mean_teacher.strength)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        student = super().from_config(cfg)
        m, p = cfg.ZSSEG.MEAN_TEACHER, cfg.ZSSEG.PSEUDO_LABELS
        return {
            **student,
            "make_teacher_head": lambda: build_sem_seg_head(cfg, student["backbone"].output_shape()),
            "teaching": TeachingSettings(m.WEIGHT, m.MIN_CONFIDENCE, p.MIN_AREA, p.MIN_VISIBLE),
            "mean_teacher": MeanTeacherSettings(m.MOMENTUM, m.STRENGTH, m.ENSEMBLE, m.PREDICTION),
        }

    @classmethod
    def check_config(cls, cfg: CfgNode) -> None:
        training = ClassSets.from_config(cfg).training
        if cfg.ZSSEG.TRAINING_VOCABULARY != "all":
            raise ValueError(
                f"ZSSEG.TRAINING_VOCABULARY={cfg.ZSSEG.TRAINING_VOCABULARY}: the teacher names deleted classes, which "
                "the classifier must have. Fix: set it to all."
            )
        if cfg.ZSSEG.DELETED_PIXELS == "ignore":
            raise ValueError(
                "ZSSEG.DELETED_PIXELS=ignore: what the teacher names lies on deleted pixels, of which no loss is taken "
                "then. Fix: set it to no_object."
            )
        if cfg.DATASETS.TRAIN and not training.unlabeled:
            raise ValueError(
                f"DATASETS.TRAIN={list(cfg.DATASETS.TRAIN)} deletes no class, so there is nothing to teach. Fix: train "
                "on a configuration such as '…_train_008'."
            )

    def train(self, mode: bool = True) -> MeanTeacherFCCLIP:
        """Switch the student; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def after_step(self) -> None:
        """Move the teacher's weights towards the student's."""
        move_average(self.teacher, self, self.mean_teacher.momentum)

    def complete_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Let the teacher start from the student's weights where a file has none of its own."""
        if any(name.startswith(f"{TEACHER}.") for name in state):
            return dict(state)
        return {**state, **{f"{TEACHER}.{name}": value for name, value in state.items()}}

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Compute the weighted losses of a training batch (see :class:`SetCriterion`)."""
        features, padding, targets = self.lesson(batched_inputs)
        decoded = self.decode(features, padding, items=batched_inputs)
        return self.criterion(*self.predictions(decoded, batched_inputs), targets)

    def lesson(self, batched_inputs: list[dict]) -> tuple[dict[str, Tensor], Padding | None, list[Target]]:
        """Let the teacher name what has no labels in a training batch.

        Returns:
            CLIP's features of what the student sees, which part of them is image, and the targets of each image.
        """
        weak = self.training_batch(batched_inputs)
        features = self.clip_features(weak.images, weak.padding)
        targets = self.taught_targets(batched_inputs, features, weak.padding)
        if self.mean_teacher.strength:
            strong = self._strong(batched_inputs)
            features = self.clip_features(strong.images, strong.padding)
        return features, weak.padding, targets

    @torch.no_grad()
    def taught_targets(
        self, items: Sequence[Mapping], features: Mapping[str, Tensor], padding: Padding | None
    ) -> list[Target]:
        """Return the ground truth of each image together with what the teacher names.

        Args:
            items: Of the batch.
            features: Of CLIP, of the weak view.
            padding: Which part of the features is image; None: all.
        """
        targets = self.targets(items)
        unlabeled = self.classes.training.unlabeled
        found = self.teacher.decode(features, padding, return_aux=False)
        dense = features["clip_vis_dense"]
        of_image = dense.split(1) if padding is None else list(padding.crops(dense))
        taught = []
        for item, target, queries, regions in zip(items, targets, found.images(), of_image):
            if self.is_replayed(item):
                taught.append(target)  # it has labels of all classes
                continue
            masks = torch.einsum("qc,chw->qhw", queries.mask_embed.float(), queries.mask_features.float())
            scores = queries.logits
            if self.mean_teacher.ensemble:
                scores = self.teacher.class_scores(scores[None], masks[None], regions, self.classes.of(item))[0]
            cells = (masks.shape[-2], masks.shape[-1])
            settings = self._in_cells()
            shown = teach(scores, masks, free_share(target, cells), unlabeled, settings)
            taught.append(with_taught(target, shown, scores.shape[-1], settings.weight))
        return taught

    def _in_cells(self) -> TeachingSettings:
        """Return the settings with areas in cells of the mask logits."""
        s = self.teaching
        return TeachingSettings(s.weight, s.min_confidence, -(-s.min_area // _STRIDE**2), s.min_visible)

    def _strong(self, items: Sequence[Mapping]) -> TrainingBatch:
        return self.training_batch([{**item, "image": self.strong_view(item["image"])} for item in items])

    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """See :meth:`PanopticModel.segment`."""
        predictor = self.predictor()
        if predictor is self:
            return super().segment(features, items, padded)
        return predictor.segment(features, items, padded)

    def predictor(self) -> FCCLIP:
        """Return the model that predicts at test time: the teacher or the student."""
        return self.teacher if self.mean_teacher.prediction == TEACHER else self


def strong_view(strength: float) -> v2.Transform:
    """Return a transform of (3, H, W) uint8 images that moves no pixel: other colors, sometimes gray or blurred.

    Random numbers are torch's, which the trainer seeds in each iteration.

    Args:
        strength: In [0, 1]; 0 changes nothing.
    """
    jitter = v2.ColorJitter(0.4 * strength, 0.4 * strength, 0.4 * strength, 0.1 * strength)
    blur = v2.RandomApply([_Blur(5, (0.1, 0.1 + 1.9 * strength))], 0.5 * float(strength > 0))
    return v2.Compose([jitter, v2.RandomGrayscale(0.2 * strength), blur])


class _Blur(v2.GaussianBlur):
    """Leaves images alone that are too small for the reflection of their border."""

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        reflected = self.kernel_size[0] // 2
        return super().transform(inpt, params) if min(inpt.shape[-2:]) > reflected else inpt
