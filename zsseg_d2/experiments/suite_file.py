"""Suite file -> :class:`Suite`, checked as far as one file can be."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..engine.config.yaml_files import read_yaml
from ..engine.errors import ConfigError
from ..registry import did_you_mean
from .measures import TASKS, Task
from .runs import RESERVED, ROLES, TRAINER, Options, Run, Suite, in_order, placeholders

Keys = dict[str, type | tuple[type, ...]]
"""Known keys, and the types that their values may have."""

NUMBER = (int, float)
_KIND_NAMES = {
    str: "text",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a mapping",
    bool: "true or false",
}
_SET_BY_THE_SUITE = {"SEED": "`seeds`", "OUTPUT_DIR": "`output`"}

_SUITE_KEYS: Keys = {
    "title": str,
    "output": str,
    "seeds": (list, int),
    "options": (dict, list),
    "runs": list,
    "task": str,
    "compare": list,
    "published": dict,
    "memory_gb": NUMBER,
    "notes": list,
}
_EXECUTED_KEYS: Keys = {
    "tool": str,
    "config": str,
    "arguments": list,
    "options": (dict, list),
    "environment": dict,
    "eval_only": bool,
    "trains": bool,
    "needs": list,
    "seeds": str,
    "result": str,
    "overwrite_argument": str,
}
_ROW_KEYS: Keys = {
    "label": str,
    "curve": str,
    "curve_row": NUMBER,
    "role": str,
    "leak_free": bool,
    "competes": bool,
    "extra_parameters": int,
    "note": str,
}
_RUN_KEYS = _EXECUTED_KEYS | _ROW_KEYS | {"name": str, "of": str, "metrics": str}
_NAME = re.compile(r"[A-Za-z0-9][\w-]*")


def load_suite(path: Path, tools: Path) -> Suite:
    """Read and check a suite file.

    Args:
        tools: the folder of the programs; one in the suite file's folder, or a path, is taken first.
    Raises:
        ConfigError: the first thing that is wrong with the file.
    """
    values = checked(read_yaml(path), _SUITE_KEYS, f"{path}")
    task_name = values.get("task", "panoptic")
    if task_name not in TASKS:
        raise ConfigError(f"{path}: task is '{task_name}'; choose one of {', '.join(TASKS)}.")
    task = TASKS[task_name]
    runs = [_run(entry, path, tools, task) for entry in values.get("runs", [])]
    if not runs:
        raise ConfigError(f"{path}: `runs` is empty; list the runs, each with a `name`.")
    published = checked(values.get("published", {}), {"source": str, "rows": list}, f"{path}: published")
    figures = {m.key: NUMBER for m in task.measures}
    rows = [checked(row, {"label": str, **figures}, f"{path}: published row") for row in published.get("rows", [])]
    suite = Suite(
        path=path,
        title=values.get("title", path.stem),
        output=Path(values.get("output", f"output/suites/{path.stem}")).expanduser(),
        seeds=check_seeds(values.get("seeds", [1]), f"{path}: seeds"),
        options=parse_options(values.get("options", {}), f"{path}: options"),
        runs=tuple(_with_source(run, runs, path) for run in runs),
        task=task,
        compare=tuple(values.get("compare", [])),
        published=tuple(rows),
        published_source=published.get("source", ""),
        memory_gb=float(values.get("memory_gb", 2)),
        notes=tuple(map(str, values.get("notes", []))),
    )
    if suite.memory_gb <= 0:
        raise ConfigError(f"{path}: `memory_gb` must be positive, but is {suite.memory_gb:g}.")
    _check_names(suite)
    return suite


def _run(entry: object, path: Path, tools: Path, task: Task) -> Run:
    if not isinstance(entry, Mapping) or not _NAME.fullmatch(str(entry.get("name", ""))) or entry["name"] in RESERVED:
        raise ConfigError(
            f"{path}: a run has a `name` of letters, digits, _ and -, other than {', '.join(RESERVED)}; this has none: {entry}"
        )
    where = f"{path}: run '{entry['name']}'"
    checked(entry, _RUN_KEYS, where)
    if entry.get("seeds", "once") != "once":
        raise ConfigError(f"{where}: the only `seeds` of a run are `once`; others run with the seeds of the suite.")
    if "role" in entry and entry["role"] not in ROLES:
        raise ConfigError(f"{where}: role is '{entry['role']}'; choose one of {', '.join(ROLES)}.")
    if "curve_row" in entry and "curve" not in entry:
        raise ConfigError(f"{where}: `curve_row` is a point of a `curve`, but no `curve` is given.")
    given = {key: value for key, value in entry.items() if key in _ROW_KEYS}
    given.setdefault("label", entry["name"].replace("_", " "))
    if "of" in entry:
        executed = sorted(set(entry) & set(_EXECUTED_KEYS))
        if executed:
            raise ConfigError(
                f"{where}: it is read from the files of '{entry['of']}', so `{executed[0]}` has no meaning."
            )
        return Run(
            name=entry["name"],
            tool=None,
            of=entry["of"],
            needs=(entry["of"],),
            metrics=entry.get("metrics", "" if "curve" in entry else task.metrics_file),
            **given,
        )
    tool = _find_tool(entry.get("tool", TRAINER), path.parent, tools, where)
    trainer = tool.name == TRAINER
    if trainer and "config" not in entry:
        raise ConfigError(f"{where}: {TRAINER} needs a `config`.")
    eval_only = entry.get("eval_only", False)
    options = parse_options(entry.get("options", {}), f"{where}: options", of_run=True)
    arguments = tuple(map(str, entry.get("arguments", [])))
    environment = {str(k): str(v) for k, v in entry.get("environment", {}).items()}
    result = entry.get("result", "")
    texts = (*arguments, *environment.values(), *(v for _, v in options), result)
    named = [n for text in texts for n in placeholders(text)]
    needs = dict.fromkeys(str(n) for n in (*named, *entry.get("needs", [])) if n not in RESERVED)
    return Run(
        name=entry["name"],
        tool=tool,
        config=entry.get("config", ""),
        arguments=arguments,
        options=options,
        environment=environment,
        eval_only=eval_only,
        trains=entry.get("trains", trainer and not eval_only),
        once="seeds" in entry,
        needs=tuple(needs),
        result=result,
        overwrite_argument=entry.get("overwrite_argument", ""),
        metrics=entry.get("metrics", task.metrics_file if trainer else ""),
        **given,
    )


def _find_tool(name: str, near: Path, tools: Path, where: str) -> Path:
    for path in (near / name, tools / name, Path(name).expanduser()):
        if path.is_file():
            return path
    known = [p.name for p in tools.glob("*.py")]
    raise ConfigError(f"{where}: there is no program '{name}' in {tools}.{did_you_mean(name, known)}")


def _with_source(run: Run, runs: Collection[Run], path: Path) -> Run:
    """A row that is read from another run's files is run as often as that one."""
    source = next((r for r in runs if r.name == run.of), None)
    if source is not None and source.tool is None:
        raise ConfigError(
            f"{path}: run '{run.name}' is read `of` '{run.of}', which is itself read from another run's files."
        )
    return run if source is None else replace(run, once=source.once)


