"""Videos: what is written comes back, and what is damaged, too large or no video is told in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from zsseg_d2.data.errors import DatasetError
from zsseg_d2.data.videos.reading import Video
from zsseg_d2.data.videos.writing import write_video

cv2 = pytest.importorskip("cv2")
LIMIT = 10**6


def frames(count: int, height: int, width: int) -> list[np.ndarray]:
    """A smooth picture that moves, so that the coding is almost exact and each frame differs."""
    y, x = np.mgrid[:height, :width]
    moving = [np.stack([x + 6 * k, y + 4 * k, 0 * x + 20 * k], -1) for k in range(count)]
    return [(np.abs(picture % 510 - 255)).astype(np.uint8) for picture in moving]


@pytest.fixture
def film(tmp_path):
    write_video(tmp_path / "film.mp4", frames(12, 48, 64), 25)
    return tmp_path / "film.mp4"


def counted(path, most=100) -> int:
    return list(Video(path, LIMIT).count(most))[-1]


@pytest.mark.parametrize("rate", [25, 29.97, 23.976, 0.5, 120])
@pytest.mark.parametrize("size", [(48, 64), (47, 65), (1, 1), (2, 500)])
def test_frames_come_back(tmp_path, size, rate):
    """Frame rate and size are those of the frames, where an odd side grows by one pixel."""
    written = frames(8, *size)
    assert write_video(tmp_path / "a.mp4", written, rate) == 8 and os.listdir(tmp_path) == ["a.mp4"]
    video = Video(tmp_path / "a.mp4", LIMIT)
    assert video.rate == pytest.approx(rate, abs=1e-3)
    assert video.announced == 8 and list(video.count(8)) == [*range(1, 9)]
    for number in (0, 3, 4, 7, 1):  # also back
        found = video.frame(number)
        assert found.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3) and found.dtype == np.uint8
        difference = np.abs(found[: size[0], : size[1]].astype(int) - written[number])
        assert difference.mean() < 5, "the frame before differs by 10"
    with pytest.raises(DatasetError, match="frame 9 cannot be read"):
        video.frame(8)


def test_colors_are_red_green_blue(tmp_path):
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 250
    write_video(tmp_path / "a.mp4", [red] * 2, 10)
    assert Video(tmp_path / "a.mp4", LIMIT).frame(0).mean((0, 1)) == pytest.approx([250, 0, 0], abs=6)
    reader = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert reader.read()[1].mean((0, 1)) == pytest.approx([0, 0, 250], abs=6)  # OpenCV: blue first


@pytest.mark.parametrize(("ending", "codec"), [("avi", "MJPG"), ("mkv", "MJPG"), ("mov", "mp4v"), ("avi", "XVID")])
def test_other_formats(tmp_path, ending, codec):
    path = tmp_path / f"a.{ending}"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), 20, (64, 48))
    for picture in frames(10, 48, 64):
        writer.write(picture[..., ::-1].copy())
    writer.release()
    assert counted(path) == 10 and Video(path, LIMIT).rate == 20


def test_a_video_that_is_cut_off_is_told(film, tmp_path):
    whole = film.read_bytes()
    for length in (0, 4, 100, len(whole) // 2):
        film.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match=r"film\.mp4: is (empty|cut off|no video).* Fix: "):
            counted(film)
    path = tmp_path / "a.avi"  # its header stands in front
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 20, (64, 48))
    for picture in frames(40, 48, 64):
        writer.write(picture)
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"a\.avi: is cut off or damaged: it announces 40 frames, and \d+ can be"):
        counted(path)


def test_a_video_without_frames(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 20, (64, 48))
    writer.release()
    with pytest.raises(DatasetError, match=r"a\.avi: is .*damaged"):
        counted(tmp_path / "a.avi")
    with pytest.raises(ValueError, match="needs a frame"):
        write_video(tmp_path / "b.mp4", [], 25)
    assert os.listdir(tmp_path) == ["a.avi"]


def test_limits(film):
    with pytest.raises(DatasetError, match=r"film\.mp4: has more than 11 frames"):
        counted(film, most=11)
    assert counted(film, most=12) == 12
    with pytest.raises(DatasetError, match=r"64x48 pixels.*INPUT\.MAX_PIXELS"):
        Video(film, 64 * 48 - 1)
    assert Video(film, 64 * 48).frame(0).shape == (48, 64, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:1,\nsecret.mp4\n",
        b"ffconcat version 1.0\nfile secret.mp4\n",
        b"v=0\r\no=- 0 0 IN IP4 1.2.3.4",
    ],
)
def test_playlists_are_not_followed(film, content):
    """FFmpeg opens them whatever they are called, and what they list."""
    film.rename(film.with_name("secret.mp4"))
    film.write_bytes(content)
    with pytest.raises(DatasetError, match=r"film\.mp4: is no video of a known format"):
        Video(film, LIMIT)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, told in (("pipe.mp4", "a device or a pipe"), ("no.mp4", "there is no such video")):
        with pytest.raises(DatasetError, match=told):
            Video(tmp_path / name, LIMIT)


def test_frames_of_different_sizes_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"Frame 2 is \(4, 6\)"):
        write_video(tmp_path / "a.mp4", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)], 25)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told(tmp_path):
    """OpenCV says nothing when writing fails; the file is read again."""
    path = tmp_path / "a.mp4"
    code = (
        "import resource, signal, sys\nimport numpy as np\nimport zsseg_d2\nzsseg_d2.load()\n"
        "from zsseg_d2.data.videos.writing import write_video\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)\n"
        "try:\n    write_video(sys.argv[1], noise, 25)\nexcept OSError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "of 30 frames" in done.stdout and os.listdir(tmp_path) == [], done
