"""Bridges between versions of Detectron2, NumPy, Pillow and torch; nothing else in the package looks at a version.

Detectron2 v0.5 from the package index is pure Python and older than current NumPy and Pillow. :func:`apply` makes it
importable there, and changes nothing where a real build and matching versions are present.
"""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings

import numpy as np
import torch
from PIL import Image

_NO_BUILD = "none (pure-Python Detectron2)"
_MISSING_OPERATOR = (
    "Detectron2's compiled operator '{}' is not available: this is the pure-Python Detectron2 of the package index. "
    "zsseg_d2 does not need it; for other models install a source build of Detectron2 (README, 'Installing')."
)


def _stub_extension() -> types.ModuleType:
    """A stand-in for ``detectron2._C`` that imports, answers the environment report, and refuses operator calls."""
    module = types.ModuleType("detectron2._C")
    answers = {"get_compiler_version": _NO_BUILD, "get_cuda_version": _NO_BUILD, "has_cuda": False}
    for question, answer in answers.items():
        setattr(module, question, lambda answer=answer: answer)

    def __getattr__(name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_args, **_kwargs):
            raise RuntimeError(_MISSING_OPERATOR.format(name))

        return missing

    vars(module)["__getattr__"] = __getattr__
    return module


def _restore_names() -> None:
    """Give back the aliases that Detectron2 v0.5 uses and current NumPy and Pillow dropped."""
    for name, target in (("int", int), ("float", float), ("object", object), ("bool", np.bool_)):
        if name not in np.__dict__:
            setattr(np, name, target)
    if not hasattr(Image, "LINEAR"):
        vars(Image)["LINEAR"] = Image.Resampling.BILINEAR


def _provide_pkg_resources() -> None:
    """Detectron2 v0.5's model zoo imports ``pkg_resources``, which setuptools no longer ships."""
    if "pkg_resources" in sys.modules or importlib.util.find_spec("pkg_resources") is not None:
        return
    from importlib import resources

    module = types.ModuleType("pkg_resources")
    vars(module)["resource_filename"] = lambda package, name: str(resources.files(package).joinpath(name))
    sys.modules["pkg_resources"] = module


def apply() -> None:
    """Make the installed Detectron2 importable. Safe to call more than once; changes nothing where a real build is
    installed.

    Raises:
        ImportError: Detectron2 is not installed; the message says how to install it.
    """
    if importlib.util.find_spec("detectron2") is None:
        raise ImportError(
            "zsseg_d2 needs Detectron2, which is not installed. Run `make install`, or see README, 'Installation'."
        )
    # iopath and torch.jit warn about themselves while Detectron2 is imported; the user can do nothing about it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import detectron2

        # A compiled module that is there but does not load is the user's to repair, and its own error says more.
        if "detectron2._C" not in sys.modules and importlib.util.find_spec("detectron2._C") is None:
            _restore_names()
            _provide_pkg_resources()
            extension = _stub_extension()
            sys.modules["detectron2._C"] = extension
            detectron2._C = extension
        import detectron2.evaluation
        import detectron2.modeling


def silence_known_warnings() -> None:
    """Silence warnings that the installed Detectron2 causes in every program, and that a user can do nothing about."""
    warnings.filterwarnings("ignore", message=r".*torch\.cuda\.amp\..* is deprecated.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r".*TypedStorage is deprecated.*", category=UserWarning)  # in its comm


def default_device() -> str:
    """``"cuda"`` where torch sees a CUDA device, else ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """What ``torch.autocast`` turns matrix products into now, or None where it is off."""
    if hasattr(torch, "get_autocast_dtype"):  # torch 2.4
        return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
    if device.type == "cuda":
        return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
    return torch.get_autocast_cpu_dtype() if device.type == "cpu" and torch.is_autocast_cpu_enabled() else None
