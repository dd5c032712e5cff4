"""Writing a split of a dataset image by image, so that an interrupted run resumes and never looks complete.

Every file is written under a temporary name and renamed. A journal in the output folder lists the finished images, from
which the same command resumes; the panoptic JSON and the split's entry in ``manifest.json`` are written last.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ...files import atomic_path, remove_orphans
from ...reading import JSON_LIMIT, MB, UnusableFile, decode_json, printable, read_bytes, read_json
from ..errors import DatasetError
from .registration import PanopticPaths

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 64 * MB

ImageId = int | str


class Manifest(msgspec.Struct):
    """What is read of ``manifest.json``; a split's entry is "arguments" and whatever its tool adds."""

    splits: dict[str, dict[str, Any]]


class ResumableSplitWriter:
    """The state of a split that a tool writes.

    Args:
        root: the dataset's folder.
        paths: all files and folders of the split that the tool writes; the one that makes it loadable first.
        split: the name of its entry in the manifest.
        tool: names the journal.
        note: type of a note, for the check of a journal.
    """

    def __init__(self, root: Path, paths: Sequence[Path], *, split: str, tool: str, note: Any = Any) -> None:
        self.root, self.paths, self.split, self.tool = root, list(paths), split, tool
        self._line = tuple[ImageId, note]
        self.complete = False
        self.done: dict = {}  # image id -> the tool's note about it

    def check(self, arguments: dict, overwrite: bool) -> None:
        """Check that :meth:`open` would write here; changes nothing.

        Args:
            arguments: as in :meth:`open`.
            overwrite: as in :meth:`open`.

        Raises:
            DatasetError: the existing files are of another tool or of other arguments, or manifest or journal is
                damaged.
        """
        entry = read_manifest(self.root)["splits"].get(self.split)
        known = self._known(entry, self._read_journal(self.journal(), overwrite))
        there = [path for path in self.paths if path.exists()]
        if known is None and (there or entry):
            place = there[0] if there else self.root / MANIFEST
            raise DatasetError(f"{place} exists and was not made by this tool. Fix: choose another output.")
        if known not in (None, arguments) and not overwrite:
            raise DatasetError(
                f"{self.root} holds a '{self.split}' made with other arguments or from another source"
                f"{_difference(known, arguments)}. Fix: give --overwrite to replace it, or choose another output."
            )

    def open(self, arguments: dict, is_complete: Callable[[], bool], overwrite: bool) -> None:
        """Determine whether the split is complete, interrupted (then :attr:`done` lists the finished images) or new.

        Only one process may do so at a time (:func:`zsseg_d2.folder_lock.writing`).

        Args:
            arguments: everything that determines the files, as JSON gives it back.
            is_complete: checks the files of a split that was finished with the same arguments.
            overwrite: replace files that were written with other arguments.

        Raises:
            DatasetError: see :meth:`check`.
        """
        self.check(arguments, overwrite)
        entry = read_manifest(self.root)["splits"].get(self.split)
        lines = self._read_journal(self.journal(), overwrite)
        known = self._known(entry, lines)
        self.complete, self.done = False, {}
        if known == arguments and not overwrite:
            self.complete = entry is not None and is_complete()
            if self.complete:
                self._remove_journals()
                return
            self.done = dict(lines[1:])
            self.collect()
        if overwrite or not lines:
            self.forget()
            self.done = {}
            self.root.mkdir(parents=True, exist_ok=True)
        # Also when resuming: a line that was cut off must not swallow the next one.
        with atomic_path(self.journal()) as temporary:
            temporary.write_text(
                "".join(json.dumps(line) + "\n" for line in (arguments, *self.done.items())), encoding="utf-8"
            )
        for part in self._parts():
            part.unlink()

    def check_notes(self, label_ids: Iterable[int], known: Collection[int]) -> None:
        """Check that the notes of an interrupted run name known classes only.

        Args:
            label_ids: those in :attr:`done`.
            known: those of the dataset.

        Raises:
            DatasetError: a class is unknown.
        """
        unknown = set(label_ids).difference(known)
        if unknown:
            raise DatasetError(
                f"{self.journal()}: the label id {min(unknown)} is unknown. Fix: run the same command with --overwrite."
            )

    def journal(self, part: int | None = None) -> Path:
        """Return the path of the journal, or of the journal of process number `part`."""
        middle = "" if part is None else f".{part}"
        return self.root / f".{self.tool}_{self.split}{middle}.jsonl"

    def add(self, image_id: int | str, note: object, part: int | None = None) -> None:
        """Note that all files of an image are written.

        Args:
            image_id: the image.
            note: kept in :attr:`done`; JSON must be able to hold it.
            part: number of this process, if there are several.
        """
        self.done[image_id] = note
        with open(self.journal(part), "a", encoding="utf-8") as journal:
            journal.write(json.dumps([image_id, note]) + "\n")

    def collect(self) -> None:
        """Read the notes that other processes added."""
        for part in self._parts():
            self.done.update(self._read_journal(part))

    def finish(self, tool: dict, entry: dict) -> None:
        """Write the manifest, which makes the split complete. All files must be written.

        Args:
            tool: name and version of the program.
            entry: about this split, with "arguments".
        """
        for folder in self.paths:
            for below, _, _ in os.walk(folder):
                remove_orphans(below, alone=True)  # of processes that were killed
        manifest = read_manifest(self.root)
        manifest["tool"] = tool
        manifest["splits"][self.split] = {**entry, "written_by": self.tool}
        write_json(self.root / MANIFEST, manifest)
        self._remove_journals()

    def forget(self) -> None:
        """Remove an earlier run's files of this split; links are removed, not followed."""
        manifest = read_manifest(self.root)
        if manifest["splits"].pop(self.split, None) is not None:
            write_json(self.root / MANIFEST, manifest)
        self._remove_journals()
        for path in self.paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _known(self, entry: dict | None, lines: list) -> dict | None:
        """Return the arguments of what is there, None if there is nothing or this tool did not make it."""
        if entry is None:
            return lines[0] if lines else None
        found = entry.get("arguments")
        return found if isinstance(found, dict) and entry.get("written_by", self.tool) == self.tool else None

    def _read_journal(self, path: Path, overwrite: bool = False) -> list:
        """Return the entries of a journal up to a last line that was cut off: in the first one, arguments go first.

        Raises:
            DatasetError: a line is damaged, unless the journal is to be replaced.
        """
        try:
            lines = read_bytes(path, JSON_LIMIT).split(b"\n")[:-1]  # what follows the last line end was cut off
        except FileNotFoundError:
            return []
        except UnusableFile as error:
            raise DatasetError(str(error)) from None
        first = path == self.journal()
        remedy = "run the same command again with --overwrite"
        try:
            return [
                decode_json(line, dict[str, Any] if first and number == 0 else self._line, path, remedy=remedy)
                for number, line in enumerate(lines)
            ]
        except UnusableFile as error:
            if overwrite:
                return [{}]  # its name says whose it is
            raise DatasetError(str(error)) from None

    def _parts(self) -> list[Path]:
        own = self.journal()
        return [Path(p) for p in sorted(glob.glob(f"{glob.escape(str(own.with_suffix('')))}.*.jsonl"))]

    def _remove_journals(self) -> None:
        for path in (self.journal(), *self._parts()):
            path.unlink(missing_ok=True)


