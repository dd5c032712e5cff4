"""Config files, training, evaluation and checkpoints, for any model."""

from .checkpoints.checkpointer import ZssegCheckpointer
from .config.setup import find_config, setup_cfg
from .evaluators import EVALUATOR_REGISTRY
from .errors import CheckpointError, ConfigError
from .run import run
from .training.solver import build_optimizer
from .training.trainer import Trainer

__all__ = [
    "EVALUATOR_REGISTRY",
    "CheckpointError",
    "ConfigError",
    "Trainer",
    "ZssegCheckpointer",
    "build_optimizer",
    "find_config",
    "run",
    "setup_cfg",
]
