"""Check a suite's configs, weights and datasets before any work."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ..data.errors import DatasetError
from ..engine.checkpoints.sources import local_weights, weights_to_read
from ..engine.config.setup import setup_cfg
from ..engine.datasets import every_test, every_training, find_dataset
from ..engine.errors import CheckpointError, ConfigError
from ..engine.referring_task import is_referring
from ..engine.training.plateau import PLATEAU, plateau_dataset
from ..files import PREFIX, local_path
from .runs import RunJob, Suite


def check_configs(suite: Path, jobs: Sequence[RunJob], *, check: bool = True) -> dict[str, CfgNode]:
    """Set up the config of each run as the run will do it.

    Args:
        suite: the suite file, for messages.
        check: look for contradictions, too.
    Returns:
        Configs by name of the run.
    Raises:
        ConfigError: naming file and run.
    """
    configs: dict[str, CfgNode] = {}
    for job in jobs:
        if job.run.config and job.name not in configs:
            args = argparse.Namespace(config_file=job.run.config, opts=job.options, eval_only=not job.trains)
            try:
                configs[job.name] = setup_cfg(args, check=check)
            except ConfigError as error:
                raise ConfigError(f"{suite}: run '{job.name}': {error}") from error
    return configs


def check_held_out(suite: Suite, configs: Mapping[str, CfgNode]) -> None:
    """Check that nothing is trained or chosen on the suite's test set.

    Evaluations on the way, curves over alpha and the best row are read from DATASETS.TEST, and a schedule may follow a
    dataset of its own.

    Raises:
        ConfigError: naming the run and the key.
    """
    for run in suite.runs:
        if suite.test and any(re.search(rf"\b{re.escape(suite.test)}\b", word) for word in run.arguments):
            raise ConfigError(
                f"run '{run.name}': arguments={list(run.arguments)}: '{suite.test}' is the `test` set of {suite.path}, "
                "from which nothing is made. Fix: name a training or a validation set."
            )
    for name, cfg in configs.items():
        for key, datasets in (("DATASETS.TRAIN", every_training(cfg)), ("DATASETS.TEST", cfg.DATASETS.TEST)):
            if suite.test and suite.test in datasets:
                raise ConfigError(
                    f"run '{name}': {key}={list(datasets)}: '{suite.test}' is the `test` set of {suite.path}, on which "
                    "nothing is trained or chosen. Fix: name a validation set; the test set is evaluated at the end."
                )
        decides = plateau_dataset(cfg) if cfg.SOLVER.LR_SCHEDULER_NAME == PLATEAU else ""
        if suite.test and suite.test == decides:
            raise ConfigError(
                f"run '{name}': SOLVER.PLATEAU.DATASET={decides}: this is the `test` set of {suite.path}, which "
                "decides no learning rate. Fix: name a validation set; the test set is evaluated at the end."
            )


def check_weights(configs: Mapping[str, CfgNode], output: Path) -> None:
    """Check that the weights files that no run of the suite makes are there.

    Args:
        output: the suite's folder: what lies in it, runs make.
    Raises:
        ConfigError: naming the run, the key and the remedy.
    """
    for name, cfg in configs.items():
        for key, path in weights_to_read(cfg).items():
            if not made_elsewhere(path, output):
                continue
            try:
                local_weights(path, key, phrases=is_referring(cfg))
            except CheckpointError as error:
                raise ConfigError(f"run '{name}': {error}") from error


def made_elsewhere(path: str, output: Path) -> bool:
    """Return whether weights are a file that must exist before the suite runs: not downloaded, nor made by a run."""
    fetched = "://" in path and not path.startswith(PREFIX)
    return not fetched and output.resolve() not in local_path(path).resolve().parents


def check_data(jobs: Sequence[RunJob], configs: Mapping[str, CfgNode]) -> None:
    """Check that the folders and the JSON of every dataset that a run reads are there; each is looked at once.

    Datasets that an earlier run makes, or that are rendered at their first use, need not be there.

    Raises:
        ConfigError: naming the run, the key, the dataset and the remedy.
    """
    found: set[str] = set()
    for job in jobs:
        cfg = configs.get(job.name)
        if cfg is None or job.run.is_step:
            continue
        training = every_training(cfg) if job.trains else ()
        for key, names in (("DATASETS.TRAIN", training), ("DATASETS.TEST", every_test(cfg))):
            for name in names:
                if name not in found and not _made_before(name, job):
                    try:
                        find_dataset(name)
                    except (DatasetError, OSError) as error:
                        raise ConfigError(f"run '{job.name}': {key}: {name}: {error}") from error
                    found.add(name)


def _made_before(name: str, job: RunJob) -> bool:
    """Return whether a step that the job builds on makes the dataset: its `result` lies in the dataset's folder.

    A step without a `result` may have made any.
    """
    place = MetadataCatalog.get(name).get("panoptic_json")
    inside = Path(place).resolve().parents if place else ()
    for step in (origin for origin in job.origins.values() if origin is not job and origin.run.is_step):
        result = step.result and step.result.resolve()
        if result is None or result in inside or (result.suffix and result.parent in inside):
            return True
    return False
