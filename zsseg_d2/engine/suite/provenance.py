"""On which machine, with which software and which commit runs were made, by their own ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

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
    def of(cls, record: Mapping) -> Provenance:
        """
        Args:
            record: the content of a run.json.
        """
        machine, versions = record.get("machine") or {}, record.get("versions") or {}
        cores = f"{machine['cpus']} cores" if machine.get("cpus") else ""
        software = [f"{name} {versions[name]}" for name in ("torch", "detectron2", "zsseg_d2") if versions.get(name)]
        return cls(
            ", ".join(part for part in (machine.get("gpu"), cores, machine.get("platform")) if part),
            ", ".join(software),
            record.get("git_commit") or "",
        )


def sentence(found: Mapping[str, Provenance]) -> str:
    """What holds for all runs, and where they differ, which.

    Args:
        found: by what the runs are called.
    """
    same, differing = [], []
    for aspect in (f.name for f in fields(Provenance)):
        runs: dict[str, list[str]] = {}
        for name, provenance in found.items():
            if getattr(provenance, aspect):
                runs.setdefault(_shown(aspect, getattr(provenance, aspect)), []).append(name)
        if len(runs) == 1:
            same.append(f"{aspect} {next(iter(runs))}")
        elif runs:
            *others, most = sorted(runs, key=lambda value: len(runs[value]))
            parts = [f"{value} ({_names(runs[value])})" for value in others]
            differing.append(f"The runs differ in {aspect}: {'; '.join([*parts, f'{most} (the others)'])}.")
    return " ".join([*([f"By the runs' own records: {'; '.join(same)}."] if same else []), *differing])


def _shown(aspect: str, value: str) -> str:
    if aspect != "commit":
        return value
    commit, dash, dirty = value.partition("-")
    return f"{commit[:_COMMIT]}{dash}{dirty}"


def _names(names: list[str]) -> str:
    """All, or the first of many and how many there are."""
    return "; ".join(names) if len(names) <= _MOST_NAMES else f"{'; '.join(names[:_MOST_NAMES])}; {len(names)} runs in all"
