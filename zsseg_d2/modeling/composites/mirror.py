"""Images that continue beyond their border as in a mirror."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored_places(start: int, stop: int, side: int, device: torch.device | None = None) -> Tensor:
    """Return which pixel of a row shows at each of the places start … stop - 1, inside and outside of the row.

    As in ``torch.nn.functional.pad(mode="reflect")``, but for any distance and any side.

    Args:
        start: the first place.
        stop: the place after the last one.
        side: pixels of the row.
        device: of the result.

    Returns:
        (stop - start,) int64 in 0 … side - 1.

    Example:
        >>> mirrored_places(-2, 5, 3).tolist()
        [2, 1, 0, 1, 2, 1, 0]
    """
    period = max(1, 2 * (side - 1))
    places = torch.arange(start, stop, device=device) % period
    return torch.minimum(places, period - places).clamp(max=side - 1)
