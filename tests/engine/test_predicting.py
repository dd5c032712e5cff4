"""``tools/predict.py``: files, folders and patterns in; overlays, COCO panoptic files and tables out."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import threading

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as reference
from PIL import Image
from pycocotools import mask as coco_mask

import zsseg_d2_console
from tests.contents import content
from zsseg_d2.cli import predict as tool
from zsseg_d2.cli import train_net
from zsseg_d2.data import PanopticCategory, check_segments, load_coco_panoptic, read_panoptic_png
from zsseg_d2.data.synthetic import write_minicity
from zsseg_d2.engine import ConfigError, setup_cfg
from zsseg_d2.engine.prediction import folder, program
from zsseg_d2.engine.prediction.embedded import DRAWN_STREETS
from zsseg_d2.engine.prediction.inputs import find_images, name_images, prepared
from zsseg_d2.engine.prediction.predictor import Predictor

CPU = ("MODEL.DEVICE", "cpu")
WORDS = ("--words", "road, sidewalk, building, sky, tree, car|cars, person")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    write_minicity(root, train=0, val=3, height=128, width=256, num_workers=1)
    return root


@pytest.fixture
def photos(scenes, tmp_path, monkeypatch):
    """Three images in ``photos/``, in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for k, path in enumerate(sorted((scenes / "minicity" / "leftImg8bit" / "val").rglob("*.png"))):
        (tmp_path / "photos" / f"{'abc'[k]}.png").write_bytes(path.read_bytes())
    return tmp_path / "photos"


@pytest.fixture
def computed(monkeypatch):
    """The names of the images that were computed."""
    names = []
    predict = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", lambda self, item: names.append(item["name"]) or predict(self, item))
    return names


def run(*words: object) -> int:
    return tool.main([*map(str, words), *CPU])


def files(folder) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


