"""``tools/predict.py`` on videos: an annotated video, and results of each frame as of an image."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.contents import content
from tests.engine.batched_scores import differences, pictures
from zsseg_d2.cli import predict as tool
from zsseg_d2.data import read_panoptic_png
from zsseg_d2.data.synthetic import write_minicity
from zsseg_d2.data.videos.reading import Video
from zsseg_d2.data.videos.writing import write_video
from zsseg_d2.engine.prediction import program
from zsseg_d2.engine.prediction.predictor import Predictor

pytest.importorskip("cv2")

CPU = ("MODEL.DEVICE", "cpu")
WORDS = ("--words", "road, sidewalk, building, sky, tree, car|cars, person")
FRAMES = 5


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """(128, 512, 3): two street scenes beside each other."""
    root = tmp_path_factory.mktemp("scenes")
    write_minicity(root, train=0, val=2, height=128, width=256, num_workers=1)
    paths = sorted((root / "minicity" / "leftImg8bit" / "val").rglob("*.png"))
    return np.concatenate([np.asarray(Image.open(path)) for path in paths], 1)


@pytest.fixture
def films(scene, tmp_path, monkeypatch):
    """``a.mp4`` and ``b.mp4`` in ``films/``: the scene passes by."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").mkdir()
    for name, left in (("a", 0), ("b", 90)):
        pictures = [scene[:, left + 8 * k : left + 8 * k + 256] for k in range(FRAMES)]
        write_video(tmp_path / "films" / f"{name}.mp4", pictures, 12.5)
    return tmp_path / "films"


@pytest.fixture
def computed(monkeypatch):
    """The names of the images that were computed, frames by that of their video."""
    names = []
    whole = Predictor.predict_batch
    monkeypatch.setattr(
        Predictor, "predict_batch", lambda self, items: names.extend(i["name"] for i in items) or whole(self, items)
    )
    return names


def run(*words: object) -> int:
    return tool.main([*map(str, words), *CPU])


def files(folder) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def expected_files(names, ending="png", kinds=("panoptic",)):
    frames = {f"{kind}/{n}/{k:06d}.{ending}" for kind in kinds for n in names for k in range(1, FRAMES + 1)}
    return frames | {f"overlay/{n}.mp4" for n in names} | {"panoptic.json", ".predictions.jsonl"}


def test_a_film_and_a_picture(films, scene, capsys):
    Image.fromarray(scene).save(films.parent / "c.png")
    assert run("films/a.mp4", "c.png", *WORDS, "--output", "found", "--csv", "--semantic", "--instances") == 0
    found = films.parent / "found"
    kinds = ("panoptic", "semantic")
    assert set(files(found)) == expected_files("a", kinds=kinds) | {
        *("overlay/c.jpg", "panoptic/c.png", "semantic/c.png", "segments.csv", "instances.json")
    }
    film = Video(found / "overlay" / "a.mp4", 10**6)
    assert film.rate == 12.5 and list(film.count(99)) == [1, 2, 3, 4, 5] and film.frame(0).shape == (128, 256, 3)
    written = content(found / "panoptic.json")
    assert [i["id"] for i in written["images"]] == [*(f"a/{k:06d}" for k in range(1, FRAMES + 1)), "c"]
    assert [i["file_name"] for i in written["images"]] == ["films/a.mp4"] * FRAMES + ["c.png"]
    assert [i.get("frame") for i in written["images"]] == [1, 2, 3, 4, 5, None]
    assert [a["image_id"] for a in written["annotations"]] == [i["id"] for i in written["images"]]
    table = (found / "segments.csv").read_text().splitlines()
    assert len(table) == 1 + sum(len(a["segments_info"]) for a in written["annotations"])
    assert table[1].startswith("a/000001,") and table[-1].startswith("c,")
    assert {i["image_id"] for i in content(found / "instances.json")} <= {i["id"] for i in written["images"]}


