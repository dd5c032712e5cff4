"""The YAML format of a dataset as types, and the reader that checks files against them.

``datasets/README.md`` describes the format with examples.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from ...reading import MB, UnusableFile, explain, printable, read_text, yaml_problem
from ..errors import DatasetError

LIMIT = MB
"""Bytes of the largest dataset file that is read."""
_DEEPEST = 6  # levels of nesting; the format has four

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Color = Annotated[int, msgspec.Meta(ge=0, le=255)]
Value = Annotated[int, msgspec.Meta(ge=0, le=65535)]
ClassNames = list[str | int]


class Class(msgspec.Struct, forbid_unknown_fields=True):
    """An entry of "categories": a class as the annotations name it; `color` is RGB."""

    id: int
    name: str
    thing: bool | None = None
    color: tuple[Color, Color, Color] | None = None


class Places(msgspec.Struct, forbid_unknown_fields=True):
    """Image folder of a split, and its panoptic PNGs and panoptic JSON, or its label maps; relative to the root."""

    images: str
    panoptic: str | None = None
    annotations: str | None = None
    labels: str | None = None


class Description(msgspec.Struct, forbid_unknown_fields=True):
    """A whole dataset file.

    Attributes:
        name: Start of all registered names.
        root: Folder of the dataset, relative to the YAML file; ``$DETECTRON2_DATASETS/…`` is under the folder of all
            datasets.
        layout: ``"coco"`` (images are found by their file names) or ``"cityscapes"`` (by image id, fixed folders).
        images: Folder of the images, relative to the root; ``{split}`` is replaced. Likewise `panoptic`, the folder of
            the PNGs, and `annotations`, the JSON; or, of a semantic dataset, `labels`, the folder of the label maps.
        ignore: Of a semantic dataset, the value or values of pixels that belong to no class.
        splits: Names of splits, or the places of each split.
        vocabulary: A packaged name or a file, a list of classes, or name in the annotations -> words.
        words_by: How the classes of a list or file are assigned: ``"name"``, or ``"order"`` as in `categories`.
        categories: The classes; read from the annotations if missing. Of a semantic dataset, `id` is the value in the
            label maps; missing: the vocabulary in the order of the values, from 0.
        things: Names of all thing classes.
        stuff: Names of all stuff classes.
        delete: Name of a configuration -> classes that it deletes.
        out: The Out classes, or the configuration that deletes them.
        aliases: Further registered names, with ``{split}``.
        overpainted: Whether things were painted over stuff after its areas were counted, so that stuff may have fewer
            pixels, or none.
        zero_shot_config: Config that evaluates the zero-shot model, for messages.
    """

    name: str
    root: str = "."
    layout: Literal["coco", "cityscapes"] = "coco"
    images: str | None = None
    panoptic: str | None = None
    annotations: str | None = None
    labels: str | None = None
    ignore: Value | list[Value] = 255
    splits: list[str] | dict[str, Places] = msgspec.field(default_factory=lambda: ["train", "val"])
    vocabulary: str | list[str | list[str]] | dict[str, str | list[str]] | None = None
    words_by: Literal["name", "order"] = "name"
    categories: list[Class] | None = None
    things: list[str] | None = None
    stuff: list[str] | None = None
    delete: dict[str, ClassNames] = {}
    out: str | ClassNames | None = None
    aliases: list[str] = []
    overpainted: bool = False
    zero_shot_config: str | None = None

    @property
    def is_semantic(self) -> bool:
        """Whether annotations are label maps."""
        places = self.splits.values() if isinstance(self.splits, dict) else ()
        return self.labels is not None or any(place.labels is not None for place in places)

    @property
    def ignored(self) -> tuple[int, ...]:
        """The values of pixels that belong to no class."""
        return (self.ignore,) if isinstance(self.ignore, int) else tuple(self.ignore)


def read_description(path: Path) -> Description:
    """Read a dataset file and check its structure; other files are not looked at.

    Raises:
        DatasetError: the file is missing, not YAML or does not follow the format; the message names file and place.
    """
    place = printable(path)
    try:
        found = msgspec.convert(_load(read_text(path, LIMIT)), Description)
    except FileNotFoundError:
        raise DatasetError(f"{place}: there is no such dataset file. Fix: check the path.") from None
    except msgspec.ValidationError as error:
        where, problem = explain(error)
        raise DatasetError(f"{place}: '{where or 'the file'}' {problem}. Fix: see datasets/README.md.") from None
    except UnusableFile as error:
        raise DatasetError(str(error)) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise DatasetError(f"{place}: {yaml_problem(error)} Fix: see datasets/README.md for the format.") from None
    except ValueError as error:
        raise DatasetError(f"{place}: {error}") from None
    _check(found, place)
    return found


def _load(text: str) -> Any:
    """Load YAML without aliases and duplicate keys, and not nested deeply."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"the alias '*{printable(event.anchor)}' is not read. Fix: repeat the value.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError("is nested too deeply. Fix: see datasets/README.md for the format.")
    return yaml.load(text, Loader=_Loader)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML in which a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise ValueError(
                    f"line {key.start_mark.line + 1}: '{printable(key.value)}' is given twice. Fix: keep one."
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _check(found: Description, place: str) -> None:
    aliases = [alias.replace("{split}", "split") for alias in found.aliases]
    listed = {"name": [found.name], "splits": list(found.splits), "delete": list(found.delete), "aliases": aliases}
    for key, names in listed.items():
        for name in names:
            if not _NAME.fullmatch(name):
                raise DatasetError(
                    f"{place}: {key}: '{name}' cannot be part of a registered name. Fix: use letters, digits, '_', '-' "
                    "and '.', with a letter or digit first."
                )
    if not found.splits:
        raise DatasetError(f"{place}: 'splits' is empty. Fix: name a split, such as val.")
    _check_places(found, place)
    if found.layout == "cityscapes" and isinstance(found.splits, dict):
        raise DatasetError(
            f"{place}: 'splits' gives places, but the layout 'cityscapes' fixes them. Fix: write a list."
        )
    if found.words_by == "order" and (found.categories is None or isinstance(found.vocabulary, dict | None)):
        raise DatasetError(f"{place}: 'words_by: order' needs more. Fix: add 'categories', and 'vocabulary' as a list.")
    if found.is_semantic:
        _check_semantic(found, place)


_PLACES = ("images", "panoptic", "annotations", "labels")


def _check_places(found: Description, place: str) -> None:
    """Check that each split has its places, at the top or of its own: panoptic ones, or label maps."""
    fixed = found.layout == "cityscapes" or isinstance(found.splits, dict)
    needed = ("images", "labels") if found.is_semantic else ("images", "panoptic", "annotations")
    where = "the layout 'cityscapes' fixes it" if found.layout == "cityscapes" else "each split names its own"
    tops = {key: getattr(found, key) for key in _PLACES}
    for key, value in tops.items():
        if fixed and value is not None:
            raise DatasetError(
                f"{place}: '{key}' stands beside 'splits', but {where}. Fix: see datasets/README.md for the format."
            )
    listed = found.splits.items() if isinstance(found.splits, dict) else () if fixed else [("", tops)]
    for split, entry in listed:
        given = entry if isinstance(entry, dict) else {key: getattr(entry, key) for key in _PLACES}
        start = f"splits.{split}." if split else ""
        for key, value in given.items():
            if value is None and key in needed:
                raise DatasetError(f"{place}: '{start}{key}' is missing. Fix: see datasets/README.md for the format.")
            if value is not None and key not in needed:
                raise DatasetError(
                    f"{place}: '{start}{key}' stands beside 'labels', but a dataset has label maps or panoptic "
                    "annotations. Fix: remove one of them."
                )


def _check_semantic(found: Description, place: str) -> None:
    """Check what a dataset of label maps cannot have: things."""
    things = [c.name for c in found.categories or () if c.thing] + list(found.things or ())
    if things:
        raise DatasetError(
            f"{place}: '{things[0]}' is a thing, but label maps do not tell instances apart, so that every class is "
            "stuff. Fix: remove 'things', or give panoptic annotations."
        )
    if found.vocabulary is None and found.categories is None:
        raise DatasetError(
            f"{place}: 'vocabulary' is missing. Fix: list the classes in the order of their values in the label maps, "
            "or name a file with one class a line."
        )