def test_a_folder_of_images(photos, capsys):
    assert run("photos", *WORDS, "--output", "found", "--instances", "--semantic", "--csv") == 0
    found = photos.parent / "found"
    kinds = {"overlay": "jpg", "panoptic": "png", "semantic": "png"}
    images = {f"{kind}/{name}.{ending}" for kind, ending in kinds.items() for name in "abc"}
    about = {"panoptic.json", "instances.json", "segments.csv", ".predictions.jsonl"}
    assert files(found) == images | about
    written = content(found / "panoptic.json")
    categories = tuple(
        PanopticCategory(c["id"], c["name"], bool(c["isthing"]), tuple(c["color"])) for c in written["categories"]
    )
    assert [c.name for c in categories] == ["road", "sidewalk", "building", "sky", "tree", "car", "person"]
    records = load_coco_panoptic(photos, found / "panoptic", found / "panoptic.json", categories)
    assert [r["image_id"] for r in records] == ["a", "b", "c"]
    with open(found / "segments.csv", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    for record in records:
        ids = read_panoptic_png(record["pan_seg_file_name"], (record["height"], record["width"]))
        check_segments(ids, record["segments_info"], record["pan_seg_file_name"])
        for s in record["segments_info"]:
            ys, xs = np.nonzero(ids == s["id"])
            assert s["area"] == len(ys)
            assert s["bbox"] == [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
            (row,) = (r for r in table if r["image"] == record["image_id"] and int(r["segment"]) == s["id"])
            assert (row["class"], int(row["area"])) == (categories[s["category_id"]].name, s["area"])
            assert row["kind"] == ("thing" if s["isthing"] else "stuff") and 0 < float(row["score"]) <= 1
    assert len(table) == sum(len(r["segments_info"]) for r in records) > 6
    instances = content(found / "instances.json")
    assert {i["category_id"] for i in instances} == {6, 7} and {i["image_id"] for i in instances} == set("abc")
    assert all(coco_mask.area(i["segmentation"]) > 0 and 0 <= i["score"] <= 1 for i in instances)
    told = capsys.readouterr()
    assert told.out == "" and "3 images" in told.err


def test_the_json_has_the_quality_that_an_evaluation_reports(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(scenes))
    monkeypatch.chdir(tmp_path)
    train_net.main(
        ["--config-file", "minicity/zero_shot.yaml", "--eval-only", *CPU, "OUTPUT_DIR", "out"]
        + ["DATALOADER.NUM_WORKERS", "0"]
    )
    report = content(tmp_path / "out" / "inference" / "minicity_panoptic_val" / "panoptic_quality.json")
    assert run(scenes / "minicity" / "leftImg8bit" / "val", "--output", "found") == 0
    written = content(tmp_path / "found" / "panoptic.json")
    for annotation in written["annotations"]:
        annotation["image_id"] = annotation["image_id"].removesuffix("_leftImg8bit")
    (tmp_path / "found.json").write_text(json.dumps(written))
    truth = scenes / "minicity" / "gtFine"
    with contextlib.redirect_stdout(io.StringIO()):
        scores = reference.evaluatePanoptic(
            str(truth / "cityscapes_panoptic_val.json"),
            str(truth / "cityscapes_panoptic_val"),
            str(tmp_path / "found.json"),
            str(tmp_path / "found" / "panoptic"),
            str(tmp_path / "scores.json"),
        )
    assert 100 * scores["All"]["pq"] == pytest.approx(report["All"]["PQ"], abs=1e-9)
    assert scores["All"]["pq"] > 0.1


def test_a_finished_image_is_not_computed_again(photos, computed):
    assert run("photos/a.png", *WORDS, "--output", "found") == 0
    assert run("photos", *WORDS, "--output", "found") == 0
    assert computed == ["a", "b", "c"]
    assert [i["id"] for i in content(photos.parent / "found" / "panoptic.json")["images"]] == ["a", "b", "c"]
    before = {name: (photos.parent / "found" / name).read_bytes() for name in files(photos.parent / "found")}
    assert run("photos", *WORDS, "--output", "found") == 0 and len(computed) == 3
    assert {name: (photos.parent / "found" / name).read_bytes() for name in before} == before
    os.utime(photos / "b.png", (1, 1))  # another image under its name
    (photos.parent / "found" / "overlay" / "c.jpg").unlink()
    assert run("photos", *WORDS, "--output", "found") == 0 and computed[3:] == ["b", "c"]
    assert run("photos", *WORDS, "--output", "found", "--instances", "--semantic") == 0 and computed[5:] == list("abc")
    assert run("photos", *WORDS, "--output", "found", "--instances", "--csv") == 0 and len(computed) == 8


def test_images_that_are_added_later_are_added_to_every_file(photos, computed):
    """Files about all images stay complete, without their options, and to the byte as if made at once."""
    options = (*WORDS, "--csv", "--instances")
    assert run("photos", *options, "--output", "whole") == 0
    computed.clear()
    assert run("photos/a.png", *options, "--output", "found") == 0
    assert run("photos/b.png", *WORDS, "--output", "found") == 0
    assert run("photos", *WORDS, "--output", "found") == 0
    assert computed == ["a", "b", "c"]
    for name in ("panoptic.json", "segments.csv", "instances.json"):
        assert (photos.parent / "found" / name).read_bytes() == (photos.parent / "whole" / name).read_bytes()
    assert run("photos/a.png", *WORDS, "--output", "found", "--overwrite") == 0
    assert not {"segments.csv", "instances.json"} & files(photos.parent / "found"), "they are of other results"


def test_instances_of_some_images_are_refused(photos, computed):
    found = photos.parent / "found"
    for name in "ac":
        assert run(f"photos/{name}.png", *WORDS, "--output", "found") == 0
    refused = r"found/instances.json: finished images have no instances \(1, such as .*/photos/c.png\). Fix: name them"
    with pytest.raises(SystemExit, match=f"^error: {refused}"):
        run("photos/a.png", "photos/b.png", *WORDS, "--output", "found", "--instances")
    assert computed == ["a", "c"] and not (found / "instances.json").exists()
    assert run("photos/b.png", *WORDS, "--output", "found") == 0
    assert run("photos", *WORDS, "--output", "found", "--instances") == 0 and computed[3:] == list("abc")
    assert {i["image_id"] for i in content(found / "instances.json")} == set("abc")


def test_results_of_other_classes_or_fewer_instances_are_other_results(photos, computed):
    """Which words training saw follows from DATASETS.TRAIN; nothing depends on it by default."""
    trained = [("DATASETS.TRAIN", f"('minicity_panoptic_train_{name}',)") for name in ("008", "001")]
    for options in ((*trained[0], "INPUT.EXIF_ORIENTATION", "ignore"), trained[1]):
        assert run("photos/a.png", *WORDS, "--output", "found", *options) == 0
    seen, fewer = ("ZSSEG.SEEN_CLASSES", "training"), ("TEST.DETECTIONS_PER_IMAGE", 5)
    assert run("photos/a.png", *WORDS, "--output", "seen", *seen, *trained[0]) == 0
    for output, options in (("seen", (*seen, *trained[1])), ("found", (*trained[1], *fewer))):
        with pytest.raises(SystemExit, match=r"holds predictions with other settings \(config\)"):
            run("photos/a.png", *WORDS, "--output", output, *options)
    assert computed == ["a", "a"]


def test_an_interrupted_run_resumes(photos, monkeypatch, computed, capsys):
    assert run("photos", *WORDS, "--output", "whole") == 0
    computed.clear()
    add = program.PredictionFolder.add

    def interrupted(self, source, name, found, **more):
        if source.path.stem == "b":
            raise KeyboardInterrupt
        add(self, source, name, found, **more)

    with monkeypatch.context() as patch:
        patch.setattr(program.PredictionFolder, "add", interrupted)
        with pytest.raises(SystemExit) as stop:
            run("photos", *WORDS, "--output", "found")
    assert stop.value.code == 130 and "the same command resumes" in capsys.readouterr().err
    found, whole = photos.parent / "found", photos.parent / "whole"
    assert not (found / "panoptic.json").exists()
    with open(found / ".predictions.jsonl", "ab") as journal:
        journal.write(b'{"source": "cut o')  # as after kill -9
    assert run("photos", *WORDS, "--output", "found") == 0 and computed == ["a", "b", "b", "c"]
    assert files(found) == files(whole)
    for name in files(whole):
        assert (found / name).read_bytes() == (whole / name).read_bytes(), name


def test_other_words_are_refused_or_replace_everything(photos, capsys):
    assert run("photos", *WORDS, "--output", "found", "--csv") == 0
    with pytest.raises(SystemExit, match="holds predictions with other settings .*words.*--overwrite"):
        run("photos/a.png", "--words", "sky", "--output", "found")
    (photos.parent / "found" / "mine.txt").write_text("a file of the user")
    assert run("photos/a.png", "--words", "sky", "--output", "found", "--overwrite") == 0
    expected = {"overlay/a.jpg", "panoptic/a.png", "panoptic.json", ".predictions.jsonl", "mine.txt"}
    assert files(photos.parent / "found") == expected


def test_files_of_others_are_not_replaced(photos):
    (photos.parent / "found").mkdir()
    (photos.parent / "found" / "panoptic.json").write_text("{}")
    for more in ((), ("--overwrite",)):
        with pytest.raises(SystemExit, match="was not made by this program"):
            run("photos", *WORDS, "--output", "found", *more)
    assert (photos.parent / "found" / "panoptic.json").read_text() == "{}"


ENTRY = (
    b'{"source":"a","stamp":[1,2],"name":"%s","image":{"id":"a","file_name":"a","height":1,"width":1},'
    b'"annotation":{"image_id":"a","file_name":"a.png","segments_info":[%s]}}'
)
SEGMENT = b'{"id":1,"category_id":%s,"area":1,"bbox":[0,0,1,1],"iscrowd":0,"score":0.5}'
DAMAGED = [
    *(b"[]", b"not json", b'{"source": 3}'),
    ENTRY % (b"../x", b""),
    ENTRY % (b"a", b"{}"),
    ENTRY % (b"a", SEGMENT % b"99"),
    ENTRY % (b"a", SEGMENT % b'"road"'),
]


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_journal_is_told(photos, line):
    assert run("photos/a.png", *WORDS, "--output", "found") == 0
    with open(photos.parent / "found" / ".predictions.jsonl", "ab") as journal:
        journal.write(line + b"\n")
    with pytest.raises(SystemExit, match=r"error: .*\.predictions\.jsonl: .*--overwrite"):
        run("photos/a.png", *WORDS, "--output", "found")
    assert run("photos/a.png", *WORDS, "--output", "found", "--overwrite") == 0


def test_a_journal_may_be_longer_than_any_line_of_it(photos, computed, monkeypatch):
    assert run("photos", *WORDS, "--output", "found") == 0
    journal = (photos.parent / "found" / ".predictions.jsonl").read_bytes()
    longest = max(map(len, journal.splitlines()))
    assert len(journal) > 2 * longest
    monkeypatch.setattr(folder, "JSON_LIMIT", longest)
    assert run("photos", *WORDS, "--output", "found") == 0 and computed == ["a", "b", "c"]
    monkeypatch.setattr(folder, "JSON_LIMIT", longest - 1)
    with pytest.raises(SystemExit, match=r"error: .*\.predictions\.jsonl: line \d has more than .*--overwrite"):
        run("photos", *WORDS, "--output", "found")


def test_damaged_images_cost_no_other(photos, capsys):
    (photos / "aa.png").write_bytes((photos / "a.png").read_bytes()[:900])
    (photos / "bb.jpg").write_text("no image")
    grey = np.full((40, 60), 4000, np.uint16)
    Image.fromarray(grey).save(photos / "cc.png")  # 12 bits in 16
    assert run("photos", *WORDS, "--output", "found") == 1
    assert [i["id"] for i in content(photos.parent / "found" / "panoptic.json")["images"]] == ["a", "b", "c"]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 4 and lines[3] == "error: 3 of 6 files gave no result; the others did."
    for line, name in zip(lines, ("aa.png", "bb.jpg", "cc.png")):
        assert line.count(name) == 1


def test_too_little_memory_for_one_image_costs_no_other(photos, monkeypatch, capsys):
    predict = Predictor.predict

    def full(self, item):
        if item["name"] == "b":
            raise MemoryError
        return predict(self, item)

    monkeypatch.setattr(Predictor, "predict", full)
    assert run("photos", *WORDS, "--output", "found") == 1
    assert "error: photos/b.png: There is not enough memory" in capsys.readouterr().err
    assert "overlay/c.jpg" in files(photos.parent / "found")


def test_a_full_disk_ends_the_run(photos, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "found/overlay/a.jpg")

    monkeypatch.setattr(program.PredictionFolder, "add", full)
    with pytest.raises(SystemExit, match="No space left"):
        run("photos", *WORDS, "--output", "found")


def test_json_goes_to_standard_output(photos, capsys, monkeypatch):
    """With and without a folder the same, and nothing else is printed there."""
    assert run("photos", *WORDS, "--json", "-") == 0
    alone = json.loads(capsys.readouterr().out)
    assert run("photos/a.png", *WORDS, "--output", "found") == 0
    capsys.readouterr()
    assert run("photos", *WORDS, "--output", "found", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == alone
    assert [image["file_name"] for image in alone["images"]] == ["a.png", "b.png", "c.png"]
    for annotation in alone["annotations"]:
        ids = read_panoptic_png(photos.parent / "found" / "panoptic" / annotation["file_name"])
        for s in annotation["segments_info"]:
            assert np.array_equal(coco_mask.decode(s["segmentation"]), ids == s["id"])
    assert run("photos/a.png", *WORDS, "--json", "a.json") == 0
    assert "score   area   class" in capsys.readouterr().out
    assert content(photos.parent / "a.json")["annotations"] == alone["annotations"][:1]
    monkeypatch.setenv("HOME", str(photos))
    assert run("photos/a.png", *WORDS, "--output", "found", "--json", "~/b.json") == 0
    assert content(photos / "b.json") == content(photos.parent / "a.json")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nothing.jpg",), "nothing.jpg: there is no such image, video, folder or pattern"),
        (("*.jpg",), r"\*.jpg: there is no image"),
        (("empty",), "empty: there is no image"),
        (("photos", "--words", ","), "words=',': there are no words"),
        (("photos", "--words", "no.txt"), "words='no.txt': No vocabulary 'no.txt'"),
        (("photos", "--json", "no/such/folder.json"), "its folder does not exist"),
        (("photos", "--json", "~/no/folder.json"), "--json ~/no/folder.json: its folder does not exist"),
        (("photos", "--json", "empty"), "--json empty: is a folder. Fix: name a file"),
        (("photos", "--json", "./found"), "--json ./found: is a folder"),
    ],
)
def test_mistakes_are_told_before_work(photos, monkeypatch, words, told):
    (photos.parent / "empty").mkdir()
    monkeypatch.setattr("zsseg_d2.engine.prediction.predictor._model", lambda cfg: pytest.fail("built"))
    with pytest.raises(SystemExit, match=f"^error: .*{told}"):
        run(*words, "--output", "found")
    assert not (photos.parent / "found").exists()


def test_arguments():
    args = tool.parse_arguments(
        ["a.png", "b", "--words", "x", "--config-file", "c.yaml", "d.yaml", "--output", "o", "MODEL.WEIGHTS", "w.pth"]
    )
    assert (args.images, args.config_file) == (["a.png", "b"], ["c.yaml", "d.yaml"])
    assert args.opts == ["MODEL.WEIGHTS", "w.pth"]
    assert tool.parse_arguments(["--json", "-", "a.png", "SEED", "1"]).images == ["a.png"]
    for wrong in (["a.png"], ["--output", "o"], ["SEED", "1", "--output", "o"], ["a.png", "--json", "-", "--csv"]):
        with pytest.raises(SystemExit) as stop:
            tool.parse_arguments(wrong)
        assert stop.value.code == 2


def test_images_are_found_once_and_without_the_output(photos):
    (photos / "deep" / "er").mkdir(parents=True)
    (photos / "found" / "overlay").mkdir(parents=True)
    for name in ("deep/er/z.JPG", "found/overlay/a.jpg", "notes.txt", "x.dat"):
        (photos / name).write_bytes(b"")
    listed = find_images(["photos/x.dat", "photos", "photos/*.png", "photos/**/*"], photos / "found")
    assert [p.as_posix() for p in listed] == [
        f"photos/{n}" for n in ("x.dat", "a.png", "b.png", "c.png", "deep/er/z.JPG")
    ]
    with pytest.raises(ConfigError):
        find_images(["photos/*.txt"])


def test_images_of_one_name_get_names_of_their_own(tmp_path):
    paths = [tmp_path / name for name in ("x/a.png", "y/a.png", "y/A.jpg", "z/b\n.png")]
    names = name_images(paths, {})
    assert list(names.values()) == ["a", "y_a", "y_A_2", "b_n"]
    later = name_images([tmp_path / "w/a.png", *paths[::-1]], {paths[0]: "a", paths[1]: "y_a"})
    assert later[paths[0]] == "a" and later[paths[1]] == "y_a" and later[tmp_path / "w/a.png"] == "w_a"
    assert len({name.casefold() for name in later.values()}) == 5


def test_the_next_image_is_prepared_while_one_is_computed():
    here, threads, started = threading.get_ident(), set(), []

    def prepare(path):
        threads.add(threading.get_ident())
        started.append(path)
        if path == 2:
            raise ValueError("2")
        return 10 * path

    seen = []
    for path, item in prepared(range(50), prepare):
        assert len(started) <= path + 4, "a few, not all"
        seen.append("failed" if path == 2 else item())
        if path == 2:
            with pytest.raises(ValueError, match="2"):
                item()
    assert seen == [0, 10, "failed", *range(30, 500, 10)] and here not in threads


def test_the_device_reaches_the_model(photos, monkeypatch):
    """This machine may have but one, which would also be the default."""
    given = {}

    def spy(*_, **more):
        given.update(more)
        raise ConfigError("seen")

    monkeypatch.setattr(program, "Predictor", spy)
    with pytest.raises(SystemExit, match="seen"):
        run("photos", *WORDS, "--output", "found", "--device", "cuda:1")
    assert given["device"] == "cuda:1"


def test_a_bar_counts_the_images(photos, monkeypatch, capsys):
    monkeypatch.setattr(program, "show_bars", lambda: True)
    (photos / "bb.jpg").write_text("no image")
    assert run("photos", *WORDS, "--output", "found") == 1
    told = capsys.readouterr()
    last = told.err.replace("\n", "\r").split("\r")
    assert any("4/4" in line and "image" in line for line in last) and "4/4" not in told.out


def test_the_former_name_of_segment_still_works(monkeypatch, capsys):
    called = []
    monkeypatch.setattr("zsseg_d2.cli.segment.main", lambda words, prog: called.append(words))
    zsseg_d2_console.main(["predict", "--image", "a.png", "--phrase=car", "--output", "b.png"])
    assert called == [["--image", "a.png", "--phrase=car", "--output", "b.png"]]
    assert capsys.readouterr().err == "warning: phrases are segmented by: zsseg-d2 segment\n"


def test_the_command_for_photographs_is_a_config_that_works():
    words = DRAWN_STREETS[DRAWN_STREETS.index("--config-file") :].split(" (docs")[0].split()
    args = tool.parse_arguments(["a.jpg", "--output", "o", *words, "MODEL.DEVICE", "cpu"])
    cfg = setup_cfg(argparse.Namespace(config_file=args.config_file, opts=args.opts, eval_only=True))
    assert cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME == "convnext_large_d_320"
    assert f"{cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME} {cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS}" in DRAWN_STREETS
    assert cfg.MODEL.WEIGHTS == "weights/fcclip_cocopan.pth"
