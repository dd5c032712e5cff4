"""Registration of composites: folders of parts -> records, one for each number, that are never listed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from detectron2.data import MetadataCatalog

from ...reading import MB, UnusableFile, printable, read_json
from ..catalogs import add_to_catalogs
from ..errors import DatasetError
from ..paths import data_folder
from .composer import Composer
from .depth import DESCRIPTION, DepthFormat
from .parts import Parts, find_parts
from .settings import CompositeSettings
from .splits import SPLITS, check_disjoint

EVALUATOR = "zsseg_composites"
"""``evaluator_type`` of datasets of composites."""

Root = str | os.PathLike | Callable[[], Path]
"""A folder, or a function that returns it (without touching it) each time parts are listed."""


class DepthDescription(msgspec.Struct, forbid_unknown_fields=True):
    """The file ``depth.json`` of a folder of parts.

    Attributes:
        kind: see :class:`zsseg_d2.data.composites.depth.DepthFormat`. Likewise `unit` and `near_is`.
        native_side: see :class:`zsseg_d2.data.composites.parts.Parts`.
        farthest: metres at which depth ends; for plots.
    """

    kind: str
    unit: float = 1 / 256
    near_is: str = "small"
    native_side: int = 0
    farthest: float | None = None


class CompositeRecords(Sequence):
    """Records ``{index, image_id, dataset_name}`` of composites, made when they are asked for.

    Args:
        dataset_name: the registered name.
        indices: numbers of the composites.
    """

    def __init__(self, dataset_name: str, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset_name, self.indices = dataset_name, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position):
        index = int(self.indices[position])
        return {"index": index, "image_id": index, "dataset_name": self.dataset_name}


def load_split(root: str | os.PathLike, split: str) -> Parts:
    """List the parts in ``root/split/foregrounds`` and ``root/split/backgrounds``.

    Depth is in ``foreground_depth`` and ``background_depth`` beside them, if there is a ``root/depth.json``.

    Raises:
        DatasetError: a folder or ``depth.json`` is missing or wrong, or splits share a file.
    """
    root = Path(root)
    depth, native_side = read_description(root / DESCRIPTION)
    found = {name: _parts(root / name, depth, native_side) for name in SPLITS if (root / name).is_dir()}
    if split not in found:
        raise DatasetError(f"{printable(root / split)}: there is no such folder. Fix: check the path of the dataset.")
    check_disjoint(found)
    return found[split]


def _parts(folder: Path, depth: DepthFormat | None, native_side: int) -> Parts:
    front, back = (None, None) if depth is None else (folder / "foreground_depth", folder / "background_depth")
    return find_parts(folder / "foregrounds", folder / "backgrounds", front, back, depth, native_side)


def read_description(path: Path) -> tuple[DepthFormat | None, int]:
    """Read ``depth.json``: the format of depth maps (None: there is no such file), and the native side.

    Raises:
        DatasetError: the file is wrong.
    """
    try:
        found = read_json(path, DepthDescription, limit=MB)
        return DepthFormat(found.kind, found.unit, found.near_is), found.native_side
    except (FileNotFoundError, NotADirectoryError):
        return None, 0
    except UnusableFile as error:
        raise DatasetError(str(error)) from None
    except ValueError as error:
        raise DatasetError(f"{printable(path)}: {error}.") from None


def register_composites(
    prefix: str, root: Root, *, splits: Sequence[str] = SPLITS, prepare: Callable[[Path], object] | None = None
) -> None:
    """Register ``{prefix}_{split}`` of a folder of parts; see :func:`load_split`. Reads no files.

    Args:
        prefix: start of the names for ``DATASETS.TRAIN`` / ``DATASETS.TEST``.
        root: the folder, or a function that returns it.
        splits: those that it has.
        prepare: called with the folder before parts are listed, to make or check them.

    Raises:
        DatasetError: another dataset has a name.
    """
    for split in splits:
        name = f"{prefix}_{split}"
        find = partial(_find_registered, name, root, split, prepare)
        metadata = {"evaluator_type": EVALUATOR, "split": split, "root": str(_folder(root)), "find_parts": find}
        add_to_catalogs(name, partial(_load_registered, name), metadata)


def _find_registered(name: str, root: Root, split: str, prepare: Callable[[Path], object] | None) -> Parts:
    folder = _folder(root)
    # DETECTRON2_DATASETS may have changed since the import; Metadata itself refuses a second value.
    vars(MetadataCatalog.get(name)).update(root=str(folder))
    if prepare is not None:
        prepare(folder)
    return load_split(folder, split)


def _load_registered(name: str) -> CompositeRecords:
    """Return the records of a dataset with the default settings; a config has its own."""
    parts = MetadataCatalog.get(name).find_parts()
    return CompositeRecords(name, range(len(Composer(parts, CompositeSettings()))))


def _folder(root: Root) -> Path:
    return Path(root() if callable(root) else root).expanduser()


def _make_embedded(folder: Path) -> None:
    from ..synthetic.composites import ensure_composite_parts  # the renderer is imported only where it is used

    ensure_composite_parts(folder.parent)


def register_embedded_composites() -> None:
    """Register ``composites_{train,val,test}``, which are rendered at their first use."""
    register_composites("composites", partial(data_folder, "composites"), prepare=_make_embedded)