def test_each_frame_has_the_result_of_an_image(films):
    """The map of a frame is that of the same pixels in an image, and its classes have their colors in the video."""
    assert run("films/a.mp4", *WORDS, "--output", "found") == 0
    found, source = films.parent / "found", Video(films / "a.mp4", 10**6)
    predictor = Predictor(words=WORDS[1], device="cpu")
    colors = {c.id: np.array(c.color) for c in predictor.categories}
    annotations = content(found / "panoptic.json")["annotations"]
    for k, annotation in enumerate(annotations):
        image = source.frame(k)
        alone = predictor(image)
        ids = read_panoptic_png(found / "panoptic" / annotation["file_name"])
        assert np.array_equal(ids, alone.panoptic), k
        assert annotation["segments_info"] == alone.coco_annotation()["segments_info"]
        drawn = Video(found / "overlay" / "a.mp4", 10**6).frame(k).astype(int)
        for s in annotation["segments_info"]:
            if s["area"] > 4000:  # text and white edges cover less than half of it
                expected = 0.62 * np.maximum(colors[s["category_id"]], 40) + 0.38 * image
                difference = np.abs(drawn - expected).mean(-1)[ids == s["id"]]
                assert np.median(difference) < 8, (k, s)


def test_an_interrupted_film_resumes(films, monkeypatch, computed, capsys):
    assert run("films", *WORDS, "--output", "whole") == 0
    assert computed == ["a"] * FRAMES + ["b"] * FRAMES
    computed.clear()
    add = program.PredictionFolder.add

    def interrupted(self, source, name, found, **more):
        if source.path.stem == "b" and source.frame == 2:
            raise KeyboardInterrupt
        add(self, source, name, found, **more)

    with monkeypatch.context() as patch:
        patch.setattr(program.PredictionFolder, "add", interrupted)
        with pytest.raises(SystemExit) as stop:
            run("films", *WORDS, "--output", "found")
    assert stop.value.code == 130 and "the same command resumes" in capsys.readouterr().err
    found = films.parent / "found"
    assert (found / "overlay" / "a.mp4").is_file() and not (found / "overlay" / "b.mp4").exists()
    computed.clear()
    assert run("films", *WORDS, "--output", "found") == 0 and computed == ["b"] * 3
    told = capsys.readouterr().err
    assert "films/b.mp4: 2 of 5 frames are finished already." in told and "1 of 2 files are finished" in told
    assert files(found) == files(films.parent / "whole")
    (found / "overlay" / "a.mp4").unlink()  # ended before it was drawn
    computed.clear()
    assert run("films", *WORDS, "--output", "found") == 0 and computed == []
    assert files(found) == files(films.parent / "whole")
    monkeypatch.setattr(program, "all_frames", lambda *_: pytest.fail("a finished video was read"))
    assert run("films", *WORDS, "--output", "found") == 0 and computed == []


def test_another_video_under_its_name_replaces_all_frames(films, computed):
    assert run("films/a.mp4", *WORDS, "--output", "found") == 0
    other = [Video(films / "b.mp4", 10**6).frame(k) for k in range(3)]
    write_video(films / "a.mp4", other, 25)
    assert run("films/a.mp4", *WORDS, "--output", "found") == 0 and len(computed) == FRAMES + 3
    found = films.parent / "found"
    film = Video(found / "overlay" / "a.mp4", 10**6)
    assert film.rate == 25 and list(film.count(99))[-1] == 3
    assert (
        len(content(found / "panoptic.json")["images"]) == 3 and not (found / "panoptic" / "a" / "000004.png").exists()
    )
    assert run("films/b.mp4", *WORDS, "--output", "found") == 0
    assert len(content(found / "panoptic.json")["images"]) == 3 + FRAMES


def test_other_words_replace_the_film(films):
    assert run("films/a.mp4", *WORDS, "--output", "found") == 0
    with pytest.raises(SystemExit, match="holds predictions with other settings"):
        run("films/b.mp4", "--words", "sky", "--output", "found")
    assert run("films/b.mp4", "--words", "sky", "--output", "found", "--overwrite") == 0
    assert set(files(films.parent / "found")) == expected_files("b")


