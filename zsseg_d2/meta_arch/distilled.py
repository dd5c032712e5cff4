"""Knowledge distillation: a student with labels of some classes, a frozen zero-shot teacher for the others."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..class_sets import deleted_classes, distilled_classes
from ..modeling.distillation import class_distillation, mask_distillation, out_queries
from ..modeling.fcclip.criterion import sample_points
from ..modeling.fcclip.matcher import pair_queries
from .fcclip import FCCLIP, DecoderOutput


@META_ARCH_REGISTRY.register()
class DistilledFCCLIP(FCCLIP):
    """FC-CLIP with a frozen teacher of its own weights over the same CLIP; at test time, and in checkpoints, the student.

    ``loss_distill`` compares the class logits of paired queries after the last layer; ``loss_distill_mask`` the
    student's masks with those of the teacher's queries that name a deleted class.
    """

    frozen_parts = ("teacher",)

    @configurable
    def __init__(self, *, compared: tuple[int, ...] | None, deleted: tuple[int, ...], **student) -> None:
        """
        Args:
            compared: contiguous ids whose logits are compared; None: all and void. deleted: those of the deleted classes.
            student: of :class:`FCCLIP`.
        """
        super().__init__(**student)
        self.teacher = self.with_shared_backbone().requires_grad_(False).eval()
        self.compared = compared
        self.deleted = deleted

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {"compared": distilled_classes(cfg), "deleted": deleted_classes(cfg), **FCCLIP.from_config(cfg)}

    @staticmethod
    def part_weights(cfg: CfgNode) -> dict[str, tuple[str, str]]:
        """Submodule -> (config key, file) of the weights that it starts from."""
        return {"teacher": ("ZSSEG.DISTILLATION.TEACHER_WEIGHTS", cfg.ZSSEG.DISTILLATION.TEACHER_WEIGHTS)}

    def train(self, mode: bool = True) -> DistilledFCCLIP:
        """The teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Weighted losses of a training batch; CLIP sees it once."""
        batches = self.padded_batches(batched_inputs)
        features = [self.backbone(images) for _, images in batches]
        decoded = self.decode(features)
        losses = self.criterion(*self.predictions(decoded), self.targets(batched_inputs, batches))
        with torch.no_grad():
            teacher_outputs = self.teacher.decode(features, return_aux=False)
        return {**losses, **self._distillation(decoded, teacher_outputs)}

    def _distillation(self, decoded: list[DecoderOutput], teacher_outputs: list[DecoderOutput]) -> dict[str, Tensor]:
        settings = self.cfg.ZSSEG.DISTILLATION
        class_logits, teacher_logits, masks, teacher_masks = [], [], [], []
        with torch.autocast(self.device.type, enabled=False):  # sums over points are beyond half precision
            for student, teacher in zip(decoded, teacher_outputs):
                images = zip(
                    *(t for d in (student, teacher) for t in (d.logits[-1], d.mask_embed[-1], d.mask_features))
                )
                for logits, embed, features, logits_t, embed_t, features_t in images:
                    if settings.MASK_WEIGHT or settings.PAIRING == "hungarian":
                        points = torch.rand(1, self.criterion.num_points, 2, device=self.device)
                        own = embed.float() @ sample_points(features[None].float(), points)[0]
                        wanted = embed_t.float() @ sample_points(features_t[None].float(), points)[0]
                        if settings.PAIRING == "hungarian":
                            order = pair_queries(logits, logits_t, own, wanted)
                            logits_t, wanted = logits_t[order], wanted[order]
                        chosen = out_queries(logits_t, self.deleted)
                        masks.append(own[chosen])
                        teacher_masks.append(wanted[chosen])
                    class_logits.append(logits)
                    teacher_logits.append(logits_t)
            losses = {
                "loss_distill": settings.WEIGHT
                * class_distillation(
                    torch.cat(class_logits),
                    torch.cat(teacher_logits),
                    self.compared,
                    settings.LOSS,
                    settings.TEMPERATURE,
                )
            }
            if settings.MASK_WEIGHT:
                entropy, dice = mask_distillation(torch.cat(masks), torch.cat(teacher_masks))
                losses["loss_distill_mask"] = settings.MASK_WEIGHT * (entropy + dice)
        return losses
