"""The console command ``zsseg-d2``; outside the package, so that ``zsseg-d2 --help`` does not import torch."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from importlib import metadata

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("train_net:main", "train a model (tools/train_net.py)"),
    "evaluate": ("train_net:evaluate", "evaluate a model (tools/train_net.py --eval-only)"),
    "predict": ("segment:main", "segment the phrases of a command line in images"),
    "make-pseudo-labels": ("make_pseudo_labels:main", "label deleted classes of a training set with a zero-shot model"),
    "delete-classes": ("delete_classes:main", "write copies of a dataset without the labels of some classes"),
    "wise-ft": ("wise_ft:main", "interpolate zero-shot and fine-tuned weights, and evaluate the curve"),
    "run-suite": ("run_suite:main", "run all methods of a suite over several seeds, and compare them"),
    "export-weights": ("export_weights:main", "write the weights of a checkpoint alone"),
    "combined-weights": ("combined_weights:main", "split the checkpoint of two models, or join two"),
    "make-minicity": ("make_minicity:main", "render the street scenes of MiniCity"),
    "make-miniphrases": ("make_miniphrases:main", "render the images and phrases of MiniPhrases"),
    "prepare-phrasecut": ("prepare_phrasecut:main", "validate a download of PhraseCut"),
    "pretrain-mini-clip": ("pretrain_mini_clip:main", "train an embedded mini CLIP"),
    "analyze-smoothness": ("analyze_smoothness:main", "compare grey levels within and across objects"),
    "benchmark": ("benchmark:main", "time fast forms against plain ones"),
    "benchmark-methods": ("benchmark_methods:main", "time a training step of each method"),
}
"""Command -> (module of ``zsseg_d2.cli`` and function, one line of help)."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int | None:
    """Run one command.

    Args:
        argv: the command and its own arguments. Default: those of this process.
        prog: name of the program in messages. Default: ``zsseg-d2 COMMAND``.

    Returns:
        The exit status; None counts as 0.
    """
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
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
    module, function = COMMANDS[command][0].split(":")
    program = importlib.import_module(f"zsseg_d2.cli.{module}")
    return getattr(program, function)(rest, prog or f"zsseg-d2 {command}")


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
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
