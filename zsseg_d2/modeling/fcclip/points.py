"""Points at which masks are compared, in place of all pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_points(maps: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample maps at points.

    Args:
        maps: (B, C, h, w).
        points: (B, P, 2) as (x, y) in [0, 1].

    Returns:
        (B, C, P).
    """
    return F.grid_sample(maps, 2 * points[:, :, None] - 1, mode=mode, align_corners=False)[..., 0]


def uncertain_points(masks: Tensor, number: int, oversample: float, importance: float) -> Tensor:
    """Draw random points, preferring those where the mask is least sure (Kirillov et al. 2020, PointRend, section 3.1).

    Args:
        masks: (N, h, w) logits.
        number: P.

    Returns:
        (N, P, 2) as (x, y) in [0, 1].
    """
    count, device = len(masks), masks.device
    candidates = torch.rand(count, int(number * oversample), 2, device=device)
    uncertainty = -sample_points(masks[:, None], candidates)[:, 0].abs()
    chosen = uncertainty.topk(int(number * importance), dim=1, sorted=False).indices
    points = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat((points, torch.rand(count, number - points.shape[1], 2, device=device)), dim=1)