def _check_names(suite: Suite) -> None:
    """Names and roles are unique and known, and nothing needs itself."""
    names = [run.name for run in suite.runs]
    for what, items in (("name", names), ("role", [run.role for run in suite.runs if run.role])):
        twice = next((item for item in items if items.count(item) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"{suite.path}: {items.count(twice)} runs have the {what} '{twice}'; it must be one run's."
            )
    for run in suite.runs:
        for name in run.needs:
            if name not in names:
                hint = did_you_mean(name, names) or f" There are {', '.join(names)}."
                raise ConfigError(
                    f"{suite.path}: run '{run.name}' needs '{name}', which is not a run of this suite.{hint}"
                )
            if run.once and not suite.run(name).once:
                raise ConfigError(
                    f"{suite.path}: run '{run.name}' is run once, but needs '{name}', which is run for every seed."
                )
    for name in suite.compare:
        if name not in names:
            raise ConfigError(
                f"{suite.path}: `compare` names '{name}', which is not a run of this suite.{did_you_mean(name, names)}"
            )
    list(in_order(suite))


def checked(values: object, known: Keys, where: str) -> Mapping[str, Any]:
    """Return `values`, if its keys are known and its values are of their types.

    Raises:
        ConfigError: naming the key.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must have keys ({', '.join(known)}), but is '{values}'.")
    for key, value in values.items():
        if key not in known:
            hint = did_you_mean(str(key), known) or f" Known: {', '.join(known)}."
            raise ConfigError(f"{where}: unknown key '{key}'.{hint}")
        kinds = known[key] if isinstance(known[key], tuple) else (known[key],)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(dict.fromkeys(_KIND_NAMES[kind] for kind in kinds))
            raise ConfigError(f"{where}: `{key}` must be {wanted}, but is {value!r}.")
    return values


def check_seeds(seeds: object, where: str) -> tuple[int, ...]:
    """Check seeds, one or a list.

    Raises:
        ConfigError: not a list of different numbers from 0 on.
    """
    listed = seeds if isinstance(seeds, (list, tuple)) else [seeds]
    if not listed or not all(type(s) is int and s >= 0 for s in listed) or len(set(listed)) < len(listed):
        raise ConfigError(f"{where} must be different whole numbers from 0 on, but are {seeds}.")
    return tuple(listed)


def parse_options(options: Mapping | Sequence, where: str, *, of_run: bool = False) -> Options:
    """Read KEY VALUE pairs from a mapping, or from a list as on a command line.

    Args:
        of_run: they belong to one run, and so may name others in braces.
    Raises:
        ConfigError: a key without a value, a key that the suite itself sets, or a placeholder out of place.
    """
    pairs = list(options.items()) if isinstance(options, Mapping) else list(zip(options[::2], options[1::2]))
    if 2 * len(pairs) < len(options) and not isinstance(options, Mapping):
        raise ConfigError(
            f"{where} are KEY VALUE pairs, but there are {len(options)} words: {' '.join(map(str, options))}"
        )
    for key, value in pairs:
        if key in _SET_BY_THE_SUITE:
            raise ConfigError(f"{where}: {key} is set by the suite; use {_SET_BY_THE_SUITE[key]} instead.")
        for name in placeholders(str(value)):
            if not of_run and name not in RESERVED:
                raise ConfigError(
                    f"{where}: {key} refers to {{{name}}}; only the options of a run may refer to others."
                )
    return tuple((str(key), str(value)) for key, value in pairs)
