"""Config files, training, evaluation and checkpoints, for any model."""

from .checkpoints.checkpointer import ZssegCheckpointer
from .config.setup import find_config, find_configs, setup_cfg
from .errors import CheckpointError, ConfigError
from .evaluators import EVALUATOR_REGISTRY, build_evaluator
from .run import run
from .training.solver import build_optimizer
from .training.trainer import Trainer

__all__ = [
    "EVALUATOR_REGISTRY",
    "CheckpointError",
    "ConfigError",
    "Trainer",
    "ZssegCheckpointer",
    "build_evaluator",
    "build_optimizer",
    "find_config",
    "find_configs",
    "run",
    "setup_cfg",
]
