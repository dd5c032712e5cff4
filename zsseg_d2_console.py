"""The console command ``zsseg-d2``; outside the package, so that ``zsseg-d2 --help`` does not import torch."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from importlib import metadata
from types import ModuleType

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("train_net:main", "train a model (tools/train_net.py)"),
    "evaluate": ("train_net:evaluate", "evaluate a model (tools/train_net.py --eval-only)"),
    "predict": ("predict:main", "find the segments of any words in images"),
    "segment": ("segment:main", "segment the phrases of a command line in images"),
    "page": ("page:main", "open a page in the browser: an image and words in, named segments out"),
    "predict-composite": ("predict_composite:main", "cut a pasted object out of a picture, with mask and depth"),
    "make-pseudo-labels": ("make_pseudo_labels:main", "label deleted classes of a training set with a zero-shot model"),
    "delete-classes": ("delete_classes:main", "write copies of a dataset without the labels of some classes"),
    "wise-ft": ("wise_ft:main", "interpolate zero-shot and fine-tuned weights, and evaluate the curve"),
    "oracle-study": ("oracle_study:main", "evaluate a model with true classes, or with true masks"),
    "feature-statistics": (
        "feature_statistics:main",
        "compute statistics of CLIP's embeddings over a dataset",
    ),
    "run-suite": ("run_suite:main", "run all methods of a suite over several seeds, and compare them"),
    "export-weights": ("export_weights:main", "write the weights of a checkpoint alone"),
    "combined-weights": ("combined_weights:main", "split the checkpoint of two models, or join two"),
    "make-minicity": ("make_minicity:main", "render the street scenes of MiniCity"),
    "make-miniphrases": ("make_miniphrases:main", "render the images and phrases of MiniPhrases"),
    "make-composites": ("make_composites:main", "write composites with masks and depth to files, or check them"),
    "prepare-phrasecut": ("prepare_phrasecut:main", "validate a download of PhraseCut"),
    "pretrain-mini-clip": ("pretrain_mini_clip:main", "train an embedded mini CLIP"),
    "pretrain-mini-captioner": ("pretrain_mini_captioner:main", "train the embedded captioner"),
    "train-mini-composites": ("train_mini_composites:main", "train the embedded net of composites"),
    "analyze-smoothness": ("analyze_smoothness:main", "compare grey levels within and across objects"),
    "benchmark": ("benchmark:main", "time fast forms against plain ones"),
    "benchmark-methods": ("benchmark_methods:main", "time a training step of each method"),
}
"""Command -> (module of ``zsseg_d2.cli`` and function, one line of help)."""

_OF_PHRASES = ("--image", "--phrase", "--example")  # arguments of "segment", which was called "predict"

importing_a_program = False
"""Whether ``zsseg_d2`` is imported for the arguments of a program alone; see ``zsseg_d2.load``."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int | None:
    """Run one command.

    Args:
        argv: the command and its own arguments. Default: those of this process.
        prog: name of the program in messages. Default: ``zsseg-d2 COMMAND``.

    Returns:
        The exit status; None counts as 0.
    """
    try:
        return _run(sys.argv[1:] if argv is None else argv, prog)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            import_without_torch("zsseg_d2.process").end_if_nobody_reads()


def _run(argv: Sequence[str], prog: str | None) -> int | None:
    command, *rest = argv or ["--help"]
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command == "--version":
        print(metadata.version("zsseg_d2"))
        return 0
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        print(f"zsseg-d2: there is no command '{command}'.{hint} See: zsseg-d2 --help", file=sys.stderr)
        return 2
    if command == "predict" and any(word.split("=")[0] in _OF_PHRASES for word in rest):
        print("warning: phrases are segmented by: zsseg-d2 segment", file=sys.stderr)
        command = "segment"
    module, function = COMMANDS[command][0].split(":")
    return getattr(import_program(module), function)(rest, prog or f"zsseg-d2 {command}")


def import_program(name: str) -> ModuleType:
    """Import a module of ``zsseg_d2.cli`` without torch, which its program loads once its arguments are parsed."""
    return import_without_torch(f"zsseg_d2.cli.{name}")


def import_without_torch(name: str) -> ModuleType:
    """Import a module of ``zsseg_d2`` that needs nothing of what :func:`zsseg_d2.load` loads."""
    global importing_a_program
    importing_a_program = True
    try:
        return importlib.import_module(name)
    finally:
        importing_a_program = False


def usage() -> str:
    """Return the list of commands."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{help}" for name, (_, help) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: zsseg-d2 COMMAND [arguments]",
            "",
            "commands:",
            *lines,
            "",
            "zsseg-d2 COMMAND --help says more of each.",
            "",
            "exit status: 0 done; 1 something that can be fixed, in one line that begins with error:, or a traceback,",
            "which is a bug; 2 wrong arguments; 130 Ctrl-C; 141 nobody reads the output. --debug shows tracebacks.",
        ]
    )


if __name__ == "__main__":
    from zsseg_d2_console import main as imported  # by its name, under which zsseg_d2 looks for it

    sys.exit(imported())
