"""Options of programs that read labelled images without a config: INPUT.MAX_PIXELS and INPUT.EXIF_ORIENTATION."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zsseg_d2.data.images.reading import ImageRules

EXIF_RULES = ("refuse", "apply", "ignore")
MAX_PIXELS = (50_000_000, 178_000_000)  # default and maximum; this module is imported before those that hold them


def add_image_rules(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-pixels`` and ``--exif-orientation``."""
    default, _ = MAX_PIXELS
    parser.add_argument(
        "--max-pixels",
        type=_pixels,
        default=default,
        help=f"larger images are refused before they are decoded; default: {default:,}",
    )
    parser.add_argument(
        "--exif-orientation",
        choices=EXIF_RULES,
        default=EXIF_RULES[0],
        help="images whose EXIF data turn them: refuse, apply (labels fit the image as it is shown) or ignore; "
        f"default: {EXIF_RULES[0]}",
    )


def image_rules(options: argparse.Namespace) -> ImageRules:
    """Return the rules that :func:`add_image_rules` parsed."""
    from zsseg_d2.data.images.reading import ImageRules

    return ImageRules(options.max_pixels, options.exif_orientation)


def _pixels(text: str) -> int:
    number = int(text.replace("_", ""))
    if not 0 < number <= MAX_PIXELS[1]:
        raise argparse.ArgumentTypeError(f"{number} is not in 1 .. {MAX_PIXELS[1]}")
    return number
