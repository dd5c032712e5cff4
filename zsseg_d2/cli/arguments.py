"""Command lines: ``--config-file a.yaml b.yaml`` takes several files, KEY VALUE pairs stand at the end.

So does ``--dataset``, whose files become the value of DATASETS.FILES.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

CONFIG_FILE = "--config-file"
DATASET = "--dataset"
_WITH_FILES = (CONFIG_FILE, DATASET)
CONFIG_ROOTS = frozenset(
    ("CUDNN_BENCHMARK", "DATALOADER", "DATASETS", "GLOBAL", "INPUT", "MODEL", "OUTPUT_DIR", "SEED", "SOLVER", "TEST")
    + ("VERSION", "VIS_PERIOD", "ZSSEG")
)
"""First parts of all config keys, by which a word is known as a key before the config is there."""

MAX_FRAMES = 20_000
"""Default of ``--max-frames``: 11 minutes at 30 frames a second."""

EXIT_STATUSES = """\
exit status: 0 done; 1 something that can be fixed, in one line that begins with error:, or a traceback, which is a bug;
2 wrong arguments; 130 Ctrl-C; 141 nobody reads the output (docs/errors.md)"""


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose ``--config-file`` and ``--dataset`` take all the YAML files that follow them.

    Every program has ``--debug`` and ``--import``; subcommands (made by ``add_subparsers``) leave them to the program.

    Args:
        doc: docstring of the program; shown by ``--help`` as it is.
        prog: name of the program in messages. Default: the name of the script.
    """

    def __init__(self, doc: str | None = None, prog: str | None = None, **rest) -> None:
        is_program = "help" not in rest and doc is not None
        rest = {"formatter_class": argparse.RawDescriptionHelpFormatter, **rest}
        super().__init__(prog=prog, description=doc, **rest)
        if is_program:
            self.epilog = EXIT_STATUSES
            self.add_argument("--debug", action="store_true", help="show the traceback of an error")
            self.add_argument(
                "--import",
                dest="imports",
                action="append",
                default=[],
                metavar="MODULE_OR_FILE",
                help="import a Python module that registers datasets, methods or fusions of your own; may be repeated",
            )

    def add_process_arguments(self, *, machines: bool = False) -> None:
        """Add ``--num-gpus`` and, with `machines`, Detectron2's options for several machines."""
        self.add_argument(
            "--num-gpus", type=int, default=1, help="processes on this machine; without CUDA, CPU processes"
        )
        if not machines:
            self.set_defaults(num_machines=1, machine_rank=0, dist_url="auto")
            return
        port = 2**15 + 2**14 + os.getuid() % 2**14 if hasattr(os, "getuid") else 49152
        self.add_argument("--num-machines", type=int, default=1)
        self.add_argument("--machine-rank", type=int, default=0, help="rank of this machine, from 0")
        self.add_argument(
            "--dist-url", default=f"tcp://127.0.0.1:{port}", help="address of the first machine's process group"
        )

    def add_config_arguments(self, help: str, *, required: bool = False) -> None:
        """Add ``--config-file`` (``args.config_file``: a list), ``--dataset``, and ``opts`` (a list of words)."""
        self.add_argument(
            CONFIG_FILE, action="append", required=required, metavar="FILE", help=f"{help}; several merge in order"
        )
        self.add_dataset_argument()
        self.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys, at the end")

    def add_dataset_argument(self) -> None:
        """Add ``--dataset`` (``args.dataset``: a list), whose files are added to DATASETS.FILES in ``opts``."""
        self.add_argument(
            DATASET,
            action="append",
            default=[],
            metavar="FILE",
            help="YAML file of a dataset of your own (datasets/README.md); may be repeated",
        )

    def parse_known_args(self, args=None, namespace=None):
        words = split_config_files(sys.argv[1:] if args is None else args)
        parsed, rest = super().parse_known_args(words, namespace)
        if getattr(parsed, "config_file", ...) is None:
            parsed.config_file = []
        if hasattr(parsed, "opts") and getattr(parsed, "dataset", None):
            parsed.opts = [*parsed.opts, *dataset_options(parsed.dataset)]
        return parsed, rest


def parse_with_options(
    parser: ArgumentParser, argv: Sequence[str] | None, files: str, config: str
) -> argparse.Namespace:
    """Parse a command line of files and KEY VALUE pairs in any order, as ``predict`` and ``segment`` have it.

    Args:
        parser: to which the last arguments are added.
        argv: the words of the command line. Default: those of this process.
        files: name of the argument with the files, which KEY VALUE pairs may follow.
        config: the default of ``--config-file``, for the help.

    Returns:
        The arguments, with ``config_file`` and ``opts``.
    """
    parser.add_argument(CONFIG_FILE, action="append", metavar="FILE", help=f"default: {config}; several merge in order")
    parser.add_dataset_argument()
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys, at the end")
    args = parser.parse_intermixed_args(argv)
    named, moved = split_options(getattr(args, files))
    setattr(args, files, named)
    args.opts = moved + args.opts
    return args


def positive(text: str) -> int:
    """Read a number from 1 on."""
    number = int(text.replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def dataset_options(files: Sequence[str]) -> list[str]:
    """Return the KEY VALUE pair that names dataset files, with absolute paths; none without a file."""
    return ["DATASETS.FILES", str([os.path.abspath(os.path.expanduser(file)) for file in files])] if files else []


def split_config_files(words: Sequence[str]) -> list[str]:
    """Write ``--config-file a.yaml b.yaml`` as ``--config-file=a.yaml --config-file=b.yaml``, likewise ``--dataset``.

    The first word after the option is a file whatever it is called; more of them end in ``.yaml`` or ``.yml``.

    Example:
        >>> split_config_files(["--config-file", "a.yaml", "b.yaml", "SEED", "1"])
        ['--config-file=a.yaml', '--config-file=b.yaml', 'SEED', '1']
    """
    found: list[str] = []
    option = ""
    expected = 0  # 2: a file must follow; 1: more may follow
    for word in words:
        if word in _WITH_FILES and expected < 2:
            option, expected = word, 2
        elif expected == 2 and word.startswith("--"):
            return list(words)  # the file is missing: argparse says so
        elif word.startswith(tuple(f"{name}=" for name in _WITH_FILES)):
            found.append(word)
            option, expected = word.split("=")[0], 1
        elif expected == 2 or (expected == 1 and word.endswith((".yaml", ".yml"))):
            found.append(f"{option}={word}")
            expected = 1
        else:
            found.append(word)
            expected = 0
    return found if expected < 2 else list(words)


def split_options(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split files from the KEY VALUE pairs that follow them.

    A key is in capitals, below a node of the config, and not the name of a file.

    Example:
        >>> split_options(["a.jpg", "B.JPG", "MODEL.WEIGHTS", "x.pth"])
        (['a.jpg', 'B.JPG'], ['MODEL.WEIGHTS', 'x.pth'])
    """
    first = next((k for k, word in enumerate(words) if _is_key(word)), len(words))
    return list(words[:first]), list(words[first:])


def _is_key(word: str) -> bool:
    return word.isupper() and word.split(".")[0] in CONFIG_ROOTS and not os.path.isfile(word)
