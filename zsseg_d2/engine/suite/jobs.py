"""Runs and seeds -> jobs: folder, command, and the settings that decide whether a finished job still holds."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from detectron2.config import CfgNode

from ...data.panoptic.records import data_folder
from ..config.setup import (find_config, leaves)
from ..config.yaml_files import read_yaml
from .spec import (Options, RunSpec, Suite, fill, in_order)

_OF_TRAINING = ("SOLVER.", "TEST.EVAL_PERIOD")
"""Keys that begin so are nothing to runs that do not train: options for the whole suite do not reach these."""

_WITHOUT_EFFECT = ("SEED", "OUTPUT_DIR", "VERSION", "DATALOADER.NUM_WORKERS", "SOLVER.CHECKPOINT_PERIOD", "ZSSEG.TEXT_CACHE")
"""Keys that change no result, or that the suite sets."""


@dataclass(frozen=True, eq=False)
class Job:
    """One run with one seed."""

    spec: RunSpec
    seed: int | None  # None: the one run for all seeds
    folder: Path
    command: tuple[str, ...]
    options: tuple[str, ...]  # KEY VALUE words of the command
    environment: Mapping[str, str]
    settings: Mapping  # with placeholders, so that another output folder changes nothing
    needs: tuple[Job, ...] = field(repr=False)
    result: Path | None = None  # what it makes outside its folder

    @property
    def title(self) -> str:
        return self.spec.name if self.seed is None else f"{self.spec.name}, seed {self.seed}"

    def command_line(self, *, resume: bool, overwrite: bool = False) -> list[str]:
        """The command; ``--resume`` of a training that goes on, and the run's own word for overwriting, stand first.

        Args:
            resume: it was begun before. Programs that do not train go on by themselves.
            overwrite: it was asked to be done again in any case.
        """
        words = ["--resume"] if resume and self.spec.trains else []
        words += [self.spec.overwrite_argument] if overwrite and self.spec.overwrite_argument else []
        return [*self.command[:2], *words, *self.command[2:]]

    @cached_property
    def fingerprint(self) -> str:
        """Of the settings, and those of all jobs that this one builds on."""
        content = {"settings": self.settings, "needs": [job.fingerprint for job in self.needs]}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def origins(self) -> dict[Path, Job]:
        """This job and all that it builds on, by folder."""
        found = {}
        for job in self.needs:
            found |= job.origins
        return found | {self.folder: self}


def make_jobs(suite: Suite, options: Options = (), only: Collection[str] = ()) -> list[Job]:
    """Jobs in an order in which they could be run: seed by seed, each after those it needs.

    Args:
        options: KEY VALUE pairs for every run, above those of the suite file.
        only: names of runs; those that they need come with them. Empty: all.
    """
    made: dict[tuple[str, int | None], Job] = {}
    for seed in (None, *suite.seeds):
        for spec in in_order(suite):
            if spec.tool is not None and spec.once == (seed is None):
                needs = [made[name, None if suite.run(name).once else seed] for name in _executed_needs(spec, suite)]
                made[spec.name, seed] = _job(suite, spec, seed, options, tuple(needs))
    if not only:
        return list(made.values())
    chosen = {suite.run(name).of or name for name in only}
    wanted = {folder for job in made.values() if job.spec.name in chosen for folder in job.origins}
    return [job for job in made.values() if job.folder in wanted]


def run_folder(output: Path, spec: RunSpec, seed: int | None) -> Path:
    """``<output>/seed_1/<run>``, or ``<output>/once/<run>``."""
    return output / ("once" if spec.once else f"seed_{seed}") / (spec.of or spec.name)


def effective_options(suite: Suite, spec: RunSpec, above: Options) -> dict[str, str]:
    """The suite's options, over them the run's, over them those of the command line."""

    def reaching(options: Options) -> Iterator[tuple[str, str]]:
        return ((k, v) for k, v in options if spec.trains or not k.startswith(_OF_TRAINING))

    return dict(reaching(suite.options)) | dict(spec.options) | dict(reaching(above))


def _executed_needs(spec: RunSpec, suite: Suite) -> list[str]:
    return list(dict.fromkeys(suite.run(name).of or name for name in spec.needs))


def _job(suite: Suite, spec: RunSpec, seed: int | None, above: Options, needs: tuple[Job, ...]) -> Job:
    folder = run_folder(suite.output, spec, seed)
    number = 0 if seed is None else seed
    values: dict[str, object] = {"folder": folder, "output": suite.output, "seed": number}
    values |= {name: run_folder(suite.output, suite.run(name), seed) for name in spec.needs}
    options = effective_options(suite, spec, above) if spec.config else {}
    command = [sys.executable, str(spec.tool), *(["--config-file", spec.config] if spec.config else [])]
    command += ["--eval-only"] * spec.eval_only + [fill(word, values) for word in spec.arguments]
    words = [word for key, value in options.items() for word in (key, fill(value, values))]
    if spec.config:
        words += [*(["SEED", str(number)] if seed is not None else []), "OUTPUT_DIR", str(folder)]
    return Job(
        spec=spec,
        seed=seed,
        folder=folder,
        command=(*command, *words),
        options=tuple(words),
        environment={key: fill(value, values) for key, value in spec.environment.items()},
        settings={
            "tool": spec.tool.name,
            "arguments": list(spec.arguments),
            "eval_only": spec.eval_only,
            "environment": dict(spec.environment),
            "seed": seed,
            "values": _values(spec, options) if spec.config else {},
        },
        needs=needs,
        result=_outside(fill(spec.result, values)) if spec.result else None,
    )


def _values(spec: RunSpec, options: Mapping[str, str]) -> dict[str, object]:
    """What config file, bases and options set: ``{"SOLVER.MAX_ITER": 150, …}``, in the form that JSON gives back."""
    found = dict(leaves(CfgNode(read_yaml(find_config(spec.config)))))
    found |= {key: _literal(value) for key, value in options.items()}
    unused = _WITHOUT_EFFECT if spec.trains else (*_WITHOUT_EFFECT, *_OF_TRAINING)
    return json.loads(json.dumps({k: v for k, v in found.items() if not k.startswith(unused)}, default=str))


def _outside(text: str) -> Path:
    """A path with ``~`` and ``$VARIABLES``, of which ``$DETECTRON2_DATASETS`` is where data sets are looked up."""
    return Path(os.path.expandvars(text.replace("$DETECTRON2_DATASETS", str(data_folder())))).expanduser()


def _literal(text: str) -> object:
    """As yacs reads values of a command line."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
