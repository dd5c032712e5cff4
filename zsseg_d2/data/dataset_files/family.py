"""From a dataset file to the family of its registered names."""

from __future__ import annotations

from pathlib import Path

from ..errors import DatasetError
from ..panoptic.cityscapes_layout import CityscapesLayout
from ..panoptic.family import PanopticFamily, PanopticLayout
from ..paths import data_folder, is_relative_inside
from .classes import categories_of, vocabulary_of
from .description import Description, read_description
from .layout import FileLayout
from .semantic_layout import LabelMapLayout

_ALL_DATASETS = "$DETECTRON2_DATASETS/"


def family_from_file(path: Path) -> PanopticFamily:
    """Describe the dataset of a YAML file.

    Reads the YAML file, the vocabulary and, unless the YAML lists the classes, the classes in the annotations.

    Args:
        path: the YAML file; ``datasets/README.md`` describes the format.

    Returns:
        The family, not registered. A relative `path` makes relative paths.

    Raises:
        DatasetError: a file is missing or does not follow the format; the message names file and remedy.
    """
    description = read_description(path)
    folder_name = _folder(description, path)
    layout: PanopticLayout = CityscapesLayout()
    packaged = description.root.startswith(_ALL_DATASETS)
    if description.is_semantic:
        layout = LabelMapLayout.of(description, path, packaged=packaged)
    elif description.layout == "coco":
        layout = FileLayout.of(description, path, packaged=packaged)
    files = [layout.paths(data_folder(folder_name), split).panoptic_json for split in description.splits]
    categories = categories_of(description, files, path)
    delete: dict[str, tuple[str | int, ...]] = {name: tuple(listed) for name, listed in description.delete.items()}
    out = description.out
    try:
        return PanopticFamily(
            prefix=description.name,
            folder_name=folder_name,
            categories=categories,
            layout=layout,
            vocabulary=vocabulary_of(description, categories, path),
            configurations=delete,  # type: ignore[arg-type]
            out_configuration=out if isinstance(out, str) else None,
            out_classes=tuple(out) if isinstance(out, list) else (),
            zero_shot_config=description.zero_shot_config,
            splits=tuple(description.splits),
            aliases=tuple(description.aliases),
            semantic=description.is_semantic,
        )
    except DatasetError as error:
        text = str(error)
        raise error if text.startswith(str(path)) else DatasetError(f"{path}: {text}") from None


def _folder(description: Description, path: Path) -> str:
    """Return the dataset's folder as families name it: under the folder of all datasets, or absolute."""
    if description.root.startswith(_ALL_DATASETS):
        inside = description.root.removeprefix(_ALL_DATASETS)
        if not is_relative_inside(inside):
            raise DatasetError(f"{path}: 'root' {description.root} leads out of the folder of all datasets.")
        return inside
    return str((path.parent / Path(description.root).expanduser()).resolve())
