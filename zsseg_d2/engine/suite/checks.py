"""What can be told about a suite's configs before any work."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from ...files import PREFIX, local_path
from ..checkpoint import local_weights, weights_to_read
from ..config_files import setup_cfg
from ..errors import CheckpointError, ConfigError
from .jobs import Job


def check_configs(jobs: Sequence[Job]) -> dict[str, CfgNode]:
    """Set up the config of each run as the run will do it.

    Returns:
        Configs by name of the run.
    Raises:
        ConfigError: naming the run.
    """
    configs: dict[str, CfgNode] = {}
    for job in jobs:
        if job.spec.config and job.spec.name not in configs:
            args = argparse.Namespace(config_file=job.spec.config, opts=job.options, eval_only=not job.spec.trains)
            try:
                configs[job.spec.name] = setup_cfg(args)
            except ConfigError as error:
                raise ConfigError(f"run '{job.spec.name}': {error}") from error
    return configs


def check_weights(configs: dict[str, CfgNode], output: Path) -> None:
    """Weights files that no run of the suite makes are there.

    Args:
        output: the suite's folder: what lies in it, runs make.
    Raises:
        ConfigError: naming the run, the key and the remedy.
    """
    for name, cfg in configs.items():
        for key, path in weights_to_read(cfg).items():
            fetched = "://" in path and not path.startswith(PREFIX)
            if fetched or output.resolve() in local_path(path).resolve().parents:
                continue
            try:
                local_weights(path, key)
            except CheckpointError as error:
                raise ConfigError(f"run '{name}': {error}") from error
