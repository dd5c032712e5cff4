"""Images of a command line: files, folders and patterns, and the next one prepared while one is computed."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ...reading import printable
from ..errors import ConfigError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".jp2")
"""Endings of the files that folders and patterns stand for; a file that is named itself may have any."""

_VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_AHEAD = 2  # images that are prepared in advance

T = TypeVar("T")


def find_images(words: Sequence[str], output: Path | None = None) -> list[Path]:
    """List the images that files, folders (with those below) and patterns such as ``photos/**/*.jpg`` stand for.

    Args:
        words: of the command line.
        output: folder whose files are left out, where a folder or a pattern includes it.

    Returns:
        Each image once, in the order of the words; those of a folder or pattern by name.

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
        if path.suffix.lower() in _VIDEOS:
            raise ConfigError(
                f"{printable(word)}: is a video. Fix: write its frames as images, and name their folder "
                f"(ffmpeg -i {printable(path.name)} frames/%06d.png)."
            )
        return [path]
    elif glob.has_magic(word):
        several = [Path(name) for name in glob.glob(str(path), recursive=True)]
    else:
        raise ConfigError(f"{printable(word)}: there is no such image, folder or pattern. Fix: check the path.")
    own = None if output is None else output.resolve()
    images = [
        p
        for p in sorted(several)
        if p.suffix.lower() in IMAGES and p.is_file() and (own is None or own not in p.resolve().parents)
    ]
    if not images:
        raise ConfigError(f"{printable(word)}: there is no image ({', '.join(IMAGES)}). Fix: name the images.")
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


def prepared(paths: Sequence[Path], prepare: Callable[[Path], T]) -> Iterator[tuple[Path, Callable[[], T]]]:
    """Prepare images in another thread, a few ahead of the one that is used.

    Yields:
        Each path, and a function that returns what `prepare` returned for it, or raises what it raised.
    """
    with ThreadPoolExecutor(1, "images") as pool:
        waiting: deque[tuple[Path, Future[T]]] = deque()
        try:
            for path in paths:
                waiting.append((path, pool.submit(prepare, path)))
                if len(waiting) > _AHEAD:
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
