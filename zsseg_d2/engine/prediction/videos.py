"""Videos of a command line: which frames are still to be computed, their pixels, and the annotated video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...data.panoptic.categories import PanopticCategory
from ...data.videos.reading import Video
from ...data.videos.writing import write_video
from ...evaluation.panoptic.overlay import draw_segments
from ...reading import printable
from ..training.hooks import show_bars
from .folder import PredictionFolder
from .inputs import Source


class FrameReader:
    """Reads frames of several videos; one is open at a time.

    Args:
        max_pixels: of a frame.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._video: Video | None = None

    def read(self, source: Source) -> np.ndarray:
        """Return a frame as (H, W, 3) uint8 RGB; fast if it comes after the one before.

        Raises:
            DatasetError: it cannot be read.
        """
        assert source.frame is not None
        if self._video is None or self._video.path != source.path:
            self.close()
            self._video = Video(source.path, self._max_pixels)
        return self._video.frame(source.frame)

    def close(self) -> None:
        """Close the open video."""
        if self._video is not None:
            self._video.close()
            self._video = None


def all_frames(path: Path, max_pixels: int, max_frames: int) -> list[Source]:
    """List the frames of a video; all of it is decoded, so that damage is told before anything is computed.

    Raises:
        DatasetError: the video is damaged, empty or too large.
    """
    video = Video(path, max_pixels)
    total, title = min(video.announced, max_frames) or None, f"reading {printable(path.name)}"
    try:
        counted = tqdm(video.count(max_frames), title, total, unit="frame", leave=False, disable=not show_bars())
        return [Source(path, number - 1) for number in counted]
    finally:
        video.close()


def is_finished(folder: PredictionFolder, path: Path, name: str, **asked: bool) -> bool:
    """Return whether the annotated video and the results of all frames are there.

    Args:
        folder: of the predictions.
        path: the video.
        name: that :meth:`PredictionFolder.names` gave to it.
        asked: results that were asked for, see :meth:`PredictionFolder.is_done`.
    """
    frames = folder.frames(path) if folder.video(name).is_file() else []
    return bool(frames) and all(folder.is_done(frame, **asked) for frame in frames)


def draw_video(
    folder: PredictionFolder, path: Path, name: str, categories: Sequence[PanopticCategory], max_pixels: int
) -> None:
    """Write the annotated video of finished frames: the size and the frame rate of the input, without sound.

    Args:
        folder: has the results of all frames.
        path: the video.
        name: that :meth:`PredictionFolder.names` gave to it.
        categories: (K,) of the settings.
        max_pixels: of a frame.

    Raises:
        DatasetError: the video or a result cannot be read.
        OSError: the video cannot be written.
    """
    target, frames = folder.video(name), folder.frames(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    video = Video(path, max_pixels)

    def drawn() -> Iterator[np.ndarray]:
        title = f"drawing {printable(path.name)}"
        for source in tqdm(frames, title, unit="frame", leave=False, disable=not show_bars()):
            assert source.frame is not None
            image = video.frame(source.frame)
            yield np.asarray(draw_segments(image, *folder.shown(source, categories)))

    try:
        write_video(target, drawn(), video.rate)
    finally:
        video.close()
