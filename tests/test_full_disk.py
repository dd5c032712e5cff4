"""Files that a full disk cuts short raise; Pillow does not tell that of a JPEG."""

from __future__ import annotations

import resource
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from zsseg_d2.data.synthetic import miniphrases, miniworld
from zsseg_d2.engine.prediction.result import Prediction
from zsseg_d2.evaluation.referring.phrase_visualization import save_image

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

WRITERS = {
    "an overlay": lambda folder: Prediction("a", NOISE, np.zeros((64, 64), np.int32), (), ()).save_images(folder, "a"),
    "an overlay of phrases": lambda folder: save_image(Image.fromarray(NOISE), folder / "a.jpg"),
    "MiniPhrases": lambda folder: miniphrases._write_frame(miniphrases._Frame(str(folder), "val", 1, 1, 64)),
    "MiniWorld": lambda folder: miniworld._write_frame(miniworld._Frame(str(folder), "val", 1, 1, 64, 128)),
}


@contextmanager
def files_up_to(size: int):
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_jpeg_that_is_cut_short_is_an_error(tmp_path, writer):
    for name in ("images/val", "panoptic_val"):
        (tmp_path / name).mkdir(parents=True)
    WRITERS[writer](tmp_path)
    (path,) = tmp_path.rglob("*.jpg")
    size = path.stat().st_size
    path.unlink()
    with files_up_to(size - 1), pytest.raises(OSError, match="File too large"):
        WRITERS[writer](tmp_path)
