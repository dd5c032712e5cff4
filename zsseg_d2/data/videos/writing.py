"""Writing videos: MPEG-4 in an MP4 file, complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from ...files import atomic_path
from ...reading import printable
from .reading import opencv

SUFFIX = ".mp4"
_CODEC = "mp4v"  # MPEG-4 part 2, which every build of OpenCV can write


def write_video(path: str | os.PathLike, frames: Iterable[np.ndarray], rate: float) -> int:
    """Write frames as a video; the last row and column are repeated where a side is odd, as the format needs.

    Args:
        path: ends in `SUFFIX`; it is replaced when the video is complete.
        frames: (H, W, 3) uint8 RGB, all of one size.
        rate: frames per second.

    Returns:
        The number of frames.

    Raises:
        ValueError: there is no frame, or frames differ in size.
        DatasetError: OpenCV is not installed.
        OSError: the video cannot be written, as on a full disk.
    """
    cv2 = opencv()
    writer, size, number = None, (0, 0), 0
    with atomic_path(path, SUFFIX) as temporary:
        try:
            for number, frame in enumerate(frames, start=1):
                if writer is None:
                    size = frame.shape[:2]
                    even = (size[1] + size[1] % 2, size[0] + size[0] % 2)
                    writer = cv2.VideoWriter(
                        str(temporary.absolute()), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*_CODEC), rate, even
                    )
                    if not writer.isOpened():
                        raise OSError(0, f"the video cannot be written ({even[0]}x{even[1]}, {rate:g} per second)")
                if frame.shape[:2] != size:
                    raise ValueError(f"Frame {number} is {frame.shape[:2]} (H, W), but the first one is {size}.")
                padded = np.pad(frame, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), "edge")
                writer.write(np.ascontiguousarray(padded[..., ::-1]))
        finally:
            if writer is not None:
                writer.release()
        if not number:
            raise ValueError("A video needs a frame.")
        _check(temporary, printable(path), number)
    return number


def _check(path: os.PathLike, name: str, number: int) -> None:
    """Compare the number of frames in the file with that of the frames: OpenCV reports no failed write."""
    cv2 = opencv()
    written = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    found = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
    written.release()
    if found != number:
        raise OSError(0, f"{name}: has {found} of {number} frames after writing; is the disk full?")
