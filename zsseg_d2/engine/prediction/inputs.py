"""Images and videos of a command line: files, folders, patterns; the next image prepared while one is computed."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from ...data.videos.reading import SUFFIXES as VIDEOS
from ...reading import printable
from ..errors import ConfigError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".jp2")
"""Endings of the files that folders and patterns stand for; a file that is named itself may have any."""

_AHEAD = 2  # images that are prepared in advance

S = TypeVar("S")
T = TypeVar("T")


class Source(NamedTuple):
    """An image: a file, or a frame of a video, counted from 0."""

    path: Path
    frame: int | None = None


def is_video(path: Path) -> bool:
    """Return whether the ending of a file is that of a video."""
    return path.suffix.lower() in VIDEOS


def find_images(words: Sequence[str], output: Path | None = None) -> list[Path]:
    """List the images and videos that files, folders (with those below) and patterns (``photos/**/*.jpg``) stand for.

    Args:
        words: of the command line.
        output: folder whose files are left out, where a folder or a pattern includes it.

    Returns:
        Each file once, in the order of the words; those of a folder or pattern by name.

    Raises:
        ConfigError: nothing is there.
    """
    found: dict[Path, Path] = {}
    for word in words:
        for path in _expanded(word, output):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _expanded(word: str, output: Path | None) -> list[Path]:
    path = Path(word).expanduser()
    if path.is_dir():
        several = list(path.rglob("*"))
    elif os.path.lexists(path):
        return [path]
    elif glob.has_magic(word):
        several = [Path(name) for name in glob.glob(str(path), recursive=True)]
    else:
        raise ConfigError(f"{printable(word)}: there is no such image, video, folder or pattern. Fix: check the path.")
    own = None if output is None else output.resolve()
    images = [
        p
        for p in sorted(several)
        if p.suffix.lower() in IMAGES + VIDEOS and p.is_file() and (own is None or own not in p.resolve().parents)
    ]
    if not images:
        endings = ", ".join(IMAGES + VIDEOS)
        raise ConfigError(f"{printable(word)}: there is no image or video ({endings}). Fix: name the files.")
    return images


def name_images(paths: Iterable[Path], taken: Mapping[Path, str]) -> dict[Path, str]:
    """Give each image a name of its own for its results: that of its file, if need be with its folder or a number.

    Args:
        paths: files.
        taken: names that were given before, which stay.

    Returns:
        Path -> name, which can be part of a file name.
    """
    used = {name.casefold() for name in taken.values()}  # some file systems know no letter case
    names: dict[Path, str] = {}
    for path in paths:
        if path in taken:
            names[path] = taken[path]
            continue
        name = stem = _clean(path.stem)
        if name.casefold() in used:
            name = stem = f"{_clean(path.absolute().parent.name)}_{stem}"
        number = 1
        while name.casefold() in used:
            number += 1
            name = f"{stem}_{number}"
        used.add(name.casefold())
        names[path] = name
    return names


def _clean(name: str) -> str:
    return printable(name).replace("\\", "_").strip() or "image"


def prepared(
    sources: Iterable[S], prepare: Callable[[S], T], ahead: int = _AHEAD
) -> Iterator[tuple[S, Callable[[], T]]]:
    """Prepare images in another thread, in their order, a few ahead of the one that is used.

    Args:
        sources: what `prepare` takes.
        prepare: called for one at a time.
        ahead: number of images that are prepared in advance.

    Yields:
        Each source, and a function that returns what `prepare` returned for it, or raises what it raised.
    """
    with ThreadPoolExecutor(1, "images") as pool:
        waiting: deque[tuple[S, Future[T]]] = deque()
        try:
            for source in sources:
                waiting.append((source, pool.submit(prepare, source)))
                if len(waiting) > ahead:
                    done = waiting.popleft()
                    yield done[0], done[1].result
                    del done  # it holds an image
            while waiting:
                done = waiting.popleft()
                yield done[0], done[1].result
                del done
        finally:
            for _, future in waiting:
                future.cancel()
