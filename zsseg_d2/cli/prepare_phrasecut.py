"""Validate a download of PhraseCut (or MiniPhrases): counts, files, sizes, polygons, ids. Nothing is changed.

    python tools/prepare_phrasecut.py check --root datasets/VGPhraseCut_v0
    python tools/prepare_phrasecut.py check --root datasets/VGPhraseCut_v0 --split miniv --json

The exit status is 1 where something is wrong; notes alone, such as polygons that reach beyond their image, leave it 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.image_arguments import add_image_rules, image_rules
from zsseg_d2.cli.program import program

SPLITS = ("train", "val", "test", "miniv")


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="report what a folder holds and what is wrong with it")
    check.add_argument("--root", type=Path, required=True, help="folder with refer_*.json and images; never written to")
    check.add_argument("--split", nargs="+", choices=SPLITS, default=list(SPLITS), help="default: all")
    check.add_argument("--decode", action="store_true", help="read every image to its end, not only its header")
    add_image_rules(check)
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args(argv)


@program(parse_arguments)
def main(options: argparse.Namespace) -> int:
    """Print what was found; 1 where something is wrong."""
    from zsseg_d2.data.phrasecut.check import check_phrasecut

    try:
        reports = check_phrasecut(
            options.root, options.split, decode=options.decode, progress=sys.stderr.isatty(), rules=image_rules(options)
        )
    except KeyboardInterrupt:
        print("Interrupted; nothing was changed.", file=sys.stderr)
        return 130
    wrong = any(report.wrong for report in reports)
    if options.json:
        print(
            json.dumps({"root": str(options.root), "ok": not wrong, "splits": [asdict(r) for r in reports]}, indent=2)
        )
        return int(wrong)
    print(options.root)
    for report in reports:
        print("\n".join(report.lines()))
    print("Something is wrong; see above." if wrong else "Nothing is wrong.")
    return int(wrong)
