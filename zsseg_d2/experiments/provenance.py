"""Tell on which machine, with which software and from which commit runs were made, by their own ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

_MOST_NAMES = 6
_COMMIT = 10
"""Digits of a commit that are shown."""


@dataclass(frozen=True)
class Provenance:
    """In words; empty where a run did not say."""

    machine: str = ""
    software: str = ""
    commit: str = ""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Provenance:
        """Read it from the content of a run.json."""
        machine, versions = record.get("machine") or {}, record.get("versions") or {}
        cores = f"{machine['cpus']} cores" if machine.get("cpus") else ""
        software = [f"{name} {versions[name]}" for name in ("torch", "detectron2", "zsseg_d2") if versions.get(name)]
        return cls(
            ", ".join(part for part in (machine.get("gpu"), cores, machine.get("platform")) if part),
            ", ".join(software),
            record.get("git_commit") or "",
        )


def sentence(found: Mapping[str, Provenance]) -> str:
    """Say what holds for all runs, and where they differ, which.

    Args:
        found: by what the runs are called.
    """
    same, differing = [], []
    frame = pd.DataFrame([{"name": name, **asdict(provenance)} for name, provenance in found.items()])
    for aspect in frame.columns.drop("name", errors="ignore"):
        said = frame[frame[aspect] != ""]
        names = said.groupby(said[aspect].map(_shorten) if aspect == "commit" else aspect, sort=False)["name"].agg(list)
        if len(names) == 1:
            same.append(f"{aspect} {names.index[0]}")
        elif len(names):
            *others, (most, _) = sorted(names.items(), key=lambda item: len(item[1]))
            parts = [f"{value} ({_list(runs)})" for value, runs in others]
            differing.append(f"The runs differ in {aspect}: {'; '.join([*parts, f'{most} (the others)'])}.")
    return " ".join([*([f"By the runs' own records: {'; '.join(same)}."] if same else []), *differing])


def _shorten(commit: str) -> str:
    name, dash, dirty = commit.partition("-")
    return f"{name[:_COMMIT]}{dash}{dirty}"


def _list(names: list[str]) -> str:
    """All, or the first of many and how many there are."""
    return (
        "; ".join(names) if len(names) <= _MOST_NAMES else f"{'; '.join(names[:_MOST_NAMES])}; {len(names)} runs in all"
    )
