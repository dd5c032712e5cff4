"""Writing of composites to files, for other programs: in parallel, resumable, each file atomically."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image
from tqdm import tqdm

from ...files import atomic_path
from ...folder_lock import writing
from ...reading import MB, UnusableFile, printable, read_json, read_text
from ..errors import DatasetError
from ..images.writing import encode_image
from ..synthetic import workers
from .composer import Composer, Composite
from .depth import RELATIVE, DepthFormat, depth_name
from .depth_model import DepthModel
from .schemes import mask_stem, stem

MANIFEST, BOXES = "manifest.json", "boxes.csv"
COLUMNS = ("index", "composite", "mask", "foreground", "background", "flip", "position") + (
    *("x", "y", "width", "height", "area"),
)
_CHUNK = 64  # composites of a task
_BLOCK = 4096  # bytes by which files grow on most disks
_PARTS = ".boxes"
RELATIVE_FORMAT = DepthFormat(RELATIVE)


@dataclass(frozen=True)
class Output:
    """How composites are written.

    Attributes:
        folder: where; it gets ``composites``, ``masks``, ``backgrounds`` and ``depth`` or ``relative_depth``.
        scheme: 1 or 2, the published scheme of names.
        jpeg: quality of the composites and backgrounds as JPEG, 0: PNG. Masks and depth maps are always PNG.
    """

    folder: Path
    scheme: int = 2
    jpeg: int = 0

    @property
    def suffix(self) -> str:
        """The ending of composites and backgrounds."""
        return ".jpg" if self.jpeg else ".png"


class CompositeWriter:
    """Writes composites, their masks, depth maps and boxes.

    Args:
        composer: makes them.
        output: how they are written.
        depth_model: predicts depth in place of the parts' own; it runs in this process alone.
    """

    def __init__(self, composer: Composer, output: Output, depth_model: DepthModel | None = None) -> None:
        self.composer, self.output, self.model = composer, output, depth_model
        own = composer.parts.depth
        self.format: DepthFormat | None = own if own is None or own.kind != RELATIVE else RELATIVE_FORMAT
        if depth_model is not None:
            self.format = RELATIVE_FORMAT if depth_model.kind == RELATIVE else DepthFormat()

    def estimate(self, indices: Sequence[int]) -> int:
        """Return about how many bytes the composites take on a disk, from a few of them."""
        chosen = [indices[k] for k in np.linspace(0, len(indices) - 1, min(8, len(indices)), dtype=int)]
        sizes = [-(-len(data) // _BLOCK) * _BLOCK for index in chosen for data in self._encoded(index)[1].values()]
        return round(sum(sizes) / len(chosen) * len(indices))

    def write(self, indices: range, num_workers: int | None = None) -> int:
        """Write composites; those that are there already are kept.

        Args:
            indices: numbers of the composites.
            num_workers: processes; None: one per usable core.

        Returns:
            The number of composites that were written now.

        Raises:
            DatasetError: the folder holds composites of other settings, or the disk is too small.
            FolderInUse: another process writes there.
        """
        folder = self.output.folder
        with writing(folder, "make-composites"):
            manifest = self._manifest(indices)
            complete = self._compare(manifest)
            chunks = [indices[k : k + _CHUNK] for k in range(0, len(indices), _CHUNK)]
            known = self._known_boxes(chunks, complete)
            missing = [chunk for chunk in chunks if chunk not in known or not self._there(chunk)]
            needed = self.estimate(indices) * sum(map(len, missing)) // len(indices) if missing else 0
            free = shutil.disk_usage(folder).free
            if needed > free:
                raise DatasetError(
                    f"{printable(folder)}: {size_in_words(needed)} are needed, and {size_in_words(free)} are free. "
                    "Fix: write fewer (--count), or choose another disk."
                )
            _write_json(folder / MANIFEST, {**manifest, "complete": False})
            depth = [] if self.format is None else [depth_name(self.format.kind)]
            for name in ("composites", "masks", "backgrounds", _PARTS, *depth):
                (folder / name).mkdir(exist_ok=True)
            self._write_backgrounds(indices)
            label = f"composites (x {_CHUNK})"
            known.update(zip(missing, workers.run(self, missing, label, 0 if self.model else num_workers, "chunk")))
            with atomic_path(folder / BOXES) as path:
                path.write_text("\n".join([",".join(COLUMNS), *(known[chunk].rstrip("\n") for chunk in chunks), ""]))
            _write_json(folder / MANIFEST, {**manifest, "complete": True})
            shutil.rmtree(folder / _PARTS, ignore_errors=True)
        return sum(map(len, missing))

    def __call__(self, chunk: range) -> str:
        """Write some composites, and return their lines of ``boxes.csv``."""
        lines = io.StringIO()
        rows = csv.writer(lines, lineterminator="\n")
        for index in chunk:
            made, files = self._encoded(index)
            for name, data in files.items():
                with atomic_path(self.output.folder / name) as path:
                    path.write_bytes(data)
            names = [Path(name).name for name in files][:2]
            rows.writerow([index, *names, *made.choice, *visible_box(made.mask), int(made.mask.sum())])
        with atomic_path(self._part(chunk)) as path:
            path.write_text(lines.getvalue())
        return lines.getvalue()

    def _encoded(self, index: int) -> tuple[Composite, dict[str, bytes]]:
        made = self.composer[index]
        image, mask, *depth = self._names(index)
        files = {
            image: _image_bytes(made.image, self.output.jpeg),
            mask: _image_bytes(made.mask.astype(np.uint8) * 255),
        }
        if depth and self.format is not None:
            values = self.model(made.image) if self.model is not None else made.depth
            assert values is not None
            files[depth[0]] = _image_bytes(self.format.encode(values))
        return made, files

    def _names(self, index: int) -> list[str]:
        choice, scheme = self.composer.numbering.choice(index), self.output.scheme
        name = stem(scheme, choice)
        found = [f"composites/{name}{self.output.suffix}", f"masks/{mask_stem(scheme, choice)}.png"]
        return found if self.format is None else [*found, f"{depth_name(self.format.kind)}/{name}.png"]

    def _there(self, chunk: range) -> bool:
        return all((self.output.folder / name).is_file() for index in chunk for name in self._names(index))

    def _part(self, chunk: range) -> Path:
        return self.output.folder / _PARTS / f"{chunk.start}.csv"

    def _known_boxes(self, chunks: Sequence[range], complete: bool) -> dict[range, str]:
        """Return the lines of ``boxes.csv`` of chunks that were written before."""
        if complete:
            lines = read_text(self.output.folder / BOXES).splitlines()[1:]
            ends = np.cumsum([len(chunk) for chunk in chunks])
            if len(lines) == ends[-1]:
                return {chunk: "\n".join(lines[end - len(chunk) : end]) for chunk, end in zip(chunks, ends)}
        return {chunk: read_text(self._part(chunk)) for chunk in chunks if self._part(chunk).is_file()}

    def _write_backgrounds(self, indices: range) -> None:
        used = {self.composer.numbering.choice(index).background: index for index in indices}
        folder = self.output.folder / "backgrounds"
        for number, index in tqdm(sorted(used.items()), desc="backgrounds", unit="image", disable=None, leave=False):
            path = folder / f"bg{number + 1}{self.output.suffix}"
            if not path.is_file():
                with atomic_path(path) as part:
                    part.write_bytes(_image_bytes(self.composer[index].background, self.output.jpeg))

    def _manifest(self, indices: range) -> dict[str, Any]:
        composer, depth = self.composer, None
        if self.format is not None:
            metric = self.format.kind != RELATIVE
            depth = {
                "kind": self.format.kind,
                "unit": f"{self.format.unit!r} m" if metric else "none: 0 to 65535 are 0 to 1",
                "metres_per_step": self.format.unit if metric else None,
                "direction": "larger is farther",
                "source": "depth model" if self.model else "parts",
            }
        return {
            "format": "zsseg_d2 composites",
            "scheme": self.output.scheme,
            "numbering": composer.numbering._asdict(),
            "settings": msgspec.to_builtins(asdict(composer.settings)),
            "first": indices.start,
            "count": len(indices),
            "jpeg": self.output.jpeg,
            "mask": "8-bit grey PNG, 255 where the foreground's alpha is above one half, else 0",
            "depth": depth,
            "foregrounds": [part.image.name for part in composer.parts.foregrounds],
            "backgrounds": [part.image.name for part in composer.parts.backgrounds],
        }

    def _compare(self, manifest: dict[str, Any]) -> bool:
        """Return whether the folder is complete.

        Raises:
            DatasetError: it holds something else.
        """
        path = self.output.folder / MANIFEST
        remedy = "Fix: choose another folder, or delete this one"
        try:
            found = read_json(path, dict[str, Any], limit=64 * MB)
        except FileNotFoundError:
            if any(name[0] != "." for name in os.listdir(self.output.folder)):
                raise DatasetError(
                    f"{printable(path.parent)}: is not empty, and has no {MANIFEST}. {remedy}."
                ) from None
            return False
        except UnusableFile as error:
            raise DatasetError(f"{error} {remedy}.") from None
        wanted = msgspec.json.decode(msgspec.json.encode(manifest))
        different = [key for key in wanted if found.get(key) != wanted[key]]
        if different:
            raise DatasetError(f"{printable(path)}: has composites with other {', '.join(different)}. {remedy}.")
        return bool(found.get("complete")) and (self.output.folder / BOXES).is_file()


def visible_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return x, y, width and height of the pixels of a (H, W) bool mask, all 0 if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1


def _image_bytes(pixels: np.ndarray, jpeg: int = 0) -> bytes:
    image = Image.fromarray(pixels)
    return encode_image(image, "JPEG", quality=jpeg) if jpeg else encode_image(image, "PNG", compress_level=6)


def _write_json(path: Path, content: dict) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def size_in_words(count: float) -> str:
    """Return a number of bytes in words.

    Example:
        >>> size_in_words(123_400_000)
        '123 MB'
    """
    for word in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {word}"
        count /= 1000
    return f"{count:.1f} TB"
