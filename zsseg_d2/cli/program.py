"""What all programs do alike: parse arguments, load the package, import the user's modules, end with one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import zsseg_d2

Parse = Callable[[Sequence[str] | None, str | None], argparse.Namespace]
Work = Callable[..., int | None]


class Program:
    """A program: arguments are parsed before torch is imported, and errors of the user end it with one line.

    Args:
        parse: parses the words of a command line; imports neither torch nor Detectron2.
        work: does the work for the parsed arguments, and returns the exit status (None: 0).
    """

    def __init__(self, parse: Parse, work: Work) -> None:
        self.parse, self.work = parse, work
        self.__doc__ = work.__doc__

    def __call__(self, argv: Sequence[str] | None = None, prog: str | None = None, **more: Any) -> int | None:
        """Run the program.

        Args:
            argv: the words of the command line. Default: those of this process.
            prog: name of the program in messages. Default: the name of the script.
            more: further arguments of `work`.

        Returns:
            The exit status; None counts as 0.

        Raises:
            SystemExit: wrong arguments, or an error that the user can fix;
                see :func:`zsseg_d2.engine.errors.one_line_errors`.
        """
        args = self.parse(argv, prog)
        zsseg_d2.load()
        from ..engine.errors import one_line_errors
        from ..plugins import load_plugins

        with one_line_errors(debug=args.debug):
            load_plugins(args.imports)
            return self.work(args, **more)


def program(parse: Parse) -> Callable[[Work], Program]:
    """Make the decorated function, which takes parsed arguments, a :class:`Program`."""
    return lambda work: Program(parse, work)
