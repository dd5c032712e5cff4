"""Options of programs that read labelled images without a config: INPUT.MAX_PIXELS and INPUT.EXIF_ORIENTATION."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zsseg_d2.data.images.reading import ImageRules

# Written out, because arguments are parsed before the package is imported; a test compares them.
MAX_PIXELS, LARGEST_MAX_PIXELS = 50_000_000, 178_000_000
EXIF_RULES = ("refuse", "apply", "ignore")


def add_image_rules(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-pixels`` and ``--exif-orientation``."""
    parser.add_argument(
        "--max-pixels",
        type=_pixels,
        default=MAX_PIXELS,
        help=f"larger images are refused before they are decoded; default: {MAX_PIXELS:,}",
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
    if not 0 < number <= LARGEST_MAX_PIXELS:
        raise argparse.ArgumentTypeError(f"{number} is not in 1 .. {LARGEST_MAX_PIXELS}")
    return number