def test_damaged_videos_cost_no_other_file(films, capsys):
    (films / "aa.mp4").write_bytes((films / "a.mp4").read_bytes()[:900])
    (films / "ab.avi").write_text("no video")
    (films / "ac.mkv").write_bytes(b"")
    assert run("films", *WORDS, "--output", "found") == 1
    assert {p for p in files(films.parent / "found") if "overlay" in p} == {"overlay/a.mp4", "overlay/b.mp4"}
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 4 and lines[3] == "error: 3 of 5 files gave no result; the others did."
    for line, name in zip(lines, ("aa.mp4", "ab.avi", "ac.mkv")):
        assert line.count(name) == 1 and "Fix: " in line


def test_a_film_over_the_limit_is_told(films, capsys):
    assert run("films/a.mp4", *WORDS, "--output", "found", "--max-frames", FRAMES - 1) == 1
    assert "a.mp4: has more than 4 frames. Fix: cut it, or --max-frames NUMBER" in capsys.readouterr().err
    assert run("films/a.mp4", *WORDS, "--output", "found", "--max-frames", FRAMES) == 0


def test_json_of_a_film(films, capsys):
    """With and without a folder the same."""
    assert run("films/a.mp4", *WORDS, "--json", "-") == 0
    alone = json.loads(capsys.readouterr().out)
    assert run("films/a.mp4", *WORDS, "--output", "found", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == alone and len(alone["annotations"]) == FRAMES
    assert run("films/a.mp4", *WORDS, "--output", "found", "--json", "-") == 0, "all is finished"
    assert json.loads(capsys.readouterr().out) == alone


def test_without_opencv_images_are_computed(films, scene, monkeypatch, capsys):
    import sys

    Image.fromarray(scene).save(films / "c.png")
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert run("films", *WORDS, "--output", "found") == 1
    assert "Fix: pip install opencv-python-headless" in capsys.readouterr().err
    assert "overlay/c.jpg" in files(films.parent / "found")


@pytest.mark.parametrize("size", [2, 3, 16])
def test_batches_give_the_maps_of_single_images(films, scene, computed, size):
    """Scores agree to 1e-5; an image of another size between the frames is computed alone."""
    Image.fromarray(scene).save(films / "aa.png")
    assert run("films", *WORDS, "--output", "alone") == 0
    sizes = []
    whole = Predictor.predict_batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "predict_batch", lambda self, i: sizes.append(len(i)) or whole(self, i))
        assert run("films", *WORDS, "--output", "found", "--batch-size", size) == 0
    of_film = {2: [2, 2, 1], 3: [3, 2], 16: [5]}[size]
    assert sizes == [*of_film, 1, *of_film]
    alone, found = files(films.parent / "alone"), files(films.parent / "found")
    for name in alone:
        if name.endswith("png"):
            assert found[name] == alone[name], name
    for one, other in zip(*(content(films.parent / n / "panoptic.json")["annotations"] for n in ("alone", "found"))):
        for a, b in zip(one["segments_info"], other["segments_info"], strict=True):
            assert {**a, "score": 0} == {**b, "score": 0} and a["score"] == pytest.approx(b["score"], abs=1e-5)


def test_scores_of_a_batch_are_those_of_single_images():
    """On drawings, noise and a ramp, of segments and of instances."""
    for found in differences(pictures(90, 150), (2, 4), ("INPUT.MIN_SIZE_TEST", "96")):
        assert found.maps == 0 and max(found.segments, found.instances) < 2e-5


def test_an_image_that_fails_costs_no_other_of_its_batch(films, monkeypatch, capsys):
    whole = Predictor.predict_batch

    def full(self, items):
        if any(item["name"] == "b" for item in items):
            raise MemoryError
        return whole(self, items)

    for name in "bc":
        (films / f"{name}.mp4").write_bytes((films / "a.mp4").read_bytes())
    monkeypatch.setattr(Predictor, "predict_batch", full)
    assert run("films", *WORDS, "--output", "found", "--batch-size", 4) == 1
    assert "error: films/b.mp4: There is not enough memory" in capsys.readouterr().err
    videos = {p for p in files(films.parent / "found") if "overlay" in p}
    assert videos == {"overlay/a.mp4", "overlay/c.mp4"}
