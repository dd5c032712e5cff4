"""Config files, training, evaluation and checkpoints: what runs a model, whichever it is."""

from .checkpoint import ZssegCheckpointer
from .config_files import find_config, setup_cfg
from .errors import CheckpointError, ConfigError
from .run import run
from .solver import build_optimizer
from .trainer import Trainer

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Trainer",
    "ZssegCheckpointer",
    "build_optimizer",
    "find_config",
    "run",
    "setup_cfg",
]
