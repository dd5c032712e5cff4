"""How near an image lies to what a model was trained on, by the statistics of CLIP's image embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class EmbeddingStatistics(nn.Module):
    """Mean and covariance of the embeddings of a dataset, as buffers ``mean`` (E,) and ``covariance`` (E, E).

    Args:
        width: E.
    """

    mean: Tensor
    covariance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("covariance", torch.eye(width))

    def log_likelihood(self, embeddings: Tensor, shrinkage: float = 0.0) -> Tensor:
        """Compute log N(x; μ, Σ') with Σ' = (1 - s) · Σ + s · tr(Σ) / E · I, in float64.

        Args:
            embeddings: (B, E).
            shrinkage: s in [0, 1]; above 0 it makes the covariance of few images, or of a subspace, invertible.

        Returns:
            (B,) float64.

        Raises:
            ValueError: Σ' is not positive definite.
        """
        covariance, width = self.covariance.double(), len(self.mean)
        spread = covariance.trace() / width * torch.eye(width, dtype=torch.float64, device=covariance.device)
        factor, failed = torch.linalg.cholesky_ex(torch.lerp(covariance, spread, shrinkage))
        if int(failed):
            raise ValueError("The covariance of the embeddings is not positive definite.")
        difference = (embeddings.double() - self.mean.double()).T
        distance = torch.linalg.solve_triangular(factor, difference, upper=False).square().sum(0)
        log_determinant = 2 * factor.diagonal().log().sum()
        return -(distance + log_determinant + width * math.log(2 * math.pi)) / 2


def embedding_statistics(embeddings: Iterable[Tensor]) -> tuple[Tensor, Tensor, int]:
    """Compute mean and covariance (divided by the number of images) in one pass.

    Args:
        embeddings: (B, E) each, made when they are asked for.

    Returns:
        (E,) and (E, E) float64, and the number of images.

    Raises:
        ValueError: There are fewer than two.

    Example:
        >>> embedding_statistics([torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0]])])
        (tensor([3.], dtype=torch.float64), tensor([[2.6667]], dtype=torch.float64), 3)
    """
    count, mean, products = 0, torch.zeros(()), torch.zeros(())
    for part in embeddings:
        for x in part.double().cpu():  # Welford's update, which loses no digits to a large mean
            count += 1
            if count == 1:
                mean, products = torch.zeros_like(x), torch.zeros(len(x), len(x), dtype=x.dtype)
            before = x - mean
            mean = mean + before / count
            products = products + torch.outer(before, x - mean)
    if count < 2:
        raise ValueError(f"{count} images have no covariance.")
    return mean, products / count, count


def share_of_second(first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    """Return softmax([l₁, l₂] / t)₂ (B,) of log-likelihoods (B,): how much more an image is like the second set.

    Example:
        >>> share_of_second(torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3.0)]))
        tensor([0.5000, 0.7500])
    """
    return torch.stack((first, second)).div(temperature).softmax(0)[1]
