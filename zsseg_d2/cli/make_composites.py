"""Write composites with masks, depth and boxes to files, for other programs; check such a folder; channel statistics.

    python tools/make_composites.py --output out --split train --count 1000
    python tools/make_composites.py --output out --foregrounds cutouts --backgrounds photos --split all
    python tools/make_composites.py --check out
    python tools/make_composites.py --statistics out

Training makes composites on the fly and needs none of these files. A run that was stopped goes on where it was.
The exit status of --check is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program

SPLITS = ("train", "val", "test")


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--output", type=Path, metavar="FOLDER", help="write composites here")
    task.add_argument("--check", type=Path, metavar="FOLDER", help="check a folder with names of either scheme")
    task.add_argument("--statistics", type=Path, metavar="FOLDER", help="channels of the images of a folder")
    task.add_argument(
        "--edges", type=Path, metavar="FOLDER", help="how much of RGBA foregrounds is covered, and partly"
    )
    parser.add_argument("--edges-side", type=int, default=0, metavar="PIXELS", help="--edges of foregrounds that large")
    _add_parts(parser.add_argument_group("what composites are made of"))
    _add_settings(parser.add_argument_group("how composites are made"))
    files = parser.add_argument_group("files")
    files.add_argument("--scheme", type=int, choices=(1, 2), default=2, help="published naming scheme; default: 2")
    files.add_argument("--jpeg", type=int, default=0, metavar="QUALITY", help="composites as JPEG; default: PNG")
    files.add_argument("--first", type=int, default=0, help="number of the first composite")
    files.add_argument("--count", type=int, help="number of composites; default: all")
    files.add_argument("--num-workers", type=int, help="processes; default: one a usable core")
    args = parser.parse_args(argv)
    if args.jpeg and not 1 <= args.jpeg <= 100:
        parser.error("--jpeg: it must be a quality from 1 to 100")
    if args.edges_side < 0:
        parser.error("--edges-side: it must be a number of pixels")
    if bool(args.foregrounds) != bool(args.backgrounds):
        parser.error("--foregrounds and --backgrounds: give both")
    return args


def _add_parts(group: argparse._ArgumentGroup) -> None:
    root = os.environ.get("DETECTRON2_DATASETS") or "datasets"
    group.add_argument("--root", type=Path, default=Path(root), help="default: $DETECTRON2_DATASETS or ./datasets")
    group.add_argument("--split", choices=(*SPLITS, "all"), default="train", help="all: of folders of your own")
    group.add_argument("--foregrounds", type=Path, help="folder of RGBA images; default: the embedded set")
    group.add_argument("--backgrounds", type=Path, help="folder of backgrounds")
    group.add_argument("--foreground-depth", type=Path, help="folder of depth maps, 8 or 16 bits, named as the images")
    group.add_argument("--background-depth", type=Path)
    group.add_argument("--depth-kind", choices=("metric", "relative"), default="metric")
    group.add_argument("--depth-unit", type=float, default=0.001, help="metres of a step of metric maps")
    group.add_argument("--depth-near-is", choices=("small", "large"), default="small", help="of relative maps")
    group.add_argument("--depth-model", type=Path, metavar="FOLDER", help="predict depth by this transformers model")


def _add_settings(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--size", type=int, default=192, help="side in pixels; default: 192")
    group.add_argument("--scale", type=float, nargs=2, default=(0.35, 0.65), help="longer side of foregrounds, share")
    group.add_argument("--positions", choices=("random", "grid"), default="random")
    group.add_argument("--per-pair", type=int, default=20, help="random positions of a pair; default: 20")
    group.add_argument("--grid-step", type=int, default=0, help="pixels, published: 28; default: size / 8")
    group.add_argument("--overhang", type=float, default=0.0, help="share beyond the border at random positions")
    group.add_argument("--no-flips", action="store_true", help="no mirrored foregrounds")
    group.add_argument("--seed", type=int, default=0)


@program(parse_arguments)
def main(args: argparse.Namespace) -> int:
    """Write, check or count."""
    try:
        if args.check is not None:
            return _check(args.check)
        if args.edges is not None:
            return _edges(args)
        return _statistics(args) if args.statistics is not None else _write(args)
    except KeyboardInterrupt:
        kept = "; the same command goes on from here" if args.output is not None else ""
        print(f"interrupted{kept}", file=sys.stderr)
        return 130


def _check(folder: Path) -> int:
    from zsseg_d2.data.composites.check import check_folder

    report = check_folder(folder, progress=True)
    print("\n".join(report.lines()))
    print("Something is wrong; see above." if report.wrong else "Nothing is wrong.")
    return int(bool(report.wrong))


def _statistics(args: argparse.Namespace) -> int:
    from zsseg_d2.data.composites.parts import image_files
    from zsseg_d2.data.composites.statistics import merged, of_files
    from zsseg_d2.data.synthetic import workers

    inside = args.statistics / "composites"
    files = image_files(inside if inside.is_dir() else args.statistics, "images")
    chunks = [files[k : k + 64] for k in range(0, len(files), 64)]
    found = merged(workers.run(of_files, chunks, "images (x 64)", args.num_workers, "chunk"))
    print(f"{len(files):,} images, {found.count:,} pixels; R G B in [0, 1]")
    print("mean", *(f"{value:.6f}" for value in found.mean))
    print("std ", *(f"{value:.6f}" for value in found.std))
    return 0


def _edges(args: argparse.Namespace) -> int:
    from zsseg_d2.data.composites.parts import image_files
    from zsseg_d2.data.composites.statistics import edges_of_files
    from zsseg_d2.data.synthetic import workers

    files = image_files(args.edges, "foregrounds")
    chunks = [files[k : k + 64] for k in range(0, len(files), 64)]
    count = partial(edges_of_files, longer_side=args.edges_side)
    parts = workers.run(count, chunks, "foregrounds (x 64)", args.num_workers, "chunk")
    found = [edges for part in parts for edges in part]
    print(f"{len(found):,} foregrounds: mean (smallest to largest) share of the pixels of a file")
    for name in ("covered", "partial"):
        shares = [getattr(edges, name) for edges in found]
        print(f"{name} {sum(shares) / len(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})")
    return 0


def _write(args: argparse.Namespace) -> int:
    from zsseg_d2.data.composites.composer import Composer
    from zsseg_d2.data.composites.depth_model import DepthModel
    from zsseg_d2.data.composites.settings import CompositeSettings
    from zsseg_d2.data.composites.writer import CompositeWriter, Output, size_in_words
    from zsseg_d2.data.errors import DatasetError

    settings = CompositeSettings(
        args.size,
        tuple(args.scale),
        args.positions,
        args.per_pair,
        args.grid_step,
        args.overhang,
        not args.no_flips,
        args.seed,
    )
    composer = Composer(_parts(args), settings)
    stop = len(composer) if args.count is None else args.first + args.count
    if not 0 <= args.first < stop <= len(composer):
        raise DatasetError(f"--first {args.first} --count {args.count}: there are {len(composer):,} composites.")
    model = None if args.depth_model is None else DepthModel(args.depth_model)
    writer = CompositeWriter(composer, Output(args.output, args.scheme, args.jpeg), model)
    indices = range(args.first, stop)
    print(f"{len(indices):,} of {len(composer):,} composites, about {size_in_words(writer.estimate(indices))} on disk")
    written = writer.write(indices, args.num_workers)
    print(f"{args.output}: {written:,} written, {len(indices) - written:,} were there")
    return 0


def _parts(args: argparse.Namespace):
    from zsseg_d2.data.composites.dataset import load_split
    from zsseg_d2.data.composites.depth import DepthFormat
    from zsseg_d2.data.composites.parts import find_parts
    from zsseg_d2.data.composites.splits import split_parts
    from zsseg_d2.data.errors import DatasetError
    from zsseg_d2.data.synthetic.composites import ensure_composite_parts

    if args.foregrounds is None:
        if args.split == "all":
            raise DatasetError("--split all: it is for folders of your own. Fix: --split train, val or test")
        return load_split(ensure_composite_parts(args.root), args.split)
    near = args.depth_near_is if args.depth_kind == "relative" else "small"
    depth = DepthFormat(args.depth_kind, args.depth_unit, near)
    found = find_parts(args.foregrounds, args.backgrounds, args.foreground_depth, args.background_depth, depth)
    return found if args.split == "all" else split_parts(found)[args.split]
