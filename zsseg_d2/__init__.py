"""Open-vocabulary segmentation with Detectron2. Importing this package registers its models and datasets."""

from .process import thread_policy

with thread_policy():
    import torch  # noqa: F401

from . import compat

compat.apply()

from . import data, meta_arch, modeling  # noqa: E402, F401  (they register themselves)
from .config import add_zsseg_config  # noqa: E402
from .vocabulary import Vocabulary  # noqa: E402

__version__ = "0.1.0"
__all__ = ["Vocabulary", "add_zsseg_config"]
