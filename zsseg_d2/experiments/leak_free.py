"""Find which runs are leak-free: no training set behind them has ground truth of a class that counts as Out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from ..class_sets import ClassSets
from ..engine.checkpoints.leaks import data_set_with_labels_of, trained_on
from ..engine.checkpoints.sources import weights_to_read
from ..engine.errors import CheckpointError, ConfigError
from .checks import made_elsewhere
from .runs import RunJob, Suite


def find_leaks(jobs: Sequence[RunJob], configs: Mapping[str, CfgNode], output: Path) -> dict[str, str]:
    """Look at the training sets of every run and of all that it builds on.

    Args:
        jobs: of all runs; seeds do not matter.
        configs: by name of the run.
        output: the suite's folder.
    Returns:
        By name of the run, what it saw, in words; without leak-free runs.
    Raises:
        ConfigError: ZSSEG.OUT_CLASSES names an unknown class.
    """
    found: dict[str, str] = {}
    for job in {job.name: job for job in jobs}.values():
        try:
            leak = _leak(job, configs, output)
        except ValueError as error:
            raise ConfigError(f"run '{job.name}': {error}") from error
        if leak:
            found[job.name] = leak
    return found


def check_claims(suite: Suite, leaks: Mapping[str, str]) -> None:
    """Compare ``leak_free`` in the suite file, where it is given, with what was found.

    Raises:
        ConfigError: they differ.
    """
    for run in suite.runs:
        leak = leaks.get(run.of or run.name)
        if run.leak_free is True and leak:
            raise ConfigError(f"{suite.path}: run '{run.name}' has `leak_free: true`, but {leak}.")
        if run.leak_free is False and leak is None:
            raise ConfigError(
                f"{suite.path}: run '{run.name}' has `leak_free: false`, but no training set of its config, or of the "
                "runs it builds on, has ground truth of an Out class; leave the key out."
            )


def _leak(job: RunJob, configs: Mapping[str, CfgNode], output: Path) -> str | None:
    behind = {j.name: configs[j.name] for j in job.origins.values() if j.name in configs}
    for cfg in [behind[job.name]] if job.name in behind else behind.values():
        for dataset in cfg.DATASETS.TEST:
            out, vocabulary = _out(cfg, dataset), MetadataCatalog.get(dataset).get("vocabulary")
            for name, other in behind.items():
                seen = data_set_with_labels_of(out, vocabulary, _training_sets(other, output))
                if seen:
                    where = "it" if name == job.name else f"'{name}', which it builds on,"
                    classes = ", ".join(vocabulary.names[k] for k in seen[1])
                    truth = f"with ground truth of {classes}, which are Out in its evaluation"
                    return f"{where} was trained on '{seen[0]}', {truth}"
    return None


def _out(cfg: CfgNode, dataset: str) -> list[int]:
    """Return the contiguous ids of ZSSEG.OUT_CLASSES, else of the test set's own Out classes, else of its things.

    Not those that the run's own training set lacks: all rows of a table have to keep the same classes.
    """
    if cfg.ZSSEG.OUT_CLASSES:
        return list(ClassSets.from_config(cfg).requested_out(dataset) or ())
    metadata = MetadataCatalog.get(dataset)
    things = metadata.get("thing_dataset_id_to_contiguous_id", {}).values()
    return list(metadata.get("out_contiguous_ids") or things)


def _training_sets(cfg: CfgNode, output: Path) -> set[str]:
    """Return those of the config, and of the trainings outside the suite whose weights it starts from, if known."""
    names = set(cfg.DATASETS.TRAIN)
    known = cfg.MODEL.META_ARCHITECTURE in META_ARCH_REGISTRY  # a report reads configs that nothing has checked
    for key, path in (weights_to_read(cfg) if known else {}).items():
        if path and made_elsewhere(path, output):
            try:
                names.update(trained_on(path, key))
            except CheckpointError:  # not there, or no longer: no work begins without them
                continue
    return names
