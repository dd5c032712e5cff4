"""Weights in and out: read without running code, compared name by name, written whole or not at all."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.file_io import PathManager
from torch import Tensor, nn

from ...compat import load_weights
from ...files import atomic_path
from ...modeling.referring.clipseg_weights import from_transformers
from ..errors import CheckpointError
from .weight_arithmetic import CLIP, CONSTANTS, PARTS, kind_of

logger = logging.getLogger(__name__)

_CLIP = "backbone.clip_model"
_QUERIES = "predictor.query_feat.weight"
_CONVERT = (
    "python -c \"import pickle, torch; w = pickle.load(open('{0}', 'rb'), encoding='latin1'); w = w.get('model', w); "
    "torch.save({{k: torch.as_tensor(v) for k, v in w.items()}}, '{1}')\""
)


class ZssegCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer for models with a frozen CLIP.

    ``.pth``/``.pt`` files are read without running code, and ``.safetensors``; pickles are refused. The frozen
    ``backbone.clip_model.*`` is left out when saving, as FC-CLIP's released checkpoints do, and not missed when loading.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_frozen: bool = False,
        frozen_parts: bool = True,
        **checkpointables,
    ) -> None:
        """
        Args:
            save_frozen: save the frozen CLIP too: for random CLIP weights, which no other file holds.
            frozen_parts: read the weights of frozen parts, such as a teacher; an evaluation has no use for them.
        """
        super().__init__(model, save_dir, **checkpointables)
        self.save_frozen = save_frozen
        self.frozen_parts = frozen_parts
        self._clip: dict[str, Tensor] = {}

    # saving

    def save(self, name: str, **kwargs) -> None:
        """Write ``save_dir/name.pth`` and point ``last_checkpoint`` to it; an interruption leaves the old files."""
        if not self.save_dir or not self.save_to_disk:
            return
        left_out = _frozen_parts(self.model)
        left_out += () if self.save_frozen else tuple(frozen_clip_prefixes(self.model))
        state = {k: v for k, v in self.model.state_dict().items() if not k.startswith(left_out)}
        data = {"model": state, **{key: item.state_dict() for key, item in self.checkpointables.items()}, **kwargs}
        path = Path(self.save_dir) / f"{name}.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as beside:
            torch.save(data, beside)
        self.tag_last_checkpoint(path.name)
        logger.info("Saved %s", path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with atomic_path(Path(self.save_dir) / "last_checkpoint") as beside:
            beside.write_text(last_filename_basename, encoding="utf-8")

    # loading

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict:
        """Load weights, and the states named in `checkpointables` (None: all that the file has).

        A model of several parts takes each part's own file where `path` is empty, and a frozen part's always.

        Raises:
            CheckpointError: a file cannot be had or read, or does not fit the model.
        """
        frozen = _frozen_parts(self.model)
        for part, (key, own_path) in part_weights(self.model).items():
            if self.frozen_parts if f"{part}." in frozen else not path:
                self._load_part(part, key, own_path)
        if not path:
            if not part_weights(self.model) or frozen:
                logger.info("MODEL.WEIGHTS is empty: the model starts from random weights.")
            return {}
        return super().load(local_weights(path), checkpointables)

    def _load_part(self, part: str, key: str, path: str) -> None:
        if not path:
            raise CheckpointError(f"{key} is empty: {type(self.model).__name__} needs weights for its '{part}'.")
        state = read_checkpoint(local_weights(path, key))["model"]
        if kind_of(state) == "combined":
            raise CheckpointError(
                f"{key}: '{path}' holds two models; split it first: python tools/combined_weights.py split {path}"
            )
        clip = {k: v for k, v in state.items() if k.startswith(CLIP)}
        if any(not torch.equal(v, clip[k]) for k, v in self._clip.items() if k in clip):
            raise CheckpointError(f"{key}: '{path}' holds another CLIP than the other model's file; both share one.")
        self._clip.update(clip)
        logger.info("%s starts from %s", part, path)
        with _telling(f"{key}: '{path}': "):
            load_state(self.model.get_submodule(part), state)

    def _load_file(self, filename: str) -> dict:
        return read_checkpoint(filename)

    def _load_model(self, checkpoint: dict) -> None:
        try:
            state = from_transformers(checkpoint.pop("model"))
        except ValueError as error:
            raise CheckpointError(f"MODEL.WEIGHTS: {error}") from error
        two = tuple(f"{part}." for part in part_weights(self.model)) == PARTS
        if two and kind_of(state) == "single":
            raise CheckpointError(
                "MODEL.WEIGHTS is a file of one model, but this architecture has two. Give it as ZSSEG.MODEL_ONE.WEIGHTS or "
                'ZSSEG.MODEL_TWO.WEIGHTS, with MODEL.WEIGHTS "".'
            )
        if two and kind_of(state) != "combined":
            raise CheckpointError("MODEL.WEIGHTS does not hold the weights of two models (model_one.*, model_two.*).")
        if not two and kind_of(state) == "combined":
            raise CheckpointError(
                "MODEL.WEIGHTS is a file of two models, but this architecture has one. Split it first: "
                "python tools/combined_weights.py split <file>"
            )
        load_state(self.model, state)


def part_weights(model: nn.Module) -> dict[str, tuple[str, str]]:
    """Submodule -> (config key, file) of the parts that have weights of their own; empty for a single model."""
    return dict(getattr(model, "initial_weights", {}))


def weights_to_read(cfg: CfgNode, *, eval_only: bool = False, resume: bool = False) -> dict[str, str]:
    """Config key -> file, for all weights that a model of `cfg` starts from.

    A teacher takes no part in an evaluation; a training that is resumed starts from its own checkpoint, and the teacher.
    """
    files = {"MODEL.WEIGHTS": cfg.MODEL.WEIGHTS} if cfg.MODEL.WEIGHTS and not resume else {}
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    frozen = getattr(architecture, "frozen_parts", ())
    for part, (key, path) in getattr(architecture, "part_weights", lambda _: {})(cfg).items():
        needed = not eval_only if part in frozen else not (cfg.MODEL.WEIGHTS or resume)
        if needed:
            files[key] = path
    return files


def _frozen_parts(model: nn.Module) -> tuple[str, ...]:
    """State-dict prefixes of submodules that are never trained nor saved, such as a teacher."""
    return tuple(f"{part}." for part in getattr(model, "frozen_parts", ()))


@contextmanager
def _telling(prefix: str) -> Iterator[None]:
    """Puts `prefix` before the message of a :class:`CheckpointError`."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{prefix}{error}") from error


