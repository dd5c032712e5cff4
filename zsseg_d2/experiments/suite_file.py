"""Suite file -> :class:`Suite`, checked as far as one file can be."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypedDict, TypeVar

import msgspec

from ..engine.config.yaml_files import read_yaml
from ..engine.errors import ConfigError
from ..reading import explain
from ..registry import did_you_mean
from .measures import TASKS, Target, Task
from .runs import RESERVED, ROLES, TRAINER, Options, Run, Suite, in_order, placeholders

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
ENVIRONMENT = re.compile(
    "(OMP|MKL|OPENBLAS|NUMEXPR|VECLIB|BLIS)_(MAXIMUM_THREADS|NUM_THREADS)|OMP_(WAIT_POLICY|PROC_BIND|PLACES|DYNAMIC)"
    "|GOMP_SPINCOUNT|GOMP_CPU_AFFINITY|MKL_DYNAMIC|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|LAUNCH_BLOCKING)"
    "|CUBLAS_WORKSPACE_CONFIG|ZSSEG_D2_KEEP_MEMORY"
)
"""Names of environment variables that a suite file may set: threads, CUDA devices, memory."""
_SET_BY_THE_SUITE = {"SEED": "`seeds`", "OUTPUT_DIR": "`output`"}
_OF_A_ROW = {
    *(
        "name",
        "label",
        "of",
        "metrics",
        "curve",
        "curve_row",
        "role",
        "leak_free",
        "competes",
        "extra_parameters",
        "note",
        "against",
        "series",
        "deleted",
    )
}
"""Keys that a row may have that is read from another run's files."""
_DERIVED = {"once", "most_seeds", "is_own"}
"""Fields of a run that are not keys of a suite file."""


@dataclass
class _Published:
    source: str = ""
    rows: list[Any] = field(default_factory=list)


@dataclass
class _SuiteKeys:
    """The keys of a suite file."""

    title: str = ""
    output: str = ""
    seeds: Any = (1,)
    options: Any = field(default_factory=dict)
    runs: list[Any] = field(default_factory=list)
    task: str = "panoptic"
    compare: tuple[str, ...] = ()
    published: Any = field(default_factory=dict)
    memory_gb: float = 2.0
    notes: list[Any] = field(default_factory=list)
    target: Any = field(default_factory=dict)
    test: str = ""
    pretraining: str = ""


def load_suite(path: Path, tools: Path, own_tools: Mapping[str, Path] = MappingProxyType({})) -> Suite:
    """Read and check a suite file.

    A suite file is data: it names programs, but brings none, and no environment that would make one run its code.

    Args:
        path: the suite file.
        tools: the folder of the project's programs.
        own_tools: the user's programs by the names that the file may give them, from the command line.

    Returns:
        The suite.

    Raises:
        ConfigError: the first thing that is wrong with the file.
    """
    programs = {**{script.name: script for script in sorted(tools.glob("[!_]*.py"))}, **own_tools}
    keys = _decode(read_yaml(path), _SuiteKeys, f"{path}")
    if keys.task not in TASKS:
        raise ConfigError(f"{path}: task='{keys.task}': there is no such task. Fix: choose one of {', '.join(TASKS)}.")
    task = TASKS[keys.task]
    runs = [_run(entry, path, programs, frozenset(own_tools), task) for entry in keys.runs]
    if not runs:
        raise ConfigError(f"{path}: `runs` is empty. Fix: list the runs, each with a `name`.")
    if keys.memory_gb <= 0:
        raise ConfigError(f"{path}: memory_gb={keys.memory_gb:g}: `memory_gb` must be positive.")
    published = _decode(keys.published, _Published, f"{path}: published")
    row_keys = {"label": str, **{measure.key: float for measure in task.measures}}
    kind: Any = TypedDict("kind", row_keys, total=False)  # type: ignore[misc]  # known at run time only
    for row in published.rows:
        _check_keys(row, list(kind.__annotations__), f"{path}: published row")
        _convert(row, kind, f"{path}: published row")
    suite = Suite(
        path=path,
        title=keys.title or path.stem,
        output=Path(keys.output or f"output/suites/{path.stem}").expanduser(),
        seeds=check_seeds(keys.seeds, f"{path}: seeds"),
        options=parse_options(keys.options, f"{path}: options"),
        runs=tuple(_with_source(run, runs, path) for run in runs),
        task=task,
        compare=keys.compare,
        published=tuple(published.rows),
        published_source=published.source,
        memory_gb=keys.memory_gb,
        notes=tuple(map(str, keys.notes)),
        target=_decode(keys.target, Target, f"{path}: target"),
        test=keys.test,
        pretraining=keys.pretraining,
    )
    _check_names(suite)
    if suite.test and suite.test == suite.pretraining:
        raise ConfigError(f"{path}: pretraining='{suite.pretraining}': this is the `test` set. Fix: leave one out.")
    return suite


