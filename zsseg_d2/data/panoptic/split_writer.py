"""Writing a split of a dataset image by image, so that an interrupted run resumes and never looks complete.

Every file is written under a temporary name and renamed. A journal in the output folder lists the finished images, from
which the same command resumes; the panoptic JSON and the split's entry in ``manifest.json`` are written last.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import portalocker

from ...files import atomic_path
from ..errors import DatasetError
from .registration import PanopticPaths

MANIFEST = "manifest.json"


class ResumableSplitWriter:
    """The state of a split that a tool writes.

    Args:
        root: the dataset's folder.
        paths: all files and folders of the split that the tool writes; the one that makes it loadable first.
        split: the name of its entry in the manifest.
        tool: names the journal.
    """

    def __init__(self, root: Path, paths: Sequence[Path], *, split: str, tool: str) -> None:
        self.root, self.paths, self.split, self.tool = root, list(paths), split, tool
        self.complete = False
        self.done: dict = {}  # image id -> the tool's note about it

    def open(self, arguments: dict, is_complete: Callable[[], bool], overwrite: bool) -> None:
        """Determine whether the split is complete, interrupted (then :attr:`done` lists the finished images) or new.

        Args:
            arguments: everything that determines the files, as JSON gives it back.
            is_complete: checks the files of a split that was finished with the same arguments.
            overwrite: replace files that were written with other arguments.

        Raises:
            DatasetError: the existing files are of another tool or of other arguments.
        """
        entry = read_manifest(self.root)["splits"].get(self.split)
        lines = _read_lines(self.journal())
        there = [path for path in self.paths if path.exists()]
        known = entry["arguments"] if entry else lines[0] if lines else None
        if known is None and there:
            raise DatasetError(f"{there[0]} exists and was not made by this tool; choose another output.")
        if known not in (None, arguments) and not overwrite:
            raise DatasetError(
                f"{self.root} holds a '{self.split}' made with other arguments or from another source"
                f"{_difference(known, arguments)}; give --overwrite to replace it, or choose another output."
            )
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
            self.done.update(_read_lines(part))

    def finish(self, tool: dict, entry: dict) -> None:
        """Write the manifest, which makes the split complete. All files must be written.

        Args:
            tool: name and version of the program.
            entry: about this split, with "arguments".
        """
        for folder in self.paths:
            for unfinished in folder.rglob(".*.part"):  # of processes that were killed
                unfinished.unlink()
        manifest = read_manifest(self.root)
        manifest["tool"] = tool
        manifest["splits"][self.split] = entry
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

    def _parts(self) -> list[Path]:
        own = self.journal()
        return [Path(p) for p in sorted(glob.glob(f"{glob.escape(str(own.with_suffix('')))}.*.jsonl"))]

    def _remove_journals(self) -> None:
        for path in (self.journal(), *self._parts()):
            path.unlink(missing_ok=True)


def read_manifest(root: Path) -> dict:
    """Return the manifest of a written dataset; without entries if it is missing or damaged."""
    try:
        manifest = json.loads((root / MANIFEST).read_bytes())
        return manifest if isinstance(manifest["splits"], dict) else {"splits": {}}
    except (OSError, ValueError, TypeError, KeyError):
        return {"splits": {}}


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


@contextmanager
def exclusive_lock(output: Path) -> Iterator[None]:
    """Keep other processes from writing the same dataset; a second process waits."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output.parent / f".{output.name}.lock", "w") as lock:
        try:
            portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.LockException:
            print(f"Another process is writing {output}; waiting for it.", file=sys.stderr, flush=True)
            portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE)
        try:
            yield
        finally:
            portalocker.unlock(lock)


def provide_image(source: Path, target: Path, *, copy: bool = False) -> None:
    """Link `target` to `source`, or copy it; an existing file is replaced."""
    with atomic_path(target) as temporary:
        if copy:
            shutil.copyfile(source, temporary)
        else:
            temporary.unlink()
            # Relative, so that input and output can be moved or mounted elsewhere together.
            temporary.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()))


def _read_lines(path: Path) -> list:
    """Return the entries of a journal up to the first line that was cut off."""
    found = []
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines():
            found.append(json.loads(line))
    return found


def _difference(known: object, arguments: dict) -> str:
    """Return the names of the arguments that differ, as ``" (split, source)"``."""
    if not isinstance(known, dict):
        return ""
    keys = [k for k in {**known, **arguments} if known.get(k) != arguments.get(k)]
    return f" ({', '.join(keys)})" if keys else ""
