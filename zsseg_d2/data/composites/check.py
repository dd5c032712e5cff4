"""Check of a folder of composites, masks and depth maps under either published naming scheme. Nothing is changed."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...reading import printable
from ..errors import DatasetError
from ..images.opening import opened_image
from ..phrasecut.problems import Finding
from .parts import SUFFIXES
from .schemes import Key, parse

_LOSSY = "JPEG"


@dataclass
class CheckReport:
    """What a folder holds and what is wrong with it.

    Attributes:
        composites: number of composites; likewise `masks` and `depth`.
        wrong: problems that spoil training, by kind.
        notes: peculiarities, by kind.
    """

    composites: int = 0
    masks: int = 0
    depth: int = 0
    wrong: dict[str, Finding] = field(default_factory=dict)
    notes: dict[str, Finding] = field(default_factory=dict)

    def add(self, kind: str, place: str, *, note: bool = False) -> None:
        """Count a finding of this kind."""
        (self.notes if note else self.wrong).setdefault(kind, Finding()).add(place)

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        head = f"{self.composites:,} composites, {self.masks:,} masks, {self.depth:,} depth maps"
        found = [
            (word, *item) for word, group in (("wrong", self.wrong), ("note", self.notes)) for item in group.items()
        ]
        return [head] + [
            f"  {word:6}{kind}: {f.count:,} ({'; '.join(f.examples)}{'; ...' if f.count > len(f.examples) else ''})"
            for word, kind, f in found
        ]


@dataclass
class _Files:
    composites: dict[Key, Path] = field(default_factory=dict)
    masks: dict[Key, Path] = field(default_factory=dict)
    depth: dict[Key, Path] = field(default_factory=dict)


def check_folder(folder: str | os.PathLike, *, progress: bool = False) -> CheckReport:
    """Check all files below a folder.

    What a file is follows from its name and from the folder that it is in: one whose name has "mask" holds masks, one
    with "depth" depth maps. Folders of backgrounds, foregrounds and hidden ones are left out.

    Args:
        folder: with the files of one set.
        progress: draw a bar.

    Raises:
        DatasetError: there is no such folder, or nothing in it follows a scheme.
    """
    root, report = Path(folder), CheckReport()
    files = _found(root, report)
    report.composites, report.masks, report.depth = len(files.composites), len(files.masks), len(files.depth)
    if not (files.composites or files.masks):
        raise DatasetError(
            f"{printable(root)}: no file has a name like fg001_bg1_01.png or set_plain_fg_1_bg_1_01.png. "
            "Fix: name the folder that holds the composites and masks of one set."
        )
    _check_partners(files, root, report)
    usual = _check_sizes(files, root, report, progress)
    masks = tqdm(files.masks.items(), desc="masks", unit="mask", disable=None if progress else True, leave=False)
    for key, path in masks:
        _check_mask(path, _short(path, root), usual.get(key), report)
    maps = tqdm(files.depth.items(), desc="depth", unit="map", disable=None if progress else True, leave=False)
    for key, path in maps:
        _check_depth(path, _short(path, root), usual.get(key), report)
    return report


def _short(path: Path, root: Path) -> str:
    return printable(path.relative_to(root))


def _found(root: Path, report: CheckReport) -> _Files:
    files, running = _Files(), _Files()
    if not root.is_dir():
        raise DatasetError(f"{printable(root)}: there is no such folder. Fix: check the path.")
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f[0] != "." and f.lower() not in ("backgrounds", "foregrounds"))
        inside = Path(parent).relative_to(root).as_posix().lower()
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() not in SUFFIXES:
                continue
            parsed = parse(path.stem)
            if parsed is None:
                report.add("names of no scheme", _short(path, root), note=True)
                continue
            scheme, is_mask, key = parsed
            into = running if scheme == 1 and is_mask else files
            kind = "masks" if is_mask or "mask" in inside else "depth" if "depth" in inside else "composites"
            group = getattr(into, kind)
            if key in group:
                report.add("two files of one name", f"{_short(group[key], root)} and {_short(path, root)}")
            group[key] = path
    _unite(files, running)
    return files


def _unite(files: _Files, running: _Files) -> None:
    """Give masks of scheme 1, which number the backgrounds from 1, the names of the backgrounds."""
    backgrounds = sorted({key.background for key in files.composites}, key=_natural)
    for key, path in running.masks.items():
        number = int(key.background)
        known = backgrounds[number - 1] if 0 < number <= len(backgrounds) else f"number {number}"
        files.masks[key._replace(background=known)] = path


def _natural(text: str) -> list:
    """Return a key by which "bg2" comes before "bg10"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _check_partners(files: _Files, root: Path, report: CheckReport) -> None:
    for what, group in (("mask", files.masks), ("depth map", files.depth)):
        if what == "depth map" and not group:
            continue
        for key in files.composites.keys() - group.keys():
            report.add(f"composites without a {what}", _short(files.composites[key], root))
        for key in group.keys() - files.composites.keys():
            report.add(f"{what}s without a composite", _short(group[key], root))
    for finding in report.wrong.values():
        finding.examples.sort()


