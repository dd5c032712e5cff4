"""Make the embedded data set of phrases: procedural pictures in the layout of VGPhraseCut_v0.

    python tools/make_miniphrases.py --root datasets
    python tools/make_miniphrases.py --preview sheet.png

Training and evaluation make it by themselves at the first use.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also from a clone that is not installed

from zsseg_d2.data.synthetic import write_miniphrases  # noqa: E402
from zsseg_d2.data.synthetic.phrase_sheet import phrase_sheet  # noqa: E402


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_root = os.environ.get("DETECTRON2_DATASETS") or "datasets"
    parser.add_argument(
        "--root", type=Path, default=Path(default_root), help="default: $DETECTRON2_DATASETS or ./datasets"
    )
    parser.add_argument("--train", type=int, default=1000, help="training images")
    parser.add_argument("--val", type=int, default=60, help="validation images, without miniv")
    parser.add_argument("--test", type=int, default=100, help="test images")
    parser.add_argument("--miniv", type=int, default=10, help="images of the small split for trying things out")
    parser.add_argument("--side", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-workers", type=int, help="processes; default: one a usable core")
    parser.add_argument(
        "--preview", type=Path, metavar="PNG", help="write only a sheet of pictures with phrases and masks"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = vars(parse_arguments(arguments))
    preview, root = options.pop("preview"), options.pop("root")
    try:
        if preview is None:
            print(write_miniphrases(root, **options))
        else:
            phrase_sheet(options["seed"], options["side"]).save(preview)
            print(preview)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing was left behind", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
