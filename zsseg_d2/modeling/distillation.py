"""Knowledge distillation between paired queries of a teacher and a student (Hinton et al. 2015). Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .fcclip.set_losses import mask_losses
from .processes import mean_number


def class_distillation(
    student: Tensor, teacher: Tensor, classes: Sequence[int] | None, loss: str = "mse", temperature: float = 2.0
) -> Tensor:
    """Compute how far the student's class logits are from the teacher's, as a mean over queries.

    With several processes it is the mean over the queries of all; see :func:`mask_distillation`.

    ``mse``: mean square difference of logits, over all entries or those of ``classes``. ``kl``: T² · KL(teacher ‖
    student) of softmax(z / T); with ``classes``, all other entries, void among them, count as one.

    Args:
        student, teacher: (M, K + 1) logits of paired queries; M may be 0.
        classes: contiguous ids to compare; None: all and void.

    Returns:
        () loss.

    Raises:
        ValueError: ``loss`` is unknown.
    """
    if loss not in ("mse", "kl"):
        raise ValueError(f"ZSSEG.DISTILLATION.LOSS={loss!r}: there is no such loss. Fix: choose 'mse' or 'kl'.")
    number = mean_number(len(student), student.device)
    if not len(student):
        return student.sum() * 0
    share = len(student) / number
    student, teacher = student.float(), teacher.float()
    if loss == "mse":
        if classes is None:
            return F.mse_loss(student, teacher) * share
        chosen = torch.tensor(list(classes), device=student.device)
        return F.mse_loss(student[:, chosen], teacher[:, chosen]) * share
    student, teacher = (_grouped((z / temperature).log_softmax(-1), classes) for z in (student, teacher))
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2 * share


def _grouped(log_probabilities: Tensor, classes: Sequence[int] | None) -> Tensor:
    """(M, K + 1) to (M, len(classes) + 1): those of ``classes``, and the sum of all others last."""
    if classes is None:
        return log_probabilities
    others = [k for k in range(log_probabilities.shape[-1]) if k not in set(classes)]
    rest = log_probabilities[:, others].logsumexp(-1, keepdim=True)
    return torch.cat((log_probabilities[:, list(classes)], rest), -1)


def out_queries(teacher: Tensor, classes: Sequence[int]) -> Tensor:
    """(Q,) bool: queries whose most likely entry, void among them, is one of ``classes``. Logits (Q, K + 1)."""
    return torch.isin(teacher.argmax(-1), torch.tensor(list(classes), device=teacher.device))


def mask_distillation(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Compute binary cross-entropy and dice against the teacher's mask probabilities, each a mean over masks.

    With several processes it is the mean over the masks of all, and the mean of their losses is that of the whole
    batch.

    Args:
        student, teacher: (N, P) mask logits of paired queries at the same points; N may be 0.
    """
    number = mean_number(len(student), student.device)
    if not len(student):
        zero = student.sum() * 0
        return zero, zero
    return mask_losses(student.float(), teacher.float().sigmoid(), number)
