"""Arithmetic on weights: WiSE-FT, checkpoints of two models and of mean teachers taken apart. Pure functions.

A state maps names to tensors. An ordinary FC-CLIP checkpoint has ``sem_seg_head.*`` and ``void_embedding.weight``; that
of two models has the same names after ``model_one.`` and ``model_two.``. That of a mean teacher has the student under
these names, and the teacher under the same after ``teacher.``, which only :func:`teacher_of` reads. Most files omit the
frozen ``backbone.clip_model.*``, and no arithmetic touches it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from ..errors import CheckpointError

CLIP = "backbone.clip_model."
CONSTANTS = ("criterion.empty_weight", "pixel_mean", "pixel_std")
"""Ends of names that the config sets, whatever a checkpoint holds: no result contains them."""
PARTS = ("model_one.", "model_two.")
TEACHER = "teacher."

_SINGLE = ("sem_seg_head.", "void_embedding.")
_WRAPPER = "module."  # what DataParallel writes before every name


def kind_of(state: Mapping[str, object]) -> Literal["single", "combined", "other"]:
    """Tell what weights these are, by their names.

    Returns:
        ``"combined"``: of two models; ``"single"``: of one FC-CLIP; ``"other"``: neither, or one half of two models.
    """
    names = [k.removeprefix(_WRAPPER) for k in state]
    in_parts = [any(k.startswith(part) for k in names) for part in PARTS]
    if all(in_parts):
        return "combined"
    return "single" if not any(in_parts) and any(k.startswith(_SINGLE) for k in names) else "other"


def interpolate(
    zero_shot: Mapping[str, Tensor],
    fine_tuned: Mapping[str, Tensor],
    alpha: float,
    *,
    sources: tuple[str, str] = ("the zero-shot weights", "the fine-tuned weights"),
) -> dict[str, Tensor]:
    """WiSE-FT: θ = (1 − α)·θ_ZS + α·θ_FT over the trained parts (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
    models", eq. 1).

    Args:
        alpha: 0 gives the values of `zero_shot`, 1 those of `fine_tuned`, to the last bit.
        sources: what the two are called in messages.
    Returns:
        float32 tensors (float64 where a source is), computed in that type. The frozen CLIP is taken over unchanged from
        whichever has it.
    Raises:
        ValueError: `alpha` is not in [0, 1].
        CheckpointError: see :func:`check_interpolable`.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha}: it must be in [0, 1], from zero-shot to fine-tuned.")
    check_interpolable(zero_shot, fine_tuned, sources=sources)
    start, end = _plain(zero_shot), _plain(fine_tuned)
    clip = {k: _wider(start.get(k, v), end.get(k, v)) for k, v in {**start, **end}.items() if k.startswith(CLIP)}
    return {k: _mix(start[k], v, alpha) for k, v in end.items() if not k.startswith(CLIP)} | clip


def check_interpolable(
    zero_shot: Mapping[str, Tensor], fine_tuned: Mapping[str, Tensor], *, sources: tuple[str, str]
) -> None:
    """
    Raises:
        CheckpointError: the two are not weights of one architecture on one CLIP, or an integer tensor differs.
    """
    for state, source in zip((zero_shot, fine_tuned), sources):
        if kind_of(state) == "combined":
            raise CheckpointError(
                f"{source} is a checkpoint of two models ({PARTS[0]}*, {PARTS[1]}*), and one is needed. Split it "
                "first: python tools/combined_weights.py split CHECKPOINT"
            )
    one, two = _plain(zero_shot), _plain(fine_tuned)
    _check_alike(one, two, sources)
    _check(one, two, lambda a, b: a.is_floating_point() or torch.equal(a, b), sources, "integer tensors that differ")


