"""Open-vocabulary segmentation with Detectron2. Importing this package registers its models and datasets."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from .process import thread_policy

if TYPE_CHECKING:
    from .config import add_zsseg_config
    from .engine.prediction.predictor import Predictor
    from .vocabulary import Vocabulary

__version__ = "0.1.0"
__all__ = ["Predictor", "Vocabulary", "add_zsseg_config"]

_LAZY = {"Predictor": "zsseg_d2.engine.prediction.predictor"}  # what an import of the package need not load


def load() -> None:
    """Import torch and Detectron2, and register models and datasets.

    Importing the package does this, except while ``zsseg_d2_console`` imports a program: that parses its arguments
    first, so that ``--help`` does not wait for torch.
    """
    with thread_policy():
        import torch  # noqa: F401

    from . import compat

    compat.apply()

    from . import data, meta_arch, modeling  # noqa: F401  (they register themselves)
    from .config import add_zsseg_config
    from .vocabulary import Vocabulary

    globals().update(add_zsseg_config=add_zsseg_config, Vocabulary=Vocabulary)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


if not getattr(sys.modules.get("zsseg_d2_console"), "importing_a_program", False):
    load()
