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


@dataclass(frozen=True)
class FileLayout:
    """Folders and JSON of each split; implements :class:`zsseg_d2.data.PanopticLayout`.

    Args:
        source: the YAML file, for messages.
        places: (split, image folder, folder of PNGs, JSON), relative to the dataset's folder.

    Raises:
        DatasetError: a place leads out of the dataset's folder.
    """

    source: Path
    places: tuple[tuple[str, str, str, str], ...]

    def __post_init__(self) -> None:
        for _, *places in self.places:
            for place in places:
                if not is_relative_inside(place):
                    raise DatasetError(
                        f"{self.source}: '{place}' leads out of the dataset's folder. Fix: set 'root' to a folder "
                        "above images and annotations, and write all places relative to it."
                    )

    @classmethod
    def of(cls, description: Description, source: Path) -> FileLayout:
        """Make the layout that a description states."""
        if isinstance(description.splits, dict):
            listed = [(name, p.images, p.panoptic, p.annotations) for name, p in description.splits.items()]
            return cls(source, tuple(listed))
        given = [str(place) for place in (description.images, description.panoptic, description.annotations)]
        return cls(source, tuple((s, *(p.replace("{split}", s) for p in given)) for s in description.splits))  # type: ignore[misc]

    def paths(self, root: Path, split: str) -> PanopticPaths:
        """Return where the files of `split` are under `root`.

        Raises:
            DatasetError: there is no such split.
        """
        for name, *places in self.places:
            if name == split:
                return PanopticPaths(*(root / place for place in places))
        known = ", ".join(name for name, *_ in self.places)
        raise DatasetError(f"{self.source}: there is no split '{split}'. Fix: choose one of {known}.")

    def load(self, root: Path, split: str, categories: Sequence[PanopticCategory]) -> list[dict]:
        """Return the complete records of `split`.

        Raises:
            DatasetError: a file or folder is missing, or the JSON is wrong.
        """
        image_root, panoptic_root, panoptic_json = self.paths(root, split)
        for folder, key in ((image_root, "images"), (panoptic_root, "panoptic")):
            if not folder.is_dir():
                raise DatasetError(
                    f"{self.source}: split '{split}': there is no folder {folder}. Fix: correct '{key}' or 'root'."
                )
        return load_records(
            panoptic_json,
            panoptic_root,
            lambda image: safe_join(image_root, image.file_name, panoptic_json),
            categories,
            remedy=f"correct the annotations, or the places in {self.source}",
        )
