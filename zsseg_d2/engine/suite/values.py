"""Values of a suite file: of known keys, of their types; seeds; KEY VALUE pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import (ConfigError, near_matches)
from .spec import (RESERVED, Options, placeholders)

Keys = dict[str, type | tuple[type, ...]]
"""Known keys, and the types that their values may have."""

NUMBER = (int, float)
_KIND_NAMES = {
    str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping", bool: "true or false",
}  # fmt: skip
_SET_BY_THE_SUITE = {"SEED": "`seeds`", "OUTPUT_DIR": "`output`"}


def checked(values: object, known: Keys, where: str) -> Mapping:
    """`values`, if its keys are known and its values of their types.

    Raises:
        ConfigError: naming the key.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must have keys ({', '.join(known)}), but is '{values}'.")
    for key, value in values.items():
        if key not in known:
            hint = near_matches(str(key), known) or f" Known: {', '.join(known)}."
            raise ConfigError(f"{where}: unknown key '{key}'.{hint}")
        kinds = known[key] if isinstance(known[key], tuple) else (known[key],)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(dict.fromkeys(_KIND_NAMES[kind] for kind in kinds))
            raise ConfigError(f"{where}: `{key}` must be {wanted}, but is {value!r}.")
    return values


def check_seeds(seeds: object, where: str) -> tuple[int, ...]:
    """
    Raises:
        ConfigError: not a list of different numbers from 0 on.
    """
    listed = seeds if isinstance(seeds, (list, tuple)) else [seeds]
    if not listed or not all(type(s) is int and s >= 0 for s in listed) or len(set(listed)) < len(listed):
        raise ConfigError(f"{where} must be different whole numbers from 0 on, but are {seeds}.")
    return tuple(listed)


def parse_options(options: Mapping | Sequence, where: str, *, of_run: bool = False) -> Options:
    """KEY VALUE pairs of a mapping, or of a list as on a command line.

    Args:
        of_run: they belong to one run, and so may name others in braces.
    Raises:
        ConfigError: a key without a value, a key that the suite itself sets, or a placeholder out of place.
    """
    pairs = list(options.items()) if isinstance(options, Mapping) else list(zip(options[::2], options[1::2]))
    if 2 * len(pairs) < len(options) and not isinstance(options, Mapping):
        raise ConfigError(f"{where} are KEY VALUE pairs, but there are {len(options)} words: {' '.join(map(str, options))}")
    for key, value in pairs:
        if key in _SET_BY_THE_SUITE:
            raise ConfigError(f"{where}: {key} is set by the suite; use {_SET_BY_THE_SUITE[key]} instead.")
        for name in placeholders(str(value)):
            if not of_run and name not in RESERVED:
                raise ConfigError(f"{where}: {key} refers to {{{name}}}; only the options of a run may refer to others.")
    return tuple((str(key), str(value)) for key, value in pairs)
