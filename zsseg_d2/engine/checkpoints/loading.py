"""Loading weights into a model: names and shapes are compared, and every difference is reported in one message."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .sources import frozen_parts
from .weight_arithmetic import CONSTANTS, PARTS, TEACHER

logger = logging.getLogger(__name__)

_CLIP = "backbone.clip_model"
_TEACHERS = (TEACHER, PARTS[0] + TEACHER)
_QUERIES = "predictor.query_feat.weight"

State = Mapping[str, Tensor]


def load_state(model: nn.Module, state: State, *, strict: bool = True) -> None:
    """Load weights into a model; log in one message which are missing or unexpected.

    Args:
        model: receives the weights. Frozen parts, such as a teacher, are left alone.
        state: names and tensors. A leading ``module.`` is removed; floating-point tensors take the model's type.
        strict: refuse weights with missing tensors, tensors of another kind of number, or values that are not finite;
            else these are warnings, and tensors of another kind are left out.

    Raises:
        CheckpointError: `state` shares no name with the model, a tensor has another shape, or see `strict`.
    """
    state = _clean(state)
    frozen = frozen_parts(model)
    own = {k: v for k, v in model.state_dict().items() if not k.endswith(CONSTANTS) and not k.startswith(frozen)}
    state = _without_teacher(state, own)
    fitting = [name for name in state if name in own]
    if not fitting:
        raise CheckpointError(
            "The checkpoint is of another model: the two have no name in common. "
            f"It has {_summary(state)}; the model has {_summary(own)}."
        )
    _check_queries(state, own, fitting)
    _check_shapes(state, own, fitting)
    fitting = _of_same_kind(state, own, fitting, strict)
    left_out = _report_clip(model, state)
    _report_differences(state, own, fitting, left_out, strict)
    cast = {k: state[k].to(own[k].dtype) for k in fitting}
    _check_finite(cast, strict)
    model.load_state_dict(cast, strict=False)


def frozen_clip_prefixes(model: nn.Module) -> Iterator[str]:
    """Yield the state-dict prefix of every CLIP in the model without a trainable parameter."""
    for name, module in model.named_modules(remove_duplicate=False):
        if (name == _CLIP or name.endswith("." + _CLIP)) and not any(p.requires_grad for p in module.parameters()):
            yield name + "."


def _clean(state: State) -> dict[str, Tensor]:
    """Remove DataParallel's prefix and constants that the config sets."""
    return {name: value for name, value in unwrapped(state).items() if not name.endswith(CONSTANTS)}


def unwrapped(state: State) -> dict[str, Tensor]:
    """Remove DataParallel's prefix ``module.`` where all names have it."""
    wrapped = bool(state) and all(k.startswith("module.") for k in state)
    return {k.removeprefix("module.") if wrapped else k: value for k, value in state.items()}


def _without_teacher(state: dict[str, Tensor], own: State) -> dict[str, Tensor]:
    """Leave out the teacher of a mean teacher's checkpoint, where the model has none, and say so."""
    left_out = {k for k in state if k.startswith(_TEACHERS) and k not in own}
    if left_out:
        logger.warning(
            "These are weights of a mean teacher: its student is read. If its teacher is wanted, write that to a file "
            "first: python tools/combined_weights.py teacher <file>"
        )
    return {k: v for k, v in state.items() if k not in left_out}


def _check_queries(state: State, own: State, fitting: Iterable[str]) -> None:
    """Name the config key where the number of queries alone differs."""
    for name in fitting:
        if name.endswith(_QUERIES) and state[name].shape[1:] == own[name].shape[1:]:
            if len(state[name]) != len(own[name]):
                raise CheckpointError(
                    f"The checkpoint has {len(state[name])} queries, but MODEL.MASK_FORMER.NUM_OBJECT_QUERIES is "
                    f"{len(own[name])}."
                )
            return


def _check_shapes(state: State, own: State, fitting: Iterable[str]) -> None:
    misfit = [
        f"{k} {tuple(state[k].shape)}, model {tuple(own[k].shape)}" for k in fitting if state[k].shape != own[k].shape
    ]
    if misfit:
        raise CheckpointError(
            f"{len(misfit)} weights of the checkpoint do not fit the model's shapes: {'; '.join(misfit[:5])}"
            f"{'; …' if len(misfit) > 5 else ''}. The config describes another model than the checkpoint. "
            "Fix: give the config of the checkpoint, or the checkpoint of the config."
        )


def _of_same_kind(state: State, own: State, fitting: list[str], strict: bool) -> list[str]:
    """Return the names whose tensors are floating-point numbers, or not, in both."""
    other = [k for k in fitting if state[k].is_floating_point() != own[k].is_floating_point()]
    if other:
        types = f"{other[0]} is {str(state[other[0]].dtype)[6:]}, in the model {str(own[other[0]].dtype)[6:]}"
        _refuse(f"{len(other)} weights of the checkpoint are of another kind of number: {types}.", strict)
    return [k for k in fitting if k not in other]


def not_finite(state: State) -> list[str]:
    """Return the names of tensors with an infinity or NaN."""
    return [k for k, v in state.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]


def _check_finite(state: State, strict: bool) -> None:
    bad = not_finite(state)
    if bad:
        _refuse(
            f"{len(bad)} weights of the checkpoint have values that are not finite: {_summary(bad)}. They come from a "
            "training that diverged, or the file is damaged.",
            strict,
        )


def _refuse(message: str, strict: bool) -> None:
    """Raise, or warn where ZSSEG.STRICT_WEIGHTS is off."""
    if strict:
        raise CheckpointError(
            f"{message} Fix: give the file that belongs to this config; ZSSEG.STRICT_WEIGHTS False takes what fits."
        )
    logger.warning(message)


def _report_clip(model: nn.Module, state: State) -> tuple[str, ...]:
    """Return the prefixes of frozen CLIPs that the checkpoint omits; warn if they are random."""
    left_out = tuple(prefix for prefix in frozen_clip_prefixes(model) if not any(k.startswith(prefix) for k in state))
    cfg = getattr(model, "cfg", None)
    if left_out and cfg is not None and not cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS:
        logger.warning(
            "The checkpoint omits the frozen CLIP, and MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS is empty: CLIP stays "
            "random, and so do the results. Fix: give CLIP's own weights."
        )
    elif left_out:
        logger.info("The checkpoint omits the frozen %s*, as expected: CLIP has its own weights.", "*, ".join(left_out))
    return left_out


def _report_differences(state: State, own: State, fitting: list[str], left_out: tuple[str, ...], strict: bool) -> None:
    missing = [
        k for k in own if k not in state and not k.startswith(left_out) and not k.endswith("num_batches_tracked")
    ]
    unexpected = [k for k in state if k not in own]
    if missing or unexpected:
        lines = [f"The checkpoint fits only in part ({len(fitting)} of {len(own)} weights loaded)."]
        lines += [f"  missing, left as initialised: {_summary(missing)}"] if missing else []
        lines += [f"  unexpected, not used: {_summary(unexpected)}"] if unexpected else []
        if missing:
            _refuse("\n".join(lines), strict)
        else:
            logger.warning("\n".join(lines))


def _summary(names: Iterable[str]) -> str:
    """Group names: ``"12 in a.b (a.b.c, a.b.d, …), 3 in e.f (…)"``."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(".".join(name.split(".")[:-1][:3]) or name, []).append(name)
    parts = [f"{len(g)} in {k} ({', '.join(g[:2])}{', …' if len(g) > 2 else ''})" for k, g in groups.items()]
    return ", ".join(parts[:8]) + (f", and {len(parts) - 8} more groups" if len(parts) > 8 else "")
