"""The annotation of an image as segments, whether its dataset has panoptic PNGs or label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .panoptic.png import check_segments, read_panoptic_png
from .semantic.label_maps import read_label_map, segments_of_labels


def annotation_path(record: Mapping) -> str:
    """Return the file of an image's annotation."""
    return record["pan_seg_file_name" if "pan_seg_file_name" in record else "sem_seg_file_name"]


def read_annotation(
    record: Mapping, size: tuple[int, int] | None = None, *, complete: bool = True
) -> tuple[np.ndarray, Sequence[Mapping]]:
    """Read the segments of an image.

    Args:
        record: of a panoptic or semantic dataset.
        size: (H, W) in pixels that the annotation must have; None: any.
        complete: require that each pixel's segment is known; False for records with deleted classes.

    Returns:
        (H, W) int32 segment ids, 0 = void; and the segments, each with at least one pixel unless the annotation says
        that it was overpainted. Of a record with deleted classes, ids that are not in the segments are void too.

    Raises:
        DatasetError: the file is missing, damaged, of another size, or does not fit the record.
    """
    path, segments = annotation_path(record), record["segments_info"]
    if "pan_seg_file_name" in record:
        ids = read_panoptic_png(path, size)
        check_segments(ids, segments, path, complete=complete)
        return ids, segments
    return segments_of_labels(read_label_map(path, size), segments, record["ignore"], path, complete=complete)
