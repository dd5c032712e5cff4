"""Where the files of a dataset are that a YAML file describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError
from ..panoptic.categories import PanopticCategory
from ..panoptic.records import load_records
from ..panoptic.registration import PanopticPaths
from ..paths import is_relative_inside, safe_join
from .description import Description

ANY = "{split}"


@dataclass(frozen=True)
class FileLayout:
    """Folders and JSON of each split; implements :class:`zsseg_d2.data.PanopticLayout`.

    Args:
        source: the YAML file, for messages.
        places: (split, image folder, folder of PNGs, JSON), relative to the dataset's folder; the split ``{split}``
            stands for any, and is replaced in the others.
        overpainted: whether things cover stuff, which may have fewer pixels than its area then, or none.
        remedy: what to do about a missing file, for messages.

    Raises:
        DatasetError: a place leads out of the dataset's folder.
    """

    source: Path
    places: tuple[tuple[str, str, str, str], ...]
    overpainted: bool = False
    remedy: str = ""

    def __post_init__(self) -> None:
        for _, *places in self.places:
            for place in places:
                if not is_relative_inside(place):
                    raise leads_out(self.source, place)

    @classmethod
    def of(cls, description: Description, source: Path, *, packaged: bool) -> FileLayout:
        """Make the layout that a description states; `packaged`: one in the folder of all datasets."""
        remedy = remedy_for(source, packaged=packaged)
        if isinstance(description.splits, dict):
            listed = [(name, p.images, str(p.panoptic), str(p.annotations)) for name, p in description.splits.items()]
            return cls(source, tuple(listed), description.overpainted, remedy)
        given = [str(place) for place in (description.images, description.panoptic, description.annotations)]
        return cls(source, ((ANY, *given),), description.overpainted, remedy)  # type: ignore[arg-type]

    def paths(self, root: Path, split: str) -> PanopticPaths:
        """Return where the files of `split` are under `root`.

        Raises:
            DatasetError: there is no such split.
        """
        return PanopticPaths(*(root / place for place in find_split(self.source, self.places, split)))

    def load(self, root: Path, split: str, categories: Sequence[PanopticCategory]) -> list[dict]:
        """Return the complete records of `split`.

        Raises:
            DatasetError: a file or folder is missing, or the JSON is wrong.
        """
        image_root, panoptic_root, panoptic_json = self.paths(root, split)
        for folder in (image_root, panoptic_root):
            if not folder.is_dir():
                raise DatasetError(f"Split '{split}': there is no folder {folder}. Fix: {self.remedy}.")
        records = load_records(
            panoptic_json,
            panoptic_root,
            lambda image: safe_join(image_root, image.file_name, panoptic_json),
            categories,
            remedy=self.remedy,
        )
        if self.overpainted:
            for segment in (s for record in records for s in record["segments_info"] if not s["isthing"]):
                segment["overpainted"] = True
        return records


def find_split(source: Path, places: Sequence[Sequence[str]], split: str) -> list[str]:
    """Return the places of a split.

    Args:
        source: the YAML file, for messages.
        places: the split, or ``{split}`` for any, and its places.
        split: the one that is wanted.

    Raises:
        DatasetError: there is no such split.
    """
    for name, *of_split in places:
        if name in (split, ANY):
            return [place.replace(ANY, split) for place in of_split]
    known = ", ".join(name for name, *_ in places)
    raise DatasetError(f"{source}: there is no split '{split}'. Fix: choose one of {known}.")


def remedy_for(source: Path, *, packaged: bool) -> str:
    """Return what to do about a missing file of the dataset that `source` describes."""
    if packaged:
        return "put the dataset there, or set DETECTRON2_DATASETS (datasets/README.md)"
    return f"correct the file, or the places in {source}"


def leads_out(source: Path, place: str) -> DatasetError:
    """Return the error of a place that is not inside the dataset's folder."""
    return DatasetError(
        f"{source}: '{place}' leads out of the dataset's folder. Fix: set 'root' to a folder above images and "
        "annotations, and write all places relative to it."
    )
