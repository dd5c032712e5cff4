"""Split the checkpoint of two models (combined training) into two ordinary FC-CLIP checkpoints, or join two.

    python tools/combined_weights.py split output/minicity/combined_entropy/model_final.pth
    python tools/combined_weights.py split combined.pth --output-one out.safetensors --output-two in.safetensors
    python tools/combined_weights.py join out.safetensors in.safetensors combined.safetensors

By default, split writes model_final_one.safetensors (the out-of-vocabulary specialist) and
model_final_two.safetensors (the in-vocabulary one) to the folder of its input.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program

if TYPE_CHECKING:
    from torch import Tensor


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    commands = parser.add_subparsers(dest="command", required=True)
    split = commands.add_parser("split", help="one checkpoint of two models -> two ordinary checkpoints")
    split.add_argument("combined")
    split.add_argument("--output-one", help="a .safetensors file; default: <input>_one.safetensors")
    split.add_argument("--output-two", help="a .safetensors file; default: <input>_two.safetensors")
    join = commands.add_parser("join", help="two ordinary checkpoints -> one checkpoint of two models")
    join.add_argument("one", help="the out-of-vocabulary specialist")
    join.add_argument("two", help="the in-vocabulary one")
    join.add_argument("output", help="a .safetensors file")
    for command in (split, join):
        command.add_argument("--overwrite", action="store_true", help="replace files that exist")
    return parser.parse_args(argv)


def split_file(args: argparse.Namespace) -> None:
    from zsseg_d2.engine.checkpoints.provenance import ENTRY, derived
    from zsseg_d2.engine.checkpoints.weight_arithmetic import split_parts
    from zsseg_d2.engine.checkpoints.weights_files import SUFFIX, check_output, find_weights, read_weights

    source = find_weights(args.combined)
    names = {"one": args.output_one, "two": args.output_two}
    outputs = [check_output(name or source.with_name(f"{source.stem}_{part}{SUFFIX}")) for part, name in names.items()]
    if outputs[0].absolute() == outputs[1].absolute():
        raise FileExistsError(f"--output-one and --output-two are the same file, '{outputs[0]}'.")
    parts = split_parts(read_weights(source), f"'{args.combined}'")
    metadata = {ENTRY: derived("combined_weights split", [source]).as_entry()}
    write(dict(zip(outputs, parts)), metadata, args.overwrite)


def join_files(args: argparse.Namespace) -> None:
    from zsseg_d2.engine.checkpoints.provenance import ENTRY, derived
    from zsseg_d2.engine.checkpoints.weight_arithmetic import join_parts
    from zsseg_d2.engine.checkpoints.weights_files import check_output, find_weights, read_weights

    output = check_output(args.output)
    files = [find_weights(path) for path in (args.one, args.two)]
    one, two = (read_weights(path) for path in files)
    joined = join_parts(one, two, sources=(f"'{args.one}'", f"'{args.two}'"))
    metadata = {ENTRY: derived("combined_weights join", files).as_entry()}
    write({output: joined}, metadata, args.overwrite)


def write(outputs: Mapping[Path, Mapping[str, Tensor]], metadata: Mapping, overwrite: bool) -> None:
    """Write files of weights; those that an earlier run of the same command has completed are kept.

    Raises:
        FileExistsError: one of them is something else, and is not to be replaced. No file has been written then.
    """
    from zsseg_d2.engine.checkpoints.weights_files import check_output, holds_already, write_weights

    kept = {path for path, state in outputs.items() if not overwrite and holds_already(path, state, metadata)}
    for path in outputs.keys() - kept:
        check_output(path, overwrite=overwrite)
    for path, state in outputs.items():
        print(f"kept {path}: it holds these weights" if path in kept else write_weights(path, state, metadata=metadata))


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Split or join."""
    split_file(args) if args.command == "split" else join_files(args)
