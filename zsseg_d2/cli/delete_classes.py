"""Write class-deleted copies of a panoptic dataset.

python tools/delete_classes.py --root datasets/cityscapes --split train --configuration 008
python tools/delete_classes.py --root datasets/cityscapes --split train --classes person 25
python tools/delete_classes.py --root datasets/cityscapes --split train --configurations 001 004-008
python tools/delete_classes.py --root datasets/cityscapes --split train --configurations all
python tools/delete_classes.py --root datasets/coco --family openvocab_coco_2017_panoptic --split train --classes cat
python tools/delete_classes.py --dataset my.yaml --split train --configurations all --output my_copies
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program

if TYPE_CHECKING:
    from zsseg_d2.data import PanopticFamily
    from zsseg_d2.data.class_deletion.export import ClassDeletedExport


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument(
        "--root", type=Path, help="folder of the dataset; never written to. Default: that of --dataset or --family"
    )
    parser.add_dataset_argument()
    parser.add_argument(
        "--family",
        metavar="PREFIX",
        help="layout and classes: openvocab_cityscapes_fine_panoptic, minicity_panoptic, "
        "openvocab_coco_2017_panoptic, openvocab_ade20k_panoptic, "
        "openvocab_mapillary_vistas_panoptic, miniworld_panoptic, or your own; "
        "default: that of --dataset, else Cityscapes' (also for MiniCity)",
    )
    parser.add_argument("--split", nargs="+", default=["train"], help="default: train")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--configuration",
        "--configurations",
        nargs="+",
        metavar="NAME",
        help="000 to 008; also ranges (002-005) and 'all'; common work is done once",
    )
    what.add_argument("--classes", nargs="+", help="names or label ids of the classes to delete")
    what.add_argument("--all", action="store_true", help="the same as --configurations all")
    parser.add_argument(
        "--output",
        type=Path,
        help="default: ROOT_008, next to the root; with several configurations, the folder of 001, 002, …",
    )
    parser.add_argument("--copy-images", action="store_true", help="copy the images instead of linking to them")
    parser.add_argument("--num-workers", type=int, help="processes; default: one a usable core")
    parser.add_argument("--overwrite", action="store_true", help="replace what a run with other arguments wrote")
    args = parser.parse_args(argv)
    if len(args.dataset) > 1:
        parser.error(f"--dataset: one is copied at a time, but there are {len(args.dataset)}.")
    if not (args.root or args.dataset or args.family):
        parser.error("--root is missing, or --dataset or --family, which say where the dataset is.")
    return args


def family(arguments: argparse.Namespace) -> PanopticFamily:
    """Return the family that --dataset describes or --family names.

    Raises:
        DatasetError: There is none.
    """
    from zsseg_d2.data import PANOPTIC_FAMILIES, DatasetError, register_dataset_file

    described = [register_dataset_file(path).prefix for path in arguments.dataset]
    name = arguments.family or (described or ["openvocab_cityscapes_fine_panoptic"])[0]
    if name not in PANOPTIC_FAMILIES:
        known = ", ".join(PANOPTIC_FAMILIES)
        raise DatasetError(f"--family {name}: there is no such family. Fix: choose one of {known}.")
    return PANOPTIC_FAMILIES[name]


def source(arguments: argparse.Namespace) -> Path:
    """Return the folder that is copied: --root, else that of the dataset."""
    return (arguments.root or family(arguments).folder()).resolve()


def planned_copies(arguments: argparse.Namespace) -> list[ClassDeletedExport]:
    """Plan the folder and the deleted classes of each copy."""
    from zsseg_d2.data import resolve_classes
    from zsseg_d2.data.class_deletion.configurations import chosen_configurations
    from zsseg_d2.data.class_deletion.export import ClassDeletedExport

    root, described = source(arguments), family(arguments)
    known = described.configurations
    configurations = ["all"] if arguments.all else arguments.configuration
    if configurations is not None:
        chosen = {name: known[name] for name in chosen_configurations(configurations, known)}
    else:
        label_ids = resolve_classes(arguments.classes, described.categories, configurations=known)
        chosen = {"without_" + "_".join(map(str, label_ids)): label_ids}
    if arguments.output is None:
        return [ClassDeletedExport(root.with_name(f"{root.name}_{name}"), ids) for name, ids in chosen.items()]
    several = len(chosen) > 1
    return [
        ClassDeletedExport(arguments.output / name if several else arguments.output, ids)
        for name, ids in chosen.items()
    ]


@program(parse_arguments)
def main(options: argparse.Namespace) -> int:
    """Write the copies of every split."""
    from zsseg_d2.data.class_deletion.export import write_deleted_copies

    try:
        for split in options.split:
            copies = planned_copies(options)
            write_deleted_copies(
                source(options),
                split,
                copies,
                family=family(options),
                copy_images=options.copy_images,
                num_workers=options.num_workers,
                overwrite=options.overwrite,
            )
            for copy in copies:
                print(f"{copy.output}: {split} {'was complete already' if copy.complete else 'written'}")
    except KeyboardInterrupt:
        print("Interrupted; the same command resumes.", file=sys.stderr)
        return 130
    return 0