def _decode(values: Any, kind: type[T], where: str) -> T:
    """Convert a mapping of the file into a dataclass.

    Raises:
        ConfigError: an unknown key, or a value of another type; the message names it.
    """
    _check_keys(values, [f.name for f in fields(kind) if f.name not in _DERIVED], where)  # type: ignore[arg-type]
    return _convert(values, kind, where)


def _check_keys(values: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must have keys ({', '.join(known)}), but is '{values}'.")
    for key in values:
        if key not in known:
            hint = did_you_mean(str(key), known) or f" Known: {', '.join(known)}."
            raise ConfigError(f"{where}: unknown key '{key}'.{hint}")


def _convert(values: Any, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(values, kind, dec_hook=lambda wanted, value: wanted(value))
    except msgspec.ValidationError as error:
        place, problem = explain(error)
        key = re.split(r"[.\[]", place)[0]
        raise ConfigError(f"{where}: {key}={values.get(key)!r} {problem}.") from None


def _run(entry: Any, path: Path, programs: Mapping[str, Path], own: Collection[str], task: Task) -> Run:
    if not isinstance(entry, Mapping) or not _NAME.fullmatch(str(entry.get("name", ""))) or entry["name"] in RESERVED:
        raise ConfigError(
            f"{path}: a run has a `name` of letters, digits, _ and -, other than {', '.join(RESERVED)}; "
            f"this has none: {entry}"
        )
    where = f"{path}: run '{entry['name']}'"
    keys = {"label": str(entry["name"]).replace("_", " "), **entry}
    seeds = keys.pop("seeds", None)
    counted = seeds if type(seeds) is int and seeds > 0 else None
    if seeds not in (None, "once", counted):
        raise ConfigError(
            f"{where}: seeds={seeds!r}: it must be `once`, or a number: the first so many seeds of the suite."
        )
    if keys.get("role", ROLES[0]) not in ROLES:
        raise ConfigError(f"{where}: role is '{keys['role']}'; choose one of {', '.join(ROLES)}.")
    if "curve_row" in keys and "curve" not in keys:
        raise ConfigError(f"{where}: `curve_row` is a point of a `curve`, but no `curve` is given.")
    if bool(keys.get("series")) != ("deleted" in keys):
        raise ConfigError(f"{where}: `series` and `deleted` make a point of a plot together. Fix: give both, or none.")
    if "of" in keys:
        run = _decode({"tool": None, **keys}, Run, where)
        executed = sorted(entry.keys() - _OF_A_ROW)
        if executed:
            raise ConfigError(f"{where}: it is read from the files of '{run.of}', so `{executed[0]}` has no meaning.")
        return replace(run, needs=(run.of,), metrics=keys.get("metrics", "" if run.curve else task.metrics_file))
    keys["options"] = parse_options(keys.get("options", {}), f"{where}: options", of_run=True)
    keys |= {name: _as_texts(keys[name]) for name in ("arguments", "environment", "needs") if name in keys}
    run = _decode({"tool": TRAINER, **keys}, Run, where)
    name = str(run.tool)
    tool = _find_tool(name, programs, where)
    _check_environment(run.environment, where)
    if name == TRAINER and not run.config:
        raise ConfigError(f"{where}: {TRAINER} needs a `config`.")
    # A program of one's own with a config is taken for one that trains and evaluates, as train_net.py does.
    trainer = name == TRAINER or (name in own and bool(run.config))
    texts = (*run.arguments, *run.environment.values(), *(value for _, value in run.options), run.result)
    named = (*(name for text in texts for name in placeholders(text)), *run.needs)
    return replace(
        run,
        tool=tool,
        is_own=name in own,
        once=seeds == "once",
        most_seeds=counted,
        trains=keys.get("trains", trainer and not run.eval_only),
        metrics=keys.get("metrics", task.metrics_file if trainer else ""),
        needs=tuple(dict.fromkeys(name for name in named if name not in RESERVED)),
    )


def _as_texts(value: Any) -> Any:
    """Turn what a list or a mapping holds into text, such as the numbers among a program's arguments."""
    if isinstance(value, Mapping):
        return {str(k): str(v) for k, v in value.items()}
    return list(map(str, value)) if isinstance(value, list) else value


def _find_tool(name: str, programs: Mapping[str, Path], where: str) -> Path:
    if name in programs:
        return programs[name]
    known = list(programs)
    raise ConfigError(
        f"{where}: there is no program '{name}' of this project.{did_you_mean(name, known)} Fix: name one of "
        f"{', '.join(known)}; give one of your own on the command line: --tool NAME=PATH"
    )


def _check_environment(environment: Mapping[str, str], where: str) -> None:
    for name in environment:
        if not ENVIRONMENT.fullmatch(name):
            raise ConfigError(
                f"{where}: environment: {name}: a suite file may set threads and CUDA devices alone "
                "(OMP_NUM_THREADS, MKL_NUM_THREADS, CUDA_VISIBLE_DEVICES, …), since others could run code. Fix: set "
                "it where you start the suite."
            )


def _with_source(run: Run, runs: Sequence[Run], path: Path) -> Run:
    """Run a row that is read from another run's files as often as that one."""
    source = next((r for r in runs if r.name == run.of), None)
    if source is not None and source.tool is None:
        raise ConfigError(
            f"{path}: run '{run.name}' is read `of` '{run.of}', which is itself read from another run's files."
        )
    return run if source is None else replace(run, once=source.once, most_seeds=source.most_seeds)


def _check_names(suite: Suite) -> None:
    """Check that names and roles are unique and known, and that nothing needs itself."""
    names = [run.name for run in suite.runs]
    for what, items in (("name", names), ("role", [run.role for run in suite.runs if run.role])):
        twice = next((item for item in items if items.count(item) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"{suite.path}: {items.count(twice)} runs have the {what} '{twice}'; it must be one run's."
            )
    named = [(f"run '{run.name}' needs", name) for run in suite.runs for name in run.needs]
    named += [(f"`against` of run '{run.name}' names", name) for run in suite.runs for name in run.against]
    for who, name in [*named, *(("`compare` names", name) for name in suite.compare)]:
        if name not in names:
            hint = did_you_mean(name, names) or f" There are {', '.join(names)}."
            raise ConfigError(f"{suite.path}: {who} '{name}', which is not a run of this suite.{hint}")
    for run in suite.runs:
        for name in run.against:
            if name == run.name or not (run.has_row and suite.run(name).has_row):
                raise ConfigError(
                    f"{suite.path}: run '{run.name}' cannot be compared `against` '{name}': only two different rows of "
                    "the table can be. Fix: name another run, or leave it out."
                )
        for name in run.needs:
            if run.once and not suite.run(name).once:
                raise ConfigError(
                    f"{suite.path}: run '{run.name}' is run once, but needs '{name}', which is run for every seed."
                )
            if not suite.run(name).once and not set(suite.seeds_of(run)) <= set(suite.seeds_of(suite.run(name))):
                raise ConfigError(
                    f"{suite.path}: run '{run.name}' is run for more seeds than '{name}', which it needs."
                )
    list(in_order(suite))


def check_seeds(seeds: object, where: str) -> tuple[int, ...]:
    """Check seeds, one or a list.

    Raises:
        ConfigError: not a list of different numbers from 0 on.
    """
    listed = seeds if isinstance(seeds, (list, tuple)) else [seeds]
    if not listed or not all(type(s) is int and s >= 0 for s in listed) or len(set(listed)) < len(listed):
        raise ConfigError(f"{where} must be different whole numbers from 0 on, but are {seeds}.")
    return tuple(listed)


def parse_options(options: object, where: str, *, of_run: bool = False) -> Options:
    """Read KEY VALUE pairs from a mapping, or from a list as on a command line.

    Args:
        of_run: they belong to one run, and so may name others in braces.
    Raises:
        ConfigError: a key without a value, a key that the suite itself sets, or a placeholder out of place.
    """
    if not isinstance(options, (Mapping, list)):
        raise ConfigError(f"{where} must be a mapping or a list, but are {options!r}.")
    if isinstance(options, list) and len(options) % 2:
        words = " ".join(map(str, options))
        raise ConfigError(f"{where} are KEY VALUE pairs, but there are {len(options)} words: {words}")
    pairs = options.items() if isinstance(options, Mapping) else zip(options[::2], options[1::2])
    found = tuple((str(key), str(value)) for key, value in pairs)
    for key, value in found:
        if key in _SET_BY_THE_SUITE:
            raise ConfigError(f"{where}: {key} is set by the suite; use {_SET_BY_THE_SUITE[key]} instead.")
        for name in placeholders(value):
            if not of_run and name not in RESERVED:
                raise ConfigError(
                    f"{where}: {key} refers to {{{name}}}; only the options of a run may refer to others."
                )
    return found