def local_weights(path: str, key: str = "MODEL.WEIGHTS") -> str:
    """The local file of a path, of an address (downloaded into iopath's cache), or of ``zsseg_d2://…``.

    Args:
        key: the config key that named it, for messages.
    Raises:
        CheckpointError: there is no such file, or it cannot be fetched.
    """
    try:
        local = PathManager.get_local_path(path)
    except Exception as error:
        logger.debug("get_local_path failed", exc_info=True)
        raise CheckpointError(
            f"The weights '{path}' could not be fetched ({type(error).__name__}: {error}). Download them on a machine "
            f"with a network and give the local file: {key} /path/to/file.pth"
        ) from error
    local = os.path.expanduser(local)
    if not os.path.isfile(local):
        raise CheckpointError(f"{key}: there are no weights '{path}' ({os.path.abspath(local)}). {_remedy(path, key)}")
    return local


def _remedy(path: str, key: str) -> str:
    """How weights that are missing are had: by a training whose config says where they go, or from FC-CLIP's list."""
    from ..config.setup import packaged_configs  # which imports this module

    config = Path("configs", *Path(path).parts[1:-1]).with_suffix(".yaml")
    if Path(path).parts[:1] == ("output",) and Path(*config.parts[1:]).as_posix() in packaged_configs():
        return f"They are made by `python tools/train_net.py --config-file {config}`; or give their place: {key} /path/to/file.pth."
    return (
        "Released FC-CLIP weights are listed under 'Model Zoo' at https://github.com/bytedance/fc-clip; put the file there, or "
        f"give its place: {key} /path/to/file.pth."
        + (' MODEL.WEIGHTS "" starts from random weights.' if key == "MODEL.WEIGHTS" else "")
    )


def frozen_clip_prefixes(model: nn.Module) -> Iterable[str]:
    """The state-dict prefix of every CLIP in the model that has no trainable parameter."""
    for name, module in model.named_modules(remove_duplicate=False):
        if (name == _CLIP or name.endswith("." + _CLIP)) and not any(p.requires_grad for p in module.parameters()):
            yield name + "."


