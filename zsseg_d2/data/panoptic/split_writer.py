"""A split of a data set that a tool writes, image by image, so that an interrupted run never looks complete.

Every file is written beside its place and renamed. A journal beside the split says what is finished and lets the same
command go on; the panoptic JSON and the split's entry in ``manifest.json`` come last.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import portalocker

from ...files import atomic_path
from .png import DatasetError

MANIFEST = "manifest.json"


class ResumableSplitWriter:
    """What is there of a split, and what is added to it."""

    def __init__(self, root: Path, paths: Sequence[Path], *, split: str, tool: str) -> None:
        """
        Args:
            root: the data set's folder.
            paths: all files and folders of the split that the tool writes; the one that makes it loadable first.
            split: the name of its entry in the manifest.
            tool: names the journal.
        """
        self.root, self.paths, self.split, self.tool = root, list(paths), split, tool
        self.complete = False
        self.done: dict = {}  # image id -> what the tool noted about it

    def open(self, arguments: dict, is_complete: Callable[[], bool], overwrite: bool) -> None:
        """Find out what is there: a complete split, an interrupted one (then :attr:`done`), nothing, or something else.

        Args:
            arguments: what the files follow from, as JSON gives it back.
            is_complete: looks at the files of a split that was finished with the same arguments.
            overwrite: replace what was written with other arguments.
        Raises:
            DatasetError: the files there are of another tool or of other arguments.
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
        # Also when going on: a line that was cut off must not swallow the next one.
        with atomic_path(self.journal()) as beside:
            beside.write_text(
                "".join(json.dumps(line) + "\n" for line in (arguments, *self.done.items())), encoding="utf-8"
            )
        for part in self._parts():
            part.unlink()

    def journal(self, part: int | None = None) -> Path:
        """The journal, or the one of a process of its own."""
        return self.root / (
            f".{self.tool}_{self.split}.jsonl" if part is None else f".{self.tool}_{self.split}.{part}.jsonl"
        )

    def add(self, image_id: int | str, note: object, part: int | None = None) -> None:
        """Note that all files of an image are written; `part` numbers the process where there are several."""
        self.done[image_id] = note
        with open(self.journal(part), "a", encoding="utf-8") as journal:
            journal.write(json.dumps([image_id, note]) + "\n")

    def collect(self) -> None:
        """Read what other processes added."""
        for part in self._parts():
            self.done.update(_read_lines(part))

    def finish(self, tool: dict, entry: dict) -> None:
        """Write the manifest, which makes the split complete; the files named in it are there.

        Args:
            tool: name and version of the program. entry: about this split, with "arguments".
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
    """The manifest of a written data set; without entries where there is none that can be read."""
    try:
        manifest = json.loads((root / MANIFEST).read_bytes())
        return manifest if isinstance(manifest["splits"], dict) else {"splits": {}}
    except (OSError, ValueError, TypeError, KeyError):
        return {"splits": {}}


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, whole or not at all."""
    with atomic_path(path) as beside:
        beside.write_text(json.dumps(content), encoding="utf-8")


def check_outside(output: Path, source: Path) -> None:
    """
    Raises:
        DatasetError: `output` would write into the data set `source`, also through links.
    """
    inputs = [source.resolve(), (source / "gtFine").resolve(), (source / "leftImg8bit").resolve()]
    for target in (output.resolve(), (output / "gtFine").resolve(), (output / "leftImg8bit").resolve()):
        if any(target == i or i in target.parents for i in inputs):
            raise DatasetError(
                f"The output {output} lies inside the input {source}, which is never written to; choose another."
            )


@contextmanager
def exclusive_lock(output: Path) -> Iterator[None]:
    """Keep other processes from writing the same data set; who comes second waits."""
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
    """Link `target` to `source`, or copy it; replaces what is there."""
    with atomic_path(target) as beside:
        if copy:
            shutil.copyfile(source, beside)
        else:
            beside.unlink()
            # Relative, so that input and output can be moved or mounted elsewhere together.
            beside.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()))


def _read_lines(path: Path) -> list:
    """The entries of a journal; a line that was cut off, and what follows it, is left out."""
    found = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            found.append(json.loads(line))
    except (OSError, ValueError):
        pass
    return found


def _difference(known: object, arguments: dict) -> str:
    """``" (split, source)"``: what differs, by name."""
    if not isinstance(known, dict):
        return ""
    keys = [k for k in {**known, **arguments} if known.get(k) != arguments.get(k)]
    return f" ({', '.join(keys)})" if keys else ""
