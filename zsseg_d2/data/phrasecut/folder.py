"""The folder VGPhraseCut_v0: which files it has, the table of images, the skip list, the counts of words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..panoptic.records import DatasetError
from .json_stream import iterate_json_list
from .polygons import LIMIT
from .tasks import name_of

SPLITS: tuple[str, ...] = ("train", "val", "test", "miniv")

WRONG_SIZE_IMAGES: frozenset[int] = frozenset(
    (
        61530,
        61564,
        150333,
        150344,
        150417,
        150516,
        285665,
        285743,
        285761,
        285814,
        286065,
        286093,
        498010,
        498042,
        498187,
        498246,
        498269,
    )
)
"""Images of the official data that were annotated at another size than their file has (CLIPSeg's `invalid_img_ids`)."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An entry of image_data_split.json; sizes in pixels."""

    height: int
    width: int
    split: str
    coco_id: int | None  # None: the image is not in COCO


def remedy(root: Path) -> str:
    """What to do about a damaged or missing file, for messages."""
    return (
        f"download it again (datasets/README.md), or see all that is wrong with "
        f"`python tools/prepare_phrasecut.py check --root {root}`"
    )


def splits_of(name: str) -> tuple[str, ...]:
    """The splits that "train", or several as in "val_miniv", stand for.

    Raises:
        DatasetError: an unknown split.
    """
    found = tuple(name.split("_"))
    if set(found) <= set(SPLITS) and len(set(found)) == len(found):
        return found
    raise DatasetError(f"PhraseCut has no split '{name}'; choose {', '.join(SPLITS)}, or several as in 'val_miniv'.")


def image_path(root: Path, image_id: int) -> Path:
    """Where the image is."""
    return root / "images" / f"{image_id}.jpg"


def iterate_entries(root: Path, split: str) -> Iterator[object]:
    """The unchecked entries of ``refer_{split}.json``; see :func:`zsseg_d2.data.phrasecut.json_stream.iterate_json_list`."""
    return iterate_json_list(root / f"refer_{split}.json", remedy(root))


def load_image_table(root: Path) -> dict[int, ImageInfo]:
    """The images by id.

    Raises:
        DatasetError: image_data_split.json is missing or damaged.
    """
    # the latter by hand from Drive
    names = [root / name for name in ("image_data_split.json", "image_data_split3000.json")]
    path, table = next((p for p in names if p.exists()), names[0]), {}
    for entry in iterate_json_list(path, remedy(root)):
        found = [entry.get(k) if isinstance(entry, dict) else None for k in ("image_id", "height", "width")]
        split = entry.get("split") if isinstance(entry, dict) else None
        sizes = all(type(v) is int for v in found) and min(found[1:]) >= 1 and max(found[1:]) <= LIMIT
        if not sizes or not isinstance(split, str):
            raise DatasetError(
                f"{path}: an entry has no usable 'image_id', 'height', 'width' or 'split' ({str(entry)[:80]}); "
                f"{remedy(root)}."
            )
        coco_id = entry.get("coco_id")
        table[found[0]] = ImageInfo(found[1], found[2], split, coco_id if isinstance(coco_id, int) else None)
    return table


def load_skip_list(root: Path) -> frozenset[str]:
    """Ids of the tasks that the annotators skipped; none where there is no skip.json, which the official tools leave out.

    Raises:
        DatasetError: the file is damaged.
    """
    path = root / "skip.json"
    if not path.exists():
        return frozenset()
    entries = iterate_json_list(path, f"delete it (it is optional) or {remedy(root)}")
    return frozenset(entry if isinstance(entry, str) else name_of(entry) for entry in entries) - {""}


def load_word_counts(root: Path) -> dict[str, dict[str, int]]:
    """How often the phrases of the data set use each word, for results by frequency.

    Returns:
        ``{"cat": {category name: count}, "att": {attribute: count}, "rel": {predicate: count}}``, frequent ones first.
    Raises:
        DatasetError: name_att_rel_count.json is missing or damaged.
    """
    path = root / "name_att_rel_count.json"
    try:
        content = json.loads(path.read_bytes())
        return {key: {str(name): int(count) for name, count in content[key]} for key in ("cat", "att", "rel")}
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing; {remedy(root)}.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        problem = f"has no lists 'cat', 'att' and 'rel' of (word, count): {error!r}"
        raise DatasetError(f"{path} {problem}; {remedy(root)}.") from error