def read_manifest(root: Path) -> dict:
    """Return the manifest of a written dataset; without entries if there is none.

    Raises:
        DatasetError: it is damaged.
    """
    path = root / MANIFEST
    remedy = f"move {printable(root)} away, and make it again"
    try:
        manifest = read_json(path, dict[str, Any], limit=MANIFEST_LIMIT, remedy=remedy)
    except (FileNotFoundError, NotADirectoryError):
        return {"splits": {}}
    except UnusableFile as error:
        raise DatasetError(str(error)) from None
    if "splits" not in manifest:  # of another program
        return {"splits": {}}
    try:
        msgspec.convert(manifest, Manifest)
    except msgspec.ValidationError as error:
        raise DatasetError(f"{path}: {error}. Fix: {remedy}.") from None
    return manifest


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def check_outside(output: PanopticPaths, source: PanopticPaths, output_root: Path, source_root: Path) -> None:
    """Check that writing a split to `output_root` does not write into `source_root`, also through links.

    Raises:
        DatasetError: it would.
    """
    inputs = _entries(source, source_root)
    for target in _entries(output, output_root):
        if any(target == i or i in target.parents for i in inputs):
            raise DatasetError(
                f"The output {output_root} lies inside the input {source_root}, which is never written to; choose "
                "another."
            )


def _entries(paths: PanopticPaths, root: Path) -> list[Path]:
    """Return `root` and its entries on the way to `paths`, without links."""
    names = dict.fromkeys(path.relative_to(root).parts[0] for path in paths)
    return [root.resolve(), *((root / name).resolve() for name in names)]


def provide_image(source: Path, target: Path, *, copy: bool = False) -> None:
    """Link `target` to `source`, or copy it; an existing file is replaced."""
    with atomic_path(target) as temporary:
        if copy:
            shutil.copyfile(source, temporary)
        else:
            temporary.unlink()
            # Relative, so that input and output can be moved or mounted elsewhere together.
            temporary.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()))


def _difference(known: object, arguments: dict) -> str:
    """Return the names of the arguments that differ, as ``" (split, source)"``."""
    if not isinstance(known, dict):
        return ""
    keys = [k for k in {**known, **arguments} if known.get(k) != arguments.get(k)]
    return f" ({', '.join(keys)})" if keys else ""
