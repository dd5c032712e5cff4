"""Reading videos frame by frame: regular files of known formats only, with limits on pixels and frames."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...reading import UnusableFile, open_regular, printable
from ..errors import DatasetError

if TYPE_CHECKING:
    import cv2

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
"""Endings of the files that are read as videos."""

# What such files begin with. FFmpeg would also open playlists under any name, and read the files that they list.
_SIGNATURES = re.compile(
    rb"....(?:ftyp|moov|mdat|free|skip|wide|pnot)"  # MP4, QuickTime
    rb"|RIFF....AVI "
    rb"|\x1a\x45\xdf\xa3"  # Matroska, WebM
    rb"|\x00\x00\x01[\xba\xb3]",  # MPEG program stream, MPEG video
    re.DOTALL,
)
_HEAD = 16  # bytes in which a signature is
_SLACK = 0.02  # of the frames that a file announces; some formats only estimate their number
_RATES = (0.01, 1000.0)  # frames per second


class Video:
    """A video file, read forward.

    Frames are numbered from 0, and turned as the file says they are to be shown.

    Args:
        path: the file.
        max_pixels: number of pixels that a frame may have (INPUT.MAX_PIXELS).

    Raises:
        DatasetError: the file is missing, not a regular file, not a video, has larger frames or no frame rate, or
            OpenCV is not installed.

    Attributes:
        rate: frames per second.
        announced: number of frames by the header; may be an estimate, and 0 if it says nothing.
    """

    def __init__(self, path: str | os.PathLike, max_pixels: int) -> None:
        self.path = Path(path)
        self._name, self._limit = printable(path), max_pixels
        cv2 = opencv()
        _check_signature(self.path, self._name)
        self._capture = self._opened()
        self._next = 0
        width, height = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.announced = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._check_pixels(width, height)
        if not _RATES[0] <= self.rate <= _RATES[1]:  # also for NaN
            self.close()
            raise DatasetError(f"{self._name}: has no frame rate ({self.rate:g}). Fix: convert it to MP4.")

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def count(self, most: int) -> Iterator[int]:
        """Decode the whole video, and yield the number of frames so far after each.

        The next :meth:`frame` starts from the beginning again.

        Args:
            most: number of frames that the video may have.

        Raises:
            DatasetError: there is no frame, there are more than `most`, or the video ends before its announced end.
        """
        self._rewind()
        number = 0
        while self._capture.grab():
            number += 1
            if number > most:
                raise DatasetError(f"{self._name}: has more than {most:,} frames. Fix: cut it, or --max-frames NUMBER.")
            yield number
        self._rewind()
        if not number:
            raise DatasetError(f"{self._name}: is damaged, or a video without frames. Fix: convert or restore it.")
        if number < self.announced - max(1, _SLACK * self.announced):
            raise DatasetError(
                f"{self._name}: is cut off or damaged: it announces {self.announced:,} frames, and {number:,} can be "
                "read. Fix: restore it, or convert it to keep what is there."
            )

    def frame(self, number: int) -> np.ndarray:
        """Return a frame as (H, W, 3) uint8 RGB; fast if it comes after the one before.

        Raises:
            DatasetError: there is no such frame, or it has too many pixels.
        """
        if number < self._next:
            self._rewind()
        while self._next < number and self._capture.grab():
            self._next += 1
        found, pixels = self._capture.read()
        if not found or self._next != number:
            raise DatasetError(f"{self._name}: frame {number + 1} cannot be read. Fix: restore the video.")
        self._next += 1
        self._check_pixels(pixels.shape[1], pixels.shape[0])
        if pixels.ndim == 2:
            return np.repeat(pixels[..., None], 3, -1)
        return np.ascontiguousarray(pixels[..., 2::-1])

    def _rewind(self) -> None:
        """Open the file again: seeking in videos is not exact."""
        self._capture.release()
        self._capture = self._opened()
        self._next = 0

    def _opened(self) -> cv2.VideoCapture:
        cv2 = opencv()
        # The path is absolute, so that no name is taken for a protocol.
        capture = cv2.VideoCapture(str(self.path.absolute()), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise DatasetError(f"{self._name}: is cut off or damaged, or no video. Fix: restore or convert it.")
        return capture

    def _check_pixels(self, width: int, height: int) -> None:
        if not 0 < width * height <= self._limit:
            self.close()
            raise DatasetError(
                f"{self._name}: has frames of {width}x{height} pixels. Fix: make it smaller; 1 to {self._limit:,} "
                "pixels are read (INPUT.MAX_PIXELS)."
            )


def opencv() -> Any:
    """Import OpenCV, which prints nothing then.

    Raises:
        DatasetError: it is not installed.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet; problems are told once, by name
    try:
        import cv2

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    except ImportError as error:
        problem = "Videos need OpenCV, which is not installed. Fix: pip install opencv-python-headless"
        raise DatasetError(problem) from error
    return cv2


def _check_signature(path: Path, name: str) -> None:
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise DatasetError(f"{name}: there is no such video. Fix: check the path.") from None
    except UnusableFile as error:
        raise DatasetError(str(error)) from None
    if not _SIGNATURES.match(head):
        problem = "is no video of a known format" if head else "is empty"
        raise DatasetError(f"{name}: {problem} ({', '.join(SUFFIXES)}). Fix: restore it, or convert it to MP4.")