def _check_sizes(files: _Files, root: Path, report: CheckReport, progress: bool) -> dict[Key, tuple[int, int]]:
    """Return the (height, width) of each composite; one that differs from the most is told."""
    sizes: dict[Key, tuple[int, int]] = {}
    items = files.composites.items()
    for key, path in tqdm(items, desc="composites", unit="image", disable=None if progress else True, leave=False):
        try:
            with opened_image(path) as image:
                sizes[key] = image.height, image.width
        except DatasetError as error:
            report.add("damaged files", str(error))
    if sizes:
        (height, width), _ = Counter(sizes.values()).most_common(1)[0]
        for key, (h, w) in sizes.items():
            if (h, w) != (height, width):
                report.add(
                    "sizes that differ", f"{_short(files.composites[key], root)} is {w}x{h}, most {width}x{height}"
                )
    return sizes


def _check_mask(path: Path, name: str, size: tuple[int, int] | None, report: CheckReport) -> None:
    try:
        with opened_image(path, "mask") as image:
            mode = image.mode
            values = np.asarray(image.convert("RGB" if mode not in ("1", "L", "I;16", "I") else mode))
    except DatasetError as error:
        report.add("damaged files", str(error))
        return
    _compare_size("masks of another size", name, values.shape, size, report)
    if mode not in ("1", "L"):
        report.add("masks that are not grey", f"{name} is {mode}")
        values = values[..., 0] if values.ndim == 3 else values
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    levels = np.unique(values)
    if set(levels.tolist()) <= {0, 1} and levels[-1] == 1:
        report.add("masks with 0 and 1 in place of 0 and 255", f"{name} has {_listed(levels)}")
        values = values * 255
    elif not set(levels.tolist()) <= {0, 255}:
        share = np.isin(values, (0, 255), invert=True).mean()
        report.add(
            "masks with grey pixels", f"{name} has {share:.1%} between 0 and 255, such as {_listed(levels[1:-1])}"
        )
    white = values > 127
    border = np.concatenate([white[0], white[-1], white[:, 0], white[:, -1]])
    if white.mean() > 0.5 and border.mean() > 0.5:
        report.add(
            "masks that seem inverted",
            f"{name} is white on {white.mean():.0%}, and on {border.mean():.0%} of its border",
        )
    if not white.any():
        report.add("empty masks", name, note=True)


def _check_depth(path: Path, name: str, size: tuple[int, int] | None, report: CheckReport) -> None:
    try:
        with opened_image(path, "depth map") as image:
            mode, lossy = image.mode, image.format == _LOSSY
            values = np.asarray(image.convert("RGB") if mode in ("P", "CMYK", "RGBA") else image)
    except DatasetError as error:
        report.add("damaged files", str(error))
        return
    _compare_size("depth maps of another size", name, values.shape, size, report)
    if values.ndim == 3:
        report.add("depth maps that are not grey", f"{name} is {mode}")
    if lossy:
        report.add("depth maps as JPEG, with rounded and blurred values", name, note=True)
    if values.min() == values.max():
        report.add("depth maps of one value", f"{name} is {values.min()} everywhere")


def _compare_size(
    kind: str, name: str, found: tuple[int, ...], wanted: tuple[int, int] | None, report: CheckReport
) -> None:
    if wanted is not None and found[:2] != wanted:
        report.add(kind, f"{name} is {found[1]}x{found[0]}, its composite {wanted[1]}x{wanted[0]}")


def _listed(levels: Iterable) -> str:
    shown = [str(level) for level in levels]
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")
