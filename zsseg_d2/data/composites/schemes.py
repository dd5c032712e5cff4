"""The two published naming schemes of composites, their masks and their depth maps."""

from __future__ import annotations

import re
from typing import NamedTuple

from .numbering import Choice

SCHEMES = (1, 2)
_ONE = re.compile(r"(?P<folder>.*?)_(?P<prefix>[^_]*)_fg_(?P<fg>.+)_bg_(?P<bg>.+)_(?P<position>\d{2,})")
_ONE_MASK = re.compile(r"(?P<set>.*?)_mask_(?P<fg>.+)-mask_bg_(?P<black>.+)_(?P<bg>\d{3,})_(?P<position>\d{2,})")
_TWO = re.compile(r"fg(?P<fg>\d+)(?P<flip>flip)?_bg(?P<bg>\d+)_(?P<position>\d{2,})")


class Key(NamedTuple):
    """What a name says; equal for the files of one composite."""

    set: str  # scheme 1: folder and prefix; scheme 2: "flip" or ""
    foreground: str
    background: str  # scheme 1, of masks: a running number from 1
    position: int


def stem(scheme: int, choice: Choice) -> str:
    """Return the name of a composite and of its depth map, without the ending.

    Example:
        >>> stem(1, Choice(4, 11, 1, 0)), stem(2, Choice(4, 11, 1, 0))
        ('composites_flip_fg_005_bg_012_01', 'fg005flip_bg12_01')
    """
    foreground, background, flip, position = choice.foreground + 1, choice.background + 1, choice.flip, choice.position
    if scheme == 1:
        return f"composites_{'flip' if flip else 'plain'}_fg_{foreground:03}_bg_{background:03}_{position + 1:02}"
    return f"fg{foreground:03}{'flip' if flip else ''}_bg{background}_{position + 1:02}"


def mask_stem(scheme: int, choice: Choice) -> str:
    """Return the name of a mask, without the ending.

    Example:
        >>> mask_stem(1, Choice(4, 11, 1, 0))
        'compositesflip_mask_005-mask_bg_black_012_01'
    """
    if scheme == 2:
        return stem(scheme, choice)
    flip, background = "flip" if choice.flip else "plain", choice.background + 1
    return f"composites{flip}_mask_{choice.foreground + 1:03}-mask_bg_black_{background:03}_{choice.position + 1:02}"


def parse(name: str) -> tuple[int, bool, Key] | None:
    """Read a name.

    Args:
        name: of a file, without the ending.

    Returns:
        The scheme, whether scheme 1 names a mask, and what the name says; None if it follows no scheme.
    """
    if found := _TWO.fullmatch(name):
        return 2, False, Key(found["flip"] or "", found["fg"], found["bg"], int(found["position"]))
    if found := _ONE_MASK.fullmatch(name):
        return 1, True, Key(found["set"], found["fg"], str(int(found["bg"])), int(found["position"]))
    if found := _ONE.fullmatch(name):
        return 1, False, Key(found["folder"] + found["prefix"], found["fg"], found["bg"], int(found["position"]))
    return None
