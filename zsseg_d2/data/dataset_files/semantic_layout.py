"""Where the files of a semantic dataset are that a YAML file describes: folders of images and of label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError
from ..panoptic.categories import PanopticCategory
from ..paths import is_relative_inside
from ..semantic.paths import SemanticPaths
from ..semantic.records import load_semantic_records
from .description import Description
from .layout import ANY, find_split, leads_out, remedy_for


@dataclass(frozen=True)
class LabelMapLayout:
    """Folders of each split; implements :class:`zsseg_d2.data.PanopticLayout`.

    Args:
        source: the YAML file, for messages.
        places: (split, image folder, folder of label maps), relative to the dataset's folder; the split ``{split}``
            stands for any, and is replaced in the others.
        ignore: values of pixels that belong to no class.
        remedy: what to do about a missing file, for messages.

    Raises:
        DatasetError: a place leads out of the dataset's folder.
    """

    source: Path
    places: tuple[tuple[str, str, str], ...]
    ignore: tuple[int, ...]
    remedy: str = ""

    def __post_init__(self) -> None:
        for _, *places in self.places:
            for place in places:
                if not is_relative_inside(place):
                    raise leads_out(self.source, place)

    @classmethod
    def of(cls, description: Description, source: Path, *, packaged: bool) -> LabelMapLayout:
        """Make the layout that a description states; `packaged`: one in the folder of all datasets."""
        listed = {ANY: description} if isinstance(description.splits, list) else description.splits
        places = tuple((name, str(p.images), str(p.labels)) for name, p in listed.items())
        return cls(source, places, description.ignored, remedy_for(source, packaged=packaged))

    def paths(self, root: Path, split: str) -> SemanticPaths:
        """Return where the files of `split` are under `root`.

        Raises:
            DatasetError: there is no such split.
        """
        images, labels = (root / place for place in find_split(self.source, self.places, split))
        return SemanticPaths(images, labels, labels)

    def load(self, root: Path, split: str, categories: Sequence[PanopticCategory]) -> list[dict]:
        """Return the records of `split`.

        Raises:
            DatasetError: a file or folder is missing.
        """
        paths = self.paths(root, split)
        try:
            return load_semantic_records(
                paths.image_root, paths.panoptic_root, categories, self.ignore, remedy=self.remedy
            )
        except DatasetError as error:
            raise DatasetError(f"Split '{split}': {error}") from None
