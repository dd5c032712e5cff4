"""``OUTPUT_DIR/run.json``: command, config files, seed, versions, machine and results of a run."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import detectron2
import msgspec
import torch
from msgspec import Meta
from torch import nn

from ..files import atomic_path
from ..reading import MB, UnusableFile, explain, printable, read_json

FILE = "run.json"
_LARGEST = 64 * MB


class RunRecord:
    """The record of a run, written at its start and end; an evaluation keeps the record of the training before it.

    Args:
        output_dir: folder of the record.
        mode: ``"train"`` or ``"eval"``.
        seed: the SEED in use.
        device: MODEL.DEVICE.
        config_files: names of the config files, in the order of merging.

    Raises:
        UnusableFile: an evaluation would replace a damaged record of a training.
    """

    def __init__(
        self, output_dir: str | os.PathLike, *, mode: str, seed: int, device: str, config_files: Sequence[str]
    ) -> None:
        from .. import __version__

        self.path = Path(output_dir) / FILE
        before = checked_record(output_dir) if mode == "eval" else {}
        self.content: dict = {
            "mode": mode,
            "status": "running",
            "command": [os.path.basename(sys.executable), *sys.argv],
            "config_files": list(config_files),
            "seed": seed,
            "device": device,
            "versions": {
                "zsseg_d2": __version__,
                "detectron2": detectron2.__version__,
                "torch": torch.__version__,
                "open_clip": _version("open_clip_torch"),
                "python": platform.python_version(),
            },
            "git_commit": git_commit(),
            "machine": {
                "platform": platform.platform(),
                "cpus": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
            },
            "start": _now(),
            "end": None,
            "iterations": None,
            "parameters": None,
            "metrics": None,
        }
        if mode == "eval":
            self.content["training"] = before if before.get("mode") == "train" else before.get("training")

    def write(self) -> None:
        """Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(_plain(self.content), indent=2) + "\n", encoding="utf-8")

    def finish(self, status: str, *, iterations: int | None = None, metrics: Mapping | None = None) -> None:
        """Complete the record.

        Args:
            status: ``"finished"``, ``"interrupted"`` or ``"failed"``.
            iterations: finished iterations of a training.
            metrics: results of the evaluation.
        """
        self.content.update(status=status, end=_now(), iterations=iterations, metrics=metrics)
        self.write()


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Count ``total`` and ``trainable`` parameters; shared parameters count once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return {"total": sum(n for n, _ in sizes), "trainable": sum(n for n, trained in sizes if trained)}


class Machine(msgspec.Struct):
    """Where a run was made."""

    platform: str | None = None
    cpus: int | None = None
    gpu: str | None = None


class TrainingRecord(msgspec.Struct):
    """What a resumed training reads of the record of a training."""

    mode: Literal["train", "eval"]
    status: str
    seed: Annotated[int, Meta(ge=0)]
    earlier_checkpoints: list[str] = []


class Record(TrainingRecord):
    """What is read of any record; that of an evaluation holds the one of the training before it."""

    training: TrainingRecord | None = None
    machine: Machine | None = None
    versions: dict[str, str | None] = {}
    git_commit: str | None = None
    parameters: dict[str, int] | None = None


def read_record(output_dir: str | os.PathLike) -> dict:
    """Read the record in a folder for a report; an empty dict if there is none or it cannot be read."""
    try:
        return checked_record(output_dir)
    except UnusableFile:
        return {}


def checked_record(output_dir: str | os.PathLike) -> dict:
    """Read the record in a folder; an empty dict if there is none.

    Raises:
        UnusableFile: it is damaged.
    """
    path = Path(output_dir) / FILE
    remedy = "restore it, or give another OUTPUT_DIR"
    try:
        content = read_json(path, dict[str, Any], limit=_LARGEST, remedy=remedy)
    except FileNotFoundError:
        return {}
    try:
        msgspec.convert(content, Record)
    except msgspec.ValidationError as error:
        place, problem = explain(error)
        raise UnusableFile(f"{printable(path)}: '{place or 'the file'}' {problem}. Fix: {remedy}.") from None
    return content


def _training_of(output_dir: str | os.PathLike) -> TrainingRecord | None:
    content = checked_record(output_dir)
    if not content:
        return None
    record = msgspec.convert(content, Record)
    return record if record.mode == "train" else record.training


def recorded_seed(output_dir: str | os.PathLike) -> int | None:
    """Return the seed of the training that wrote the record in a folder, if any.

    Raises:
        UnusableFile: the record is damaged.
    """
    record = _training_of(output_dir)
    return None if record is None else record.seed


def earlier_checkpoints(output_dir: str | os.PathLike) -> list[str]:
    """Return the names of checkpoints that lay in the folder before the recorded training began.

    Raises:
        UnusableFile: the record is damaged.
    """
    record = _training_of(output_dir)
    return [] if record is None else record.earlier_checkpoints


def git_commit() -> str | None:
    """Return the commit of the running source tree, with ``-dirty`` if it was changed; None outside a repository."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(value):
    """Convert to JSON's types; NaN and infinities, which JSON lacks, become null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
