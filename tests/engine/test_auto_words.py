"""``--words auto`` and ``Predictor(words="auto")``: words of each image, added and left out, traced, resumed."""

from __future__ import annotations

import gc
import json
import socket
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from tests.auto_vocabulary.fake import BLUE, GRAY, GREEN, RED, ColorCaptioner, stripes
from tests.contents import content, snapshot
from zsseg_d2.auto_vocabulary.registry import CAPTIONER_REGISTRY
from zsseg_d2.class_sets import ClassSets
from zsseg_d2.cli import predict as tool
from zsseg_d2.data import read_panoptic_png
from zsseg_d2.engine import ConfigError
from zsseg_d2.engine.prediction.auto_words import FoundCategories, parse_auto
from zsseg_d2.engine.prediction.predictor import Predictor
from zsseg_d2.modeling.clip import text_classifier
from zsseg_d2.vocabulary import Vocabulary

A = "MODEL.AUTO_VOCABULARY."
QUICK = (
    *("MODEL.DEVICE", "cpu", "ZSSEG.TEXT_CACHE", "", A + "CAPTIONER", "colors", A + "CAPTIONER_WEIGHTS", "none"),
    *(A + "SIZES", "[64]", A + "CLUSTERS", "[3]", A + "POSITION_WEIGHT", "0.0", A + "PASSES", "2"),
    *("INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "256"),
)


def array(*colors):
    return stripes(*colors).permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def predictor():
    return Predictor(words="auto", options=QUICK, semantic=True)


def names(found):
    return [word.name for word in found.found.words]


# What the user types


@pytest.mark.parametrize(
    "words", ["road, sky", ["road", "auto"], "automobile", None, Vocabulary((("auto",),)), "auto|car"]
)
def test_other_words_are_no_request(words):
    assert parse_auto(words) is None


@pytest.mark.parametrize(
    ("words", "added", "things", "left_out"),
    [
        ("auto", None, None, ()),
        (" AUTO ,", None, None, ()),
        (["auto"], None, None, ()),
        ("auto, traffic cone|cone, -shadow, - sky ", (("traffic cone", "cone"),), {0}, ("shadow", "sky")),
        (["auto", ("cone", "pylon"), "-sky"], (("cone", "pylon"),), {0}, ("sky",)),
        ("auto, road (thing), cat (stuff)", (("road",), ("cat",)), {0}, ()),
    ],
)
def test_requests(words, added, things, left_out):
    found = parse_auto(words)
    assert found is not None and found.left_out == left_out
    assert (found.added and found.added.vocabulary.classes) == added
    assert (set(found.added.things) if found.added else None) == things


@pytest.mark.parametrize(
    ("words", "problem"),
    [("auto, -", "names no word"), ("auto, sky, -Sky", "'sky' is added and left out"), ("auto, car, car", "twice")],
)
def test_contradictions(words, problem):
    with pytest.raises(ConfigError, match=problem):
        parse_auto(words)


# The predictor


def test_each_image_has_its_own_words(predictor):
    one = predictor(array(RED, GREEN, BLUE))
    other = predictor(array(RED, RED, GRAY))
    assert names(one) == ["car", "sky", "tree", "road"] and names(other) == ["car", "road"]
    assert [c.name for c in one.categories] == names(one) and [c.name for c in other.categories] == names(other)
    assert {c.name: c.id for c in other.categories}.items() <= {c.name: c.id for c in one.categories}.items()
    assert [c.isthing for c in one.categories] == [True, False, False, False]
    for found in (one, other):
        assert {s.label for s in found.segments} <= set(names(found))
        assert found.semantic.min() >= 0 and found.semantic.max() < len(names(found))
    assert set(predictor.words) == set(names(one))
    with pytest.raises(ConfigError, match="each image has its own words"):
        _ = predictor.vocabulary


def test_the_map_is_that_of_the_same_words_given(predictor):
    image = array(RED, GREEN, BLUE)
    found = predictor(image)
    given = Predictor(words=[w.synonyms for w in found.found.words], options=QUICK, semantic=True)
    expected = given(image)
    assert np.array_equal(found.panoptic, expected.panoptic) and np.array_equal(found.semantic, expected.semantic)
    assert [(s.label, s.score) for s in found.segments] == [(s.label, s.score) for s in expected.segments]
    assert expected.found is None


def test_words_do_not_depend_on_other_images(predictor):
    first = predictor(array(RED, BLUE, GREEN))
    items = [predictor.prepare(array(*colors)) for colors in ((GRAY, GRAY, RED), (RED, BLUE, GREEN), (GRAY,) * 3)]
    batch = predictor.predict_batch(items)
    assert batch[1].found.words == first.found.words
    assert np.array_equal(batch[1].panoptic, first.panoptic)
    assert names(batch[0]) == ["car", "road"] and names(batch[2]) == []


def test_no_word_is_a_defined_result(predictor, tmp_path):
    found = predictor(array(GRAY, GRAY))
    assert found.found.words == () and found.segments == () and found.categories == ()
    assert not found.panoptic.any() and (found.semantic == -1).all()
    found.save(tmp_path)
    assert not np.array(Image.open(tmp_path / "semantic" / "image.png")).any()
    assert json.loads((tmp_path / "image.json").read_text())["annotations"][0]["segments_info"] == []
    assert found.overlay().size[0] >= 96


def test_words_are_added_and_left_out(predictor):
    other = predictor.with_words("auto, cone (stuff), road (thing), -trees")
    found = other(array(RED, GREEN, BLUE))
    assert names(found) == ["cone", "road", "car", "sky"]
    assert [c.isthing for c in found.categories] == [False, True, True, False]
    alone = predictor.with_words("auto, cone")(array(GRAY, GRAY))
    assert names(alone) == ["cone"] and alone.found.words[0].origins == ()
    assert names(predictor(array(RED, GREEN, BLUE))) == ["car", "sky", "tree", "road"], "the first is unchanged"


def test_kinds_of_the_test_set_come_first():
    sets = ClassSets(num_classes=0, pretraining_vocabulary="miniworld")
    found = sets.for_found(Vocabulary((("tent",), ("mystery",))), {1})
    assert found.things == {0, 1}, "without a test set all of its classes are things"


def test_clusters_are_drawn(predictor):
    found = predictor(array(RED, GREEN, BLUE))
    drawn = np.array(found.clusters_overlay())
    assert drawn.shape[0] > 64 and len(np.unique(drawn[:64, :144].reshape(-1, 3), axis=0)) > 3
    with pytest.raises(ValueError, match="were given"):
        predictor.with_words("road")(array(RED)).clusters_overlay()


def test_the_meta_architecture_finds_words_unless_others_are_given():
    options = (*QUICK, "MODEL.META_ARCHITECTURE", "AutoVocabularyFCCLIP")
    own = Predictor(options=options)
    assert names(own(array(RED, GREEN, BLUE))) == ["car", "sky", "tree", "road"]
    own.words = "road, sky"
    assert own(array(RED)).found is None and own.words == ("road", "sky")


# The program


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name, colors in {"a": (RED, GREEN, BLUE), "b": (GRAY, RED, RED), "c": (GRAY,) * 3}.items():
        Image.fromarray(array(*colors)).save(tmp_path / "photos" / f"{name}.png")
    return tmp_path / "photos"


def run(*words):
    return tool.main([*map(str, words), *QUICK])


def test_an_image_and_the_origin_of_its_words(photos, capsys, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert run("photos/a.png", "--words", "auto", "--output", "found", "--clusters") == 0
    printed = capsys.readouterr().out
    assert "score  share   word <- cluster: caption" in printed
    assert "car <- 3: 'a photo of a car'" in printed and "tree <- " in printed
    assert (photos.parent / "found" / "clusters" / "a.png").is_file()
    (image,) = content(photos.parent / "found" / "words.json")["images"]
    car = next(word for word in image["words"] if word["name"] == "car")
    assert car["origins"][0]["caption"] == "a photo of a car" and car["thing"] is True
    assert car["share"] == pytest.approx(1 / 3) and 0 < car["score"] <= 1


def test_a_folder_of_images_has_one_list_of_categories(photos, capsys):
    assert run("photos", "--words", "auto", "--output", "found", "--semantic", "--csv") == 0
    assert "c: no caption names anything" in capsys.readouterr().out
    folder = photos.parent / "found"
    written = content(folder / "panoptic.json")
    assert [c["name"] for c in written["categories"]] == ["car", "road", "sky", "tree"]
    words = {image["id"]: [w["name"] for w in image["words"]] for image in content(folder / "words.json")["images"]}
    assert words == {"a": ["car", "sky", "tree", "road"], "b": ["car", "road"], "c": []}
    for annotation in written["annotations"]:
        known = {c["id"] for c in written["categories"] if c["name"] in words[annotation["image_id"]]}
        assert {s["category_id"] for s in annotation["segments_info"]} <= known
        ids = read_panoptic_png(folder / "panoptic" / annotation["file_name"])
        assert set(np.unique(ids)) - {0} == {s["id"] for s in annotation["segments_info"]}
    semantic = np.array(Image.open(folder / "semantic" / "b.png"))
    by_name = {c["name"]: c["id"] for c in written["categories"]}
    assert set(np.unique(semantic)) <= {by_name["car"], by_name["road"]}


def test_an_interrupted_run_keeps_its_categories(photos, capsys):
    assert run("photos/b.png", "--words", "auto", "--output", "found") == 0
    first = content(photos.parent / "found" / "panoptic.json")["categories"]
    assert run("photos", "--words", "auto", "--output", "found") == 0
    assert "1 of 3 files are finished already" in capsys.readouterr().err
    both = content(photos.parent / "found" / "panoptic.json")
    assert all(category in both["categories"] for category in first) and len(first) == 2
    assert [a["image_id"] for a in both["annotations"]] == ["a", "b", "c"]
    assert [c["name"] for c in both["categories"]] == ["car", "road", "sky", "tree"]
    assert sorted(c["id"] for c in both["categories"]) == [1, 2, 3, 4]


def by_name(document):
    """What a COCO panoptic file says with names in place of ids, and its order of everything."""
    names = {c["id"]: (c["name"], c["isthing"], c["color"]) for c in document["categories"]}
    segments = [
        [a["image_id"], *({**s, "category_id": names[s["category_id"]]} for s in a["segments_info"])]
        for a in document["annotations"]
    ]
    return document["images"], segments, list(names.values())


def test_another_order_of_the_images_changes_ids_of_a_folder_alone(photos, capsys):
    """Names, colors, scores, pictures and the order of everything are the same; ids count in the order of finding."""
    ahead, back = [f"photos/{name}.png" for name in "abc"], [f"photos/{name}.png" for name in "cba"]
    assert run(*ahead, "--words", "auto", "--output", "one", "--semantic", "--csv") == 0
    assert run("photos/b.png", "--words", "auto", "--output", "two", "--semantic", "--csv") == 0
    assert run(*back, "--words", "auto", "--output", "two", "--semantic", "--csv") == 0
    one, two = photos.parent / "one", photos.parent / "two"
    written = [content(folder / "panoptic.json") for folder in (one, two)]
    assert by_name(written[0]) == by_name(written[1])
    assert [c["id"] for c in written[0]["categories"]] != [c["id"] for c in written[1]["categories"]]
    assert (one / "segments.csv").read_bytes() == (two / "segments.csv").read_bytes()
    for kind in ("overlay", "panoptic"):
        assert snapshot(one / kind) == snapshot(two / kind) and len(snapshot(one / kind)) == 3
    for name in "abc":
        maps = [np.array(Image.open(folder / "semantic" / f"{name}.png")) for folder in (one, two)]
        named = [np.vectorize(ids.get)(pixels) for ids, pixels in zip(map(ids_of, written), maps)]
        assert np.array_equal(*named)


def ids_of(document):
    return {0: "", **{c["id"]: c["name"] for c in document["categories"]}}


def test_another_order_of_the_images_changes_no_json(photos, capsys):
    for number, order in enumerate(("abc", "cba")):
        files = [f"photos/{name}.png" for name in order]
        assert run(*files, "--words", "auto", "--json", f"{number}.json") == 0
    ahead, back = (content(photos.parent / f"{k}.json") for k in (0, 1))
    assert [c["id"] for c in ahead["categories"]] == [1, 2, 3, 4] and ahead["categories"] == back["categories"]
    assert ahead["annotations"] == back["annotations"][::-1] and ahead["images"] == back["images"][::-1]


def test_clusters_that_are_asked_for_later_are_drawn(photos):
    assert run("photos/b.png", "--words", "auto", "--output", "found") == 0
    assert not (photos.parent / "found" / "clusters").exists()
    assert run("photos/b.png", "--words", "auto", "--output", "found", "--clusters") == 0
    assert (photos.parent / "found" / "clusters" / "b.png").is_file()


@pytest.mark.parametrize(
    ("words", "more"), [("auto, cone", ()), ("auto, -sky", ()), ("road", ()), ("auto", (A + "PASSES", "3"))]
)
def test_other_settings_are_another_run(photos, words, more):
    assert run("photos/b.png", "--words", "auto", "--output", "found") == 0
    with pytest.raises(SystemExit, match="holds predictions with other settings"):
        tool.main(["photos/b.png", "--words", words, "--output", "found", *QUICK, *more])
    if not more:
        assert run("photos/b.png", "--words", words, "--output", "found", "--overwrite") == 0
        assert (photos.parent / "found" / "words.json").exists() == words.startswith("auto")


def test_damaged_ids_are_one_line(photos):
    assert run("photos/b.png", "--words", "auto", "--output", "found") == 0
    journal = photos.parent / "found" / ".predictions.jsonl"
    journal.write_text(journal.read_text().replace('"category_id":2,"name"', '"category_id":7,"name"'))
    with pytest.raises(SystemExit, match=r"error: found: the ids of the words are damaged.*Fix: give --overwrite"):
        run("photos/b.png", "--words", "auto", "--output", "found")


def test_a_json_without_a_folder(photos, capsys):
    assert run("photos/a.png", "photos/b.png", "--words", "auto", "--json", "out.json") == 0
    written = content(photos.parent / "out.json")
    assert [c["name"] for c in written["categories"]] == ["car", "road", "sky", "tree"]
    assert "b: car, road" in capsys.readouterr().out


def test_clusters_of_given_words_are_refused(photos):
    with pytest.raises(SystemExit, match="--clusters: the words are given"):
        run("photos/a.png", "--words", "road", "--output", "found", "--clusters")


def test_missing_weights_of_a_captioner_are_one_line(photos):
    with pytest.raises(SystemExit, match="CAPTIONER_WEIGHTS=.*Fix: download .*blip-image-captioning"):
        tool.main(
            [
                "photos/a.png",
                "--words",
                "auto",
                "--output",
                "f",
                *QUICK,
                A + "CAPTIONER",
                "blip",
                A + "CAPTIONER_WEIGHTS",
                "x",
            ]
        )


def test_categories_have_one_id_a_name_and_kind():
    found = FoundCategories()
    first = found.of([("road", False), ("car", True)])
    again = found.of([("car", True), ("road", True)])
    assert [c.id for c in first] == [1, 2] and [c.id for c in again] == [2, 3]
    assert len({c.color for c in found.all}) == 3
    other = FoundCategories()
    other.remember([(2, "car", True), (1, "road", False), (2, "car", True)])
    assert other.all == tuple(c for c in found.all if c.id < 3)
    assert [(c.name, c.isthing) for c in found.all] == [("car", True), ("road", False), ("road", True)]
    back = FoundCategories()
    back.of([("road", True), ("road", False)])
    back.of([("car", True)])
    assert [replace(c, id=0) for c in back.all] == [replace(c, id=0) for c in found.all]


# A thousand vocabularies


class Counting(ColorCaptioner):
    """Names a new animal at each call."""

    number = 0

    def caption(self, cells, seeds):
        Counting.number += 1
        letters = "".join(chr(97 + int(digit)) for digit in f"{Counting.number:04d}")
        return [f"a photo of a zz{letters}x" for _ in seeds]


if "counting" not in CAPTIONER_REGISTRY:
    CAPTIONER_REGISTRY.register_as("counting")(Counting)


def test_memory_and_cache_stay_flat_over_1000_vocabularies(tmp_path, monkeypatch):
    """Rows in memory, buffers and files are bounded; the text tower is a stand-in, so that this takes seconds."""
    monkeypatch.setattr(text_classifier, "NAMES", 64)
    monkeypatch.setattr(text_classifier, "compute_text_row", lambda embed, name: row(name))
    monkeypatch.setattr("zsseg_d2.text_cache.ENTRIES", 64)
    found = Predictor(
        words="auto",
        options=(
            *QUICK,
            A + "CAPTIONER",
            "counting",
            A + "CLUSTERS",
            "[1]",
            "ZSSEG.TEXT_CACHE",
            str(tmp_path / "rows"),
            "INPUT.MIN_SIZE_TEST",
            "32",
        ),
    )
    store = found.model.text_classifier.store
    store.entries = 64
    image, seen, sizes = found.prepare(array(RED)), set(), []
    for count in range(1000):
        (word,) = found.predict(image).found.words
        seen.add(word.name)
        if count in (300, 999):
            gc.collect()
            classifier = found.model.text_classifier
            kept = len(classifier._names), len(list(classifier.buffers())), len(list(store.folder.iterdir()))
            sizes.append((kept, psutil.Process().memory_info().rss))
    assert len(seen) == 1000
    (early, early_bytes), (late, late_bytes) = sizes
    assert early[:2] == late[:2] == (64, text_classifier.VOCABULARIES) and max(early[2], late[2]) <= 64
    assert late_bytes - early_bytes < 60 * 2**20


def row(name):
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    return torch.nn.functional.normalize(torch.randn(1, 128, generator=generator), dim=-1)