def read_checkpoint(path: str) -> dict:
    """A checkpoint with its weights under ``"model"``.

    Raises:
        CheckpointError: pickle, damaged file, or no weights in it.
    """
    if path.endswith((".pkl", ".pickle")):
        raise CheckpointError(
            f"'{path}' is a pickle, which can run any code when it is read, so it is not. If you trust it, convert it once: "
            + _CONVERT.format(path, os.path.splitext(path)[0] + ".pth")
        )
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            loaded = load_file(path)
        else:
            loaded = load_weights(path)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            str(error) if isinstance(error, RuntimeError) else f"Cannot read '{path}': {error}"
        ) from error
    if isinstance(loaded, Mapping):
        key = next((k for k in ("model", "state_dict") if isinstance(loaded.get(k), Mapping)), None)
        checkpoint = {"model": dict(loaded)} if key is None else {**loaded, "model": dict(loaded[key])}
        if checkpoint["model"] and all(isinstance(v, Tensor) for v in checkpoint["model"].values()):
            return checkpoint
    raise CheckpointError(f"'{path}' holds no weights: expected names and tensors, or those under 'model'.")


def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put weights into a model; what is missing or unexpected is told in one message.

    Args:
        state: names and tensors; a leading ``module.`` is taken off, floating-point tensors take the model's type.
    Raises:
        CheckpointError: no name of `state` is the model's, or a tensor has another shape.
    """
    if state and all(k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    frozen = _frozen_parts(model)
    own = {k: v for k, v in model.state_dict().items() if not k.endswith(CONSTANTS) and not k.startswith(frozen)}
    state = {k: v for k, v in state.items() if not k.endswith(CONSTANTS)}
    fitting = [k for k in state if k in own]
    if not fitting:
        raise CheckpointError(
            "The checkpoint is of another model: none of its names is the model's. "
            f"It has {_summary(state)}; the model has {_summary(own)}."
        )
    queries = next((k for k in fitting if k.endswith(_QUERIES) and state[k].shape[1:] == own[k].shape[1:]), None)
    if queries and len(state[queries]) != len(own[queries]):
        raise CheckpointError(
            f"The checkpoint has {len(state[queries])} queries, but MODEL.MASK_FORMER.NUM_OBJECT_QUERIES is "
            f"{len(own[queries])}."
        )
    misfit = [
        f"{k} {tuple(state[k].shape)}, model {tuple(own[k].shape)}" for k in fitting if state[k].shape != own[k].shape
    ]
    if misfit:
        raise CheckpointError(
            f"{len(misfit)} weights of the checkpoint do not fit the model's shapes: {'; '.join(misfit[:5])}"
            f"{'; …' if len(misfit) > 5 else ''}. The config describes another model than the checkpoint."
        )
    clip = tuple(p for p in frozen_clip_prefixes(model) if not any(k.startswith(p) for k in state))
    missing = [k for k in own if k not in state and not k.startswith(clip) and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in own]
    if clip and getattr(model, "random_clip", False):
        logger.warning(
            "The checkpoint leaves out the frozen CLIP, and MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS is empty: CLIP stays random, "
            "and so do the results. Give CLIP's own weights."
        )
    elif clip:
        logger.info(
            "The checkpoint leaves out the frozen %s*, as expected: they are CLIP's own weights.", "*, ".join(clip)
        )
    if missing or unexpected:
        lines = [f"The checkpoint fits only in part ({len(fitting)} of {len(own)} weights loaded)."]
        lines += [f"  missing, left as initialised: {_summary(missing)}"] if missing else []
        lines += [f"  unexpected, not used: {_summary(unexpected)}"] if unexpected else []
        logger.warning("\n".join(lines))
    cast = {k: state[k].to(own[k].dtype) if own[k].is_floating_point() else state[k] for k in fitting}
    model.load_state_dict(cast, strict=False)


def _summary(names: Iterable[str]) -> str:
    """``"12 in a.b (a.b.c, a.b.d, …), 3 in e.f (…)"``."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(".".join(name.split(".")[:-1][:3]) or name, []).append(name)
    parts = [f"{len(g)} in {k} ({', '.join(g[:2])}{', …' if len(g) > 2 else ''})" for k, g in groups.items()]
    return ", ".join(parts[:8]) + (f", and {len(parts) - 8} more groups" if len(parts) > 8 else "")
