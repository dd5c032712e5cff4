"""Open-vocabulary segmentation with Detectron2. Importing this package registers its models and datasets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .process import thread_policy

if TYPE_CHECKING:
    from .config import add_zsseg_config
    from .vocabulary import Vocabulary

__version__ = "0.1.0"
__all__ = ["Vocabulary", "add_zsseg_config"]


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


if not getattr(sys.modules.get("zsseg_d2_console"), "importing_a_program", False):
    load()
