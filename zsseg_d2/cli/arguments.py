"""Command lines: ``--config-file a.yaml b.yaml`` takes several files, KEY VALUE pairs stand at the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

CONFIG_FILE = "--config-file"


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose ``--config-file`` takes all the YAML files that follow it.

    Args:
        doc: docstring of the program; shown by ``--help`` as it is.
        prog: name of the program in messages. Default: the name of the script.
    """

    def __init__(self, doc: str | None = None, prog: str | None = None, **rest) -> None:
        rest = {"formatter_class": argparse.RawDescriptionHelpFormatter, **rest}
        super().__init__(prog=prog, description=doc, **rest)

    def add_config_arguments(self, help: str, *, required: bool = False) -> None:
        """Add ``--config-file`` (``args.config_file``: a list of names) and ``opts`` (a list of words)."""
        self.add_argument(
            CONFIG_FILE, action="append", required=required, metavar="FILE", help=f"{help}; several merge in order"
        )
        self.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys, at the end")

    def parse_known_args(self, args=None, namespace=None):
        words = split_config_files(sys.argv[1:] if args is None else args)
        parsed, rest = super().parse_known_args(words, namespace)
        if getattr(parsed, "config_file", ...) is None:
            parsed.config_file = []
        return parsed, rest


def split_config_files(words: Sequence[str]) -> list[str]:
    """Write ``--config-file a.yaml b.yaml`` as ``--config-file=a.yaml --config-file=b.yaml``.

    The first word after the option is a config file whatever it is called; more of them end in ``.yaml`` or ``.yml``.

    Example:
        >>> split_config_files(["--config-file", "a.yaml", "b.yaml", "SEED", "1"])
        ['--config-file=a.yaml', '--config-file=b.yaml', 'SEED', '1']
    """
    found: list[str] = []
    expected = 0  # 2: a config file must follow; 1: more may follow
    for word in words:
        if word == CONFIG_FILE:
            expected = 2
        elif expected == 2 and word.startswith("--"):
            return list(words)  # the file is missing: argparse says so
        elif word.startswith(f"{CONFIG_FILE}="):
            found.append(word)
            expected = 1
        elif expected == 2 or (expected == 1 and word.endswith((".yaml", ".yml"))):
            found.append(f"{CONFIG_FILE}={word}")
            expected = 1
        else:
            found.append(word)
            expected = 0
    return found if expected < 2 else list(words)
