"""The folder VGPhraseCut_v0: its files, the table of images, the skip list, the counts of words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from ...reading import MB, UnusableFile, explain, read_json
from ..errors import DatasetError
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


Pixels = Annotated[int, msgspec.Meta(ge=1, le=LIMIT)]


Counts = list[tuple[str, int]]
WORDS_LIMIT = 64 * MB


class WordCounts(msgspec.Struct):
    """The content of name_att_rel_count.json: how often each category, attribute and predicate is used."""

    cat: Counts
    att: Counts
    rel: Counts


class ImageInfo(msgspec.Struct, frozen=True, gc=False):
    """An entry of image_data_split.json; sizes in pixels, `coco_id` None if the image is not in COCO."""

    image_id: int
    height: Pixels
    width: Pixels
    split: str
    coco_id: object = None

    @property
    def coco(self) -> int | None:
        """The image's id in COCO."""
        return self.coco_id if isinstance(self.coco_id, int) else None


def remedy(root: Path) -> str:
    """Return what to do about a damaged or missing file, for messages."""
    return (
        f"download it again (datasets/README.md), or list all problems with "
        f"`python tools/prepare_phrasecut.py check --root {root}`"
    )


def splits_of(name: str) -> tuple[str, ...]:
    """Return the splits that a name selects: "train", or several as in "val_miniv".

    Raises:
        DatasetError: an unknown split.
    """
    found = tuple(name.split("_"))
    if set(found) <= set(SPLITS) and len(set(found)) == len(found):
        return found
    raise DatasetError(f"PhraseCut has no split '{name}'; choose {', '.join(SPLITS)}, or several as in 'val_miniv'.")


def image_path(root: Path, image_id: int) -> Path:
    """Return the path of an image."""
    return root / "images" / f"{image_id}.jpg"


def iterate_entries(root: Path, split: str) -> Iterator[object]:
    """Yield the unchecked entries of ``refer_{split}.json``.

    Raises:
        DatasetError: see :func:`zsseg_d2.data.phrasecut.json_stream.iterate_json_list`.
    """
    return iterate_json_list(root / f"refer_{split}.json", remedy(root))


def load_image_table(root: Path) -> dict[int, ImageInfo]:
    """Load the images by id.

    Raises:
        DatasetError: image_data_split.json is missing or damaged.
    """
    # The second name is that of the file downloaded from Drive by hand.
    names = [root / name for name in ("image_data_split.json", "image_data_split3000.json")]
    path = next((p for p in names if p.exists()), names[0])
    table: dict[int, ImageInfo] = {}
    for number, entry in enumerate(iterate_json_list(path, remedy(root))):
        try:
            image = msgspec.convert(entry, ImageInfo)
        except msgspec.ValidationError as error:
            place, problem = explain(error)
            field = f"[{number}].{place}".rstrip(".")
            raise DatasetError(f"{path}: '{field}' {problem}; {remedy(root)}.") from None
        table[image.image_id] = image
    return table


def load_skip_list(root: Path) -> frozenset[str]:
    """Load the ids of the tasks that the annotators skipped; none without a skip.json, which is optional.

    Raises:
        DatasetError: the file is damaged.
    """
    path = root / "skip.json"
    if not path.exists():
        return frozenset()
    entries = iterate_json_list(path, f"delete it (it is optional) or {remedy(root)}")
    return frozenset(entry if isinstance(entry, str) else name_of(entry) for entry in entries) - {""}


def load_word_counts(root: Path) -> dict[str, dict[str, int]]:
    """Load how often the phrases of the dataset use each word, for results by frequency.

    Returns:
        ``{"cat": {category name: count}, "att": {attribute: count}, "rel": {predicate: count}}``, frequent ones first.
    Raises:
        DatasetError: name_att_rel_count.json is missing or damaged.
    """
    path = root / "name_att_rel_count.json"
    try:
        found = read_json(path, WordCounts, limit=WORDS_LIMIT)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing; {remedy(root)}.") from None
    except UnusableFile as error:
        raise DatasetError(f"{error} It holds lists 'cat', 'att' and 'rel' of (word, count); {remedy(root)}.") from None
    return {"cat": dict(found.cat), "att": dict(found.att), "rel": dict(found.rel)}