def split_parts(
    state: Mapping[str, Tensor], source: str = "The checkpoint"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The checkpoint of two models as two ordinary FC-CLIP checkpoints; :func:`join_parts` puts them together again.

    Raises:
        CheckpointError: `state` is not of two models, or has names that belong to neither.
    """
    kind = kind_of(state)
    if kind == "single":
        raise CheckpointError(f"{source} is an ordinary FC-CLIP checkpoint: there is nothing to split.")
    plain = _plain(state)
    rest = [k for k in _unwrapped(state) if not k.startswith(PARTS)]
    if kind == "other" or rest:
        raise CheckpointError(
            f"{source} is not a checkpoint of two models: all names must begin with {PARTS[0]} or {PARTS[1]}, both "
            f"must occur, and it has {_some(rest or plain)}."
        )
    one, two = (_below(part, plain) for part in PARTS)
    return one, two


def teacher_of(state: Mapping[str, Tensor], source: str = "The checkpoint") -> dict[str, Tensor]:
    """Return the teacher in the checkpoint of a mean teacher, alone or as model one of two, as an ordinary checkpoint.

    Raises:
        CheckpointError: There is no teacher in `state`.
    """
    plain = _unwrapped(state)
    teacher = _below(TEACHER, plain) or _below(PARTS[0] + TEACHER, plain)
    if not teacher:
        raise CheckpointError(f"{source} holds no mean teacher: no name begins with {TEACHER} or {PARTS[0]}{TEACHER}")
    return teacher


def join_parts(
    one: Mapping[str, Tensor], two: Mapping[str, Tensor], *, sources: tuple[str, str] = ("model one", "model two")
) -> dict[str, Tensor]:
    """Two ordinary FC-CLIP checkpoints as the checkpoint of two models; :func:`split_parts` takes them apart again.

    Raises:
        CheckpointError: one of them is no ordinary FC-CLIP checkpoint, or they are not of one architecture on one CLIP.
    """
    for state, source in zip((one, two), sources):
        if kind_of(state) != "single":
            what = "already one of two models" if kind_of(state) == "combined" else f"none: it has {_some(state)}"
            raise CheckpointError(f"An ordinary FC-CLIP checkpoint is needed, and {source} is {what}.")
    first, second = _plain(one), _plain(two)
    _check_alike(first, second, sources)
    return {part + k: v for part, state in zip(PARTS, (first, second)) for k, v in state.items()}


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without DataParallel's prefix, constants and a mean teacher."""
    teachers = (TEACHER, *(part + TEACHER for part in PARTS))
    return {k: v for k, v in _unwrapped(state).items() if not k.startswith(teachers)}


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without DataParallel's prefix and without constants."""
    wrapped = bool(state) and all(k.startswith(_WRAPPER) for k in state)
    return {k.removeprefix(_WRAPPER) if wrapped else k: v for k, v in state.items() if not k.endswith(CONSTANTS)}


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _mix(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    if not start.is_floating_point():
        return end
    wide = torch.promote_types(torch.promote_types(start.dtype, end.dtype), torch.float32)
    start, end = start.to(wide), end.to(wide)
    if alpha in (0, 1):  # not by the formula, which turns -0 into 0 and an infinity into NaN
        return end if alpha else start
    return (1 - alpha) * start + alpha * end


def _wider(one: Tensor, two: Tensor) -> Tensor:
    """Return the tensor of the more exact type."""
    return one if torch.promote_types(one.dtype, two.dtype) == one.dtype else two


def _same_values(one: Tensor, two: Tensor) -> bool:
    """Equal, or equal once the more exact one is rounded to the other's type (one file may be in half precision)."""
    if one.dtype != two.dtype and one.is_floating_point():
        wide = _wider(one, two)
        narrow = two if wide is one else one
        return torch.equal(wide.to(narrow.dtype), narrow)
    return torch.equal(one, two)


def _check_alike(one: Mapping[str, Tensor], two: Mapping[str, Tensor], sources: tuple[str, str]) -> None:
    """
    Raises:
        CheckpointError: names, shapes or kinds of number differ, or the frozen CLIP does where both have it.
    """
    alone = [
        f"{len(extra)} names are in {source} alone: {_some(extra)}"
        for source, a, b in zip(sources, (one, two), (two, one))
        if (extra := [k for k in a if k not in b and not k.startswith(CLIP)])
    ]
    if alone:
        raise CheckpointError(f"The weights are not of one architecture. {'; '.join(alone)}.")
    for test, what in (
        (lambda a, b: a.shape == b.shape, "weights of different shapes"),
        (lambda a, b: a.is_floating_point() == b.is_floating_point(), "weights that are integers in one alone"),
    ):
        _check(one, two, test, sources, what)
    clip, other_clip = ({k: v for k, v in state.items() if k.startswith(CLIP)} for state in (one, two))
    _check(
        clip, other_clip, _same_values, sources, "tensors of the frozen CLIP that differ, but both must share one CLIP"
    )


def _check(
    one: Mapping[str, Tensor], two: Mapping[str, Tensor], test: Callable, sources: tuple[str, str], what: str
) -> None:
    bad = [k for k in one if k in two and not test(one[k], two[k])]
    if bad:
        shapes = {k: dict.fromkeys((tuple(one[k].shape), tuple(two[k].shape))) for k in bad}
        shown = [f"{k} {' and '.join(map(str, pair))}" for k, pair in shapes.items()]
        raise CheckpointError(f"{sources[0]} and {sources[1]} have {len(bad)} {what}: {_some(shown)}.")


def _some(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
