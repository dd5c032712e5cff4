"""The usual programs of the data side: one image, one class, one polygon at a time, with files in between."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as oracle
from cityscapesscripts.helpers.labels import id2label
from PIL import Image, ImageDraw


def save_ids(path: Path, ids: np.ndarray) -> None:
    """(H, W) segment ids as an RGB picture."""
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 256**2], -1).astype(np.uint8)).save(path)


def cityscapes_counts(
    folder: Path,
    gt_ids: np.ndarray,
    gt_segments: Sequence[Mapping],
    pred_ids: np.ndarray,
    pred_segments: Sequence[Mapping],
    num_classes: int,
) -> dict[str, list]:
    """Counts of one image by cityscapesscripts' evaluator: the prediction is saved, and both pictures are read again.

    Args:
        folder: for the pictures; ``gt.png`` is written if it is not there.
        gt_segments: with "area", beside what :func:`zsseg_d2.evaluation.panoptic.panoptic_counts.count_image` asks for.
    Returns:
        ``iou``, ``tp``, ``fp``, ``fn``: a number a class.
    """
    if not (folder / "gt.png").exists():
        save_ids(folder / "gt.png", gt_ids)
    save_ids(folder / "pred.png", pred_ids)
    pair = (
        {"image_id": "one", "file_name": "gt.png", "segments_info": [dict(s) for s in gt_segments]},
        {"image_id": "one", "file_name": "pred.png", "segments_info": [dict(s) for s in pred_segments]},
    )
    with contextlib.redirect_stdout(io.StringIO()):
        found = oracle.pq_compute_single_core(0, [pair], str(folder), str(folder), dict.fromkeys(range(num_classes)))
    return {key: [getattr(found[k], key) for k in range(num_classes)] for key in ("iou", "tp", "fp", "fn")}


def delete_classes(root: Path, split: str, output: Path, label_ids: Iterable[int]) -> None:
    """A copy of a data set in Cityscapes layout without some classes, images linked; one picture after the other."""
    gone, truth = list(label_ids), Path("gtFine")
    panoptic = truth / f"cityscapes_panoptic_{split}"
    (output / panoptic).mkdir(parents=True)
    for path in sorted((root / "leftImg8bit" / split).glob("*/*.png")):
        link = output / path.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    for path in sorted((root / truth / split).glob("*/*_instanceIds.png")):
        folder = output / path.relative_to(root).parent
        folder.mkdir(parents=True, exist_ok=True)
        instances = np.array(Image.open(path))
        labels = np.array(Image.open(str(path).replace("instanceIds", "labelIds")))
        instances[np.isin(np.where(instances >= 1000, instances // 1000, instances), gone)] = 0
        labels[np.isin(labels, gone)] = 0
        train_ids = np.zeros_like(labels)
        for label in np.unique(labels):
            train_ids[labels == label] = id2label[int(label)].trainId % 256
        for kind, pixels in (("instanceIds", instances), ("labelIds", labels), ("labelTrainIds", train_ids)):
            Image.fromarray(pixels).save(folder / path.name.replace("instanceIds", kind))
    document = json.loads((root / f"{panoptic}.json").read_text())
    for annotation in document["annotations"]:
        colours = np.array(Image.open(root / panoptic / annotation["file_name"])).astype(np.int64)
        ids = colours @ (1, 256, 256**2)
        ids[np.isin(ids, [s["id"] for s in annotation["segments_info"] if s["category_id"] in gone])] = 0
        save_ids(output / panoptic / annotation["file_name"], ids)
        annotation["segments_info"] = [s for s in annotation["segments_info"] if s["category_id"] not in gone]
    (output / f"{panoptic}.json").write_text(json.dumps(document))


def polygon_mask(nested: Sequence, height: int, width: int) -> np.ndarray:
    """(height, width) bool by the rule of PhraseCut's own tools: one picture a polygon, added up."""
    total = np.zeros((height, width))
    for polygon in (p for instance in nested for p in instance):
        if len(polygon) < 2:
            continue
        picture = Image.new("L", (width, height), 0)
        ImageDraw.Draw(picture).polygon([(int(x), int(y)) for x, y in polygon], outline=1, fill=1)
        total += np.array(picture)
    return total > 0
