"""Find which runs are leak-free: no training set behind them has ground truth of a class that counts as Out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from ..class_sets import ClassSets
from ..engine.checkpoints.provenance import Provenance, Step, provenance_of, training_set
from ..engine.checkpoints.sources import weights_to_read
from ..engine.datasets import every_training
from ..engine.errors import ConfigError
from ..files import local_path
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


def find_unknown(jobs: Sequence[RunJob], configs: Mapping[str, CfgNode], output: Path) -> dict[str, str]:
    """Find runs that build on weights of which it is not known what they were trained on.

    Args:
        jobs: of all runs; seeds do not matter.
        configs: by name of the run.
        output: the suite's folder.

    Returns:
        By name of the run, the path of those weights.
    """
    found: dict[str, str] = {}
    for job in {job.name: job for job in jobs}.values():
        for name in _behind(job, configs):
            for path, origin in _weights_from_outside(configs[name], output).items():
                if not origin.complete:
                    found.setdefault(job.name, path)
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


def _behind(job: RunJob, configs: Mapping[str, CfgNode]) -> list[str]:
    """Return the names of the runs that a run builds on, with its own, that have a config."""
    return [j.name for j in job.origins.values() if j.name in configs]


def _leak(job: RunJob, configs: Mapping[str, CfgNode], output: Path) -> str | None:
    behind = {name: configs[name] for name in _behind(job, configs)}
    for cfg in [behind[job.name]] if job.name in behind else behind.values():
        for dataset in cfg.DATASETS.TEST:
            out, vocabulary = _out(cfg, dataset), MetadataCatalog.get(dataset).get("vocabulary")
            if vocabulary is None:
                continue  # phrases have no classes
            for name, other in behind.items():
                origins = _origins(other, output)
                seen = next(filter(None, (origin.labels_of(out, vocabulary) for origin in origins)), None)
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


def _origins(cfg: CfgNode, output: Path) -> list[Provenance]:
    """Return the origin of what a config trains, and of the weights from outside the suite that it starts from."""
    registered = [name for name in every_training(cfg) if name in MetadataCatalog.list()]
    own = Provenance(Step("train", tuple(training_set(name) for name in registered)))
    return [own, *_weights_from_outside(cfg, output).values()]


def _weights_from_outside(cfg: CfgNode, output: Path) -> dict[str, Provenance]:
    """Return by path what is known of weights that the suite does not make, and that are there."""
    known = cfg.MODEL.META_ARCHITECTURE in META_ARCH_REGISTRY  # a report reads configs that nothing has checked
    paths = [path for path in weights_to_read(cfg).values() if path and made_elsewhere(path, output)] if known else []
    return {path: provenance_of(local_path(path)) for path in paths if local_path(path).is_file()}
