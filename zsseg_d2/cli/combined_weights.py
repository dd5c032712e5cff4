"""Split the checkpoint of two models (combined training) into two ordinary FC-CLIP checkpoints, join two, or take the
teacher out of a mean teacher's checkpoint.

    python tools/combined_weights.py split output/minicity/combined_entropy/model_final.pth
    python tools/combined_weights.py split combined.pth --output-one out.safetensors --output-two in.safetensors
    python tools/combined_weights.py join out.safetensors in.safetensors combined.safetensors
    python tools/combined_weights.py teacher output/cityscapes/mean_teacher/model_final.pth

By default, split writes model_final_one.safetensors (the out-of-vocabulary specialist) and
model_final_two.safetensors (the in-vocabulary one) to the folder of its input, and teacher
model_final_teacher.safetensors. Of a model with a mean teacher, split and join take the student.
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
    teacher = commands.add_parser(
        "teacher", help="the teacher in a mean teacher's checkpoint -> an ordinary checkpoint"
    )
    teacher.add_argument("checkpoint")
    teacher.add_argument("--output", help="a .safetensors file; default: <input>_teacher.safetensors")
    for command in (split, join, teacher):
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


def take_teacher(args: argparse.Namespace) -> None:
    from zsseg_d2.engine.checkpoints.provenance import ENTRY, derived
    from zsseg_d2.engine.checkpoints.weight_arithmetic import teacher_of
    from zsseg_d2.engine.checkpoints.weights_files import SUFFIX, check_output, find_weights, read_weights

    source = find_weights(args.checkpoint)
    output = check_output(args.output or source.with_name(f"{source.stem}_teacher{SUFFIX}"))
    teacher = teacher_of(read_weights(source), f"'{args.checkpoint}'")
    write({output: teacher}, {ENTRY: derived("combined_weights teacher", [source]).as_entry()}, args.overwrite)


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
    """Split, join, or take out the teacher."""
    {"split": split_file, "join": join_files, "teacher": take_teacher}[args.command](args)
