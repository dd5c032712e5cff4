"""Found words against classes: cases by hand, the definitions pixel by pixel, plain mIoU, and two processes."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.tiny_task import CLASSES, HEIGHT, WIDTH, register
from tests.two_processes import on_two_processes
from zsseg_d2.evaluation import PanopticQualityEvaluator
from zsseg_d2.evaluation.auto_vocabulary import (
    LEVELS,
    AutoVocabularyEvaluator,
    ClassFinder,
    auto_vocabulary_report,
    count_words,
    mapped_iou,
    read_mapping,
    word_quality,
)
from zsseg_d2.evaluation.auto_vocabulary.mappings import cosine_mapping, cosine_similarity
from zsseg_d2.evaluation.auto_vocabulary.relations import packaged_relations
from zsseg_d2.evaluation.auto_vocabulary.word_counts import WordCounts, pixels_by_word, soft_iou
from zsseg_d2.evaluation.completeness import EvaluationError
from zsseg_d2.evaluation.panoptic.mean_iou import class_iou, count_pixels
from zsseg_d2.reading import UnusableFile
from zsseg_d2.vocabulary import Vocabulary


def segments(number: int) -> list[dict]:
    return [{"id": k + 1, "category_id": k} for k in range(number)]


# --- which class a word means ---


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("car", ("car", "exact")),
        ("Cars", ("car", "exact")),
        ("automobile", ("car", "synonym")),
        ("bikes", ("bicycle", "synonym")),  # of the vocabulary
        ("street", ("road", "synonym")),  # of the relations
        ("people", ("person", "synonym")),
        ("men", ("person", "hyponym")),
        ("cyclist", ("rider", "synonym")),  # and not a person
        ("double decker", ("bus", "hyponym")),
        ("old brown fence", ("fence", "hyponym")),  # by its head
        ("headlights", ("car", "meronym")),
        ("wheel", ("car", "meronym")),  # of bicycles too, but cars come first
        ("fire hydrant", None),
        ("dog", None),
    ],
)
def test_words_of_cityscapes(word, expected):
    vocabulary = Vocabulary.load("cityscapes")
    found = ClassFinder(vocabulary.classes).find(word)
    assert (found and (vocabulary.names[found[0]], found[1])) == expected


def test_a_word_belongs_to_the_first_concept_that_the_dataset_has():
    assert ClassFinder([("bicycle",), ("car",)]).find("wheel") == (1, "meronym")
    assert ClassFinder([("bicycle",), ("dog",)]).find("wheel") is None
    assert ClassFinder([("vegetation",), ("tree",)]).find("tree") == (1, "exact")  # a kind of vegetation elsewhere
    assert ClassFinder([("vegetation",)]).find("tree") == (0, "hyponym")


def test_levels_include_those_before_them():
    finder = ClassFinder([("car",), ("person",)])
    words = ["car", "automobile", "taxi", "windshield", "moon"]
    sizes = [len(finder.mapping(words, level)) for level in LEVELS]
    assert sizes == [1, 2, 3, 4]
    for less, more in zip(LEVELS, LEVELS[1:]):
        assert finder.mapping(words, less).items() <= finder.mapping(words, more).items()


@pytest.mark.parametrize("name", ["cityscapes", "coco_panoptic", "ade20k_panoptic", "miniworld"])
def test_every_name_means_its_own_class(name):
    vocabulary = Vocabulary.load(name)
    finder = ClassFinder(vocabulary.classes)
    for k, of_class in enumerate(vocabulary.names):
        assert finder.find(of_class) == (k, "exact")


def test_relations_are_lower_case_and_not_twice_in_a_concept():
    relations = packaged_relations()
    assert relations.version >= 1 and len(relations.concepts) > 150
    for name, concept in relations.concepts.items():
        words = [w.strip() for text in (concept.synonyms, concept.kinds, concept.parts) for w in text.split(",") if w]
        assert all(words) and words == [word.lower() for word in words], name
        assert len(set(words)) == len(words) and name not in words, name


# --- mappings from elsewhere ---


def test_mapping_file(tmp_path):
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps({"made_by": "a person", "words": {"taxi": "Car", "wheel": None}}))
    assert read_mapping(path, [("road",), ("car", "cars")]) == {"taxi": 1, "wheel": None}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"made_by": "x", "words": {"taxi": "plane"}}, "mapping.json: 'taxi': There is no class 'plane'"),
        ({"words": {}}, "'made_by' is missing.*Fix: write"),
        ({"made_by": "x", "words": {"taxi": 3}}, "of the wrong type"),
        ({"made_by": "x", "words": {}, "more": 1}, "unknown field"),
        ([], "mapping.json"),
    ],
)
def test_unusable_mapping_files(tmp_path, content, expected):
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UnusableFile, match=expected):
        read_mapping(path, [("car",)])


def test_cosines():
    similarity = cosine_similarity(np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 0.0], [0.0, 5.0]]))
    assert similarity == pytest.approx(np.array([[1, 0], [math.sqrt(0.5), math.sqrt(0.5)]]))
    assert cosine_mapping(["a", "b"], similarity, 0.8) == {"a": 0}
    assert cosine_mapping(["a", "b"], similarity) == {"a": 0, "b": 0}


# --- scores ---


def test_scores_by_hand():
    # Two rows of eight: class 0 above; below class 1 (6 pixels) and void (2).
    ids = np.array([[1] * 8, [2] * 6 + [0] * 2])
    found = np.array([[0] * 6 + [1] * 2, [2] * 6 + [2] * 2])
    image = count_words(ids, segments(2), found, ["street", "ufo", "taxi"], 3)
    assert image.pixels.tolist() == [[6, 0, 0, 0], [2, 0, 0, 0], [0, 6, 0, 2], [0, 0, 0, 0]]
    mapping = {"street": 0, "taxi": 1}
    assert mapped_iou(pixels_by_word([image]), image.truth, mapping).tolist() == pytest.approx(
        [75, 100, math.nan], nan_ok=True
    )
    quality = word_quality([image], mapping)
    assert (quality.recall, quality.precision, quality.area) == pytest.approx((100, 200 / 3, 100))
    quality = word_quality([image], {"taxi": 2})  # a class that the image does not have
    assert (quality.recall, quality.precision, quality.area) == (0, 0, 0)
    assert word_quality([image], {"street": 0}, least_share=0.4).recall == 100  # class 1 has 6 of 16 pixels


def test_words_that_cover_void_do_not_count():
    image = count_words(np.array([[0, 0, 0, 1]]), segments(1), np.array([[0, 0, 1, 1]]), ["pole", "road"], 1)
    assert word_quality([image], {"road": 0}).precision == 100
    assert word_quality([image], {}).precision == 0


def test_no_words_at_all():
    ids = np.array([[1, 1], [2, 0]])
    image = count_words(ids, segments(2), np.full((2, 2), -1), [], 2)
    report = auto_vocabulary_report([image], [("road",), ("car",)], embed=lambda names: np.eye(len(names)))
    assert [report["mappings"][level]["mIoU"] for level in LEVELS] == [0, 0, 0, 0]
    assert report["mappings"]["exact"]["recall"] == 0 and math.isnan(report["mappings"]["exact"]["precision"])
    assert report["distinct_words"] == 0


@pytest.mark.parametrize(
    ("found", "words", "expected"),
    [
        (np.zeros((2, 3), int), ["a"], "pixels"),
        (np.ones((2, 2), int), ["a"], "values 1 to 1"),
        (np.zeros((2, 2), int), ["a", "a"], "same"),
    ],
)
def test_bad_results(found, words, expected):
    with pytest.raises(ValueError, match=expected):
        count_words(np.ones((2, 2), int), segments(1), found, words, 1)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_scores_pixel_by_pixel(seed):
    """The slow form: loops over pixels, images and classes."""
    rng = np.random.default_rng(seed)
    classes, words = 3, ["a", "b", "c", "d"]
    mapping = {word: int(rng.integers(classes)) for word in words if rng.random() < 0.7}
    similarity = {word: rng.uniform(-0.2, 1, classes) for word in words}
    images, pixels = [], []
    for _ in range(3):
        used = [word for word in words if rng.random() < 0.7]
        truth = rng.integers(-1, classes, (4, 5))
        found = rng.integers(-1, len(used), (4, 5))
        images.append(count_words(truth + 1, segments(classes), found, used, classes))
        pixels.append([(int(t), used[w] if w >= 0 else None) for t, w in zip(truth.flat, found.flat)])
    total = np.sum([image.truth for image in images], 0)
    iou = mapped_iou(pixels_by_word(images), total, mapping)
    names = sorted(pixels_by_word(images))
    soft = soft_iou(pixels_by_word(images), total, names, np.array([similarity[n] for n in names]).reshape(-1, classes))
    known = [(t, w) for image in pixels for t, w in image if t >= 0]
    for k in range(classes):
        pairs = [(t == k, w is not None and mapping.get(w) == k) for t, w in known]
        union = sum(a or b for a, b in pairs)
        assert iou[k] == pytest.approx(100 * sum(a and b for a, b in pairs) / union if union else math.nan, nan_ok=True)
        degrees = [(float(t == k), max(0.0, similarity[w][k]) if w is not None else 0.0) for t, w in known]
        most = sum(max(pair) for pair in degrees)
        expected = 100 * sum(min(pair) for pair in degrees) / most if most else math.nan
        assert soft[k] == pytest.approx(expected, nan_ok=True)
    hits = wanted = right = counted = covered = annotated = 0
    for image, of_image in zip(images, pixels):
        named = {mapping[word] for word in image.words if word in mapping}
        for k in range(classes):
            if sum(t == k for t, _ in of_image) >= 0.2 * len(of_image):
                wanted, hits = wanted + 1, hits + (k in named)
        for word in image.words:
            own = [t for t, w in of_image if w == word]
            if sum(t < 0 for t in own) <= len(own) / 2:
                counted += 1
                right += word in mapping and any(t == mapping[word] for t, _ in of_image)
        annotated += sum(t >= 0 for t, _ in of_image)
        covered += sum(t in named for t, _ in of_image)
    quality = word_quality(images, mapping, least_share=0.2)
    for value, part, whole in (
        (quality.recall, hits, wanted),
        (quality.precision, right, counted),
        (quality.area, covered, annotated),
    ):
        assert value == pytest.approx(100 * part / whole if whole else math.nan, nan_ok=True)


def test_words_without_pixels_count():
    """A word that won no pixel was found all the same."""
    image = WordCounts(("car", "moon"), np.array([[4, 0], [0, 0], [0, 0]]))
    assert word_quality([image], {"car": 0}).precision == 50


# --- the evaluator ---


def outputs(seed: int, words: list[str]) -> dict:
    rng = np.random.default_rng(seed)
    maps = rng.random((len(words), HEIGHT, WIDTH), dtype=np.float32)
    labels = torch.from_numpy(maps.argmax(0)) if words else torch.full((HEIGHT, WIDTH), -1)
    given = torch.from_numpy(rng.integers(0, len(CLASSES), (HEIGHT, WIDTH)))
    result = {"words": words, "semantic_labels": labels, "given_labels": given}
    return {**result, "sem_seg": torch.from_numpy(maps)}


def items(count: int) -> list[dict]:
    return [{"image_id": f"image_{i}"} for i in range(count)]


def test_the_given_names_give_plain_miou(tmp_path):
    """Words = names: every level is plain mIoU, to the last bit, and so is the upper bound."""
    name = register("auto_identity", tmp_path / "data")
    evaluator = AutoVocabularyEvaluator(name, str(tmp_path))
    plain = PanopticQualityEvaluator(name, beside=["mIoU"])
    for i, item in enumerate(items(5)):
        output = outputs(i, list(CLASSES))
        output["given_labels"] = output["semantic_labels"]
        output["words"] = [SimpleNamespace(name=word) for word in output["words"]]
        empty = (torch.zeros(HEIGHT, WIDTH, dtype=torch.long), [])
        evaluator.process([item], [output])
        plain.process([item], [{**output, "panoptic_seg": empty}])
    found, expected = evaluator.evaluate()["auto_vocabulary"], plain.evaluate()["panoptic_seg"]["mIoU"]
    assert 0 < expected < 100
    assert {found[f"mIoU_{level}"] for level in LEVELS} == {expected}
    assert found["mIoU_given"] == expected and found["ratio_exact"] == 100 and found["jaccard_hard"] == expected
    written = json.loads((tmp_path / "inference" / name / "auto_vocabulary.json").read_text())
    assert written["mappings"]["exact"]["mIoU"] == expected and written["words"]["car"]["meaning"]["level"] == "exact"


def test_evaluator_against_hand_made_maps(tmp_path, caplog):
    """Words of each level, a file, and embeddings; images have different words."""
    name = register("auto_levels", tmp_path / "data", count=2)
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps({"made_by": "hand", "words": {"heaven": "road", "taxi": None}}))
    known = {"road": [1, 0, 0], "sky": [0, 1, 0], "person": [0, 0, 1], "car": [0.5, 0.5, 0.5], "heaven": [0, 1, 0.1]}
    evaluator = AutoVocabularyEvaluator(
        name, mapping_file=str(path), embed=lambda texts: np.array([known.get(t, [1, 1, 0]) for t in texts])
    )
    for i, (item, words) in enumerate(zip(items(2), (["heaven", "street"], ["heaven", "taxi", "roads"]))):
        maps = torch.zeros(len(words), HEIGHT, WIDTH)
        maps[0, : HEIGHT // 2], maps[-1, HEIGHT // 2 :] = 1, 1
        if i:
            maps[1, 10:16, 5:13] = 2
        evaluator.process([item, item], [{"words": words, "semantic_labels": maps.argmax(0)}] * 2)  # counted once
    caplog.set_level("INFO")
    scores = evaluator.evaluate()["auto_vocabulary"]
    # sky and road are 12 x 38 each, less 2 x 8 and 4 x 8 of the car in each image; the car has 6 x 8.
    sky, road, car = 2 * (12 * 38 - 16), 2 * (12 * 38 - 32), 2 * 48
    # image 0: words "heaven" above and "street" below, so that the car's rows 10, 11 are heaven, the others street
    assert scores["mIoU_hyponym"] == pytest.approx(
        100 / 3 * (sky / (sky + 16) + road / (road + 32) + 48 / car), abs=1e-9
    )
    assert scores["mIoU_exact"] == pytest.approx(100 / 3 * (road / 2) / (road), abs=1e-9)  # "roads" of image 1
    assert scores["recall_hyponym"] == pytest.approx(100 * 5 / 6) and scores["recall_synonym"] == pytest.approx(400 / 6)
    assert scores["precision_hyponym"] == 100 and scores["precision_synonym"] == 80
    assert scores["mIoU_cosine"] > 0 and math.isnan(scores["mIoU_given"]) and math.isnan(scores["ratio_hyponym"])
    assert scores["distinct_words"] == 4 and scores["words_per_image"] == 2.5
    assert "roads, street" in caplog.text and "AutoSeg" in caplog.text and "30.0" in caplog.text


def test_evaluator_errors(tmp_path):
    name = register("auto_errors", tmp_path, count=1)
    evaluator = AutoVocabularyEvaluator(name)
    with pytest.raises(EvaluationError, match="'image_0'.*no 'words'"):
        evaluator.process(items(1), [{}])
    with pytest.raises(EvaluationError, match="'image_0'.*values 2 to 2, but 2 words"):
        evaluator.process(items(1), [{"words": ["a", "b"], "semantic_labels": torch.full((HEIGHT, WIDTH), 2)}])
    with pytest.raises(EvaluationError, match="No image"):
        evaluator.evaluate()
    with pytest.raises(EvaluationError, match="4 classes, but 1"):
        AutoVocabularyEvaluator(name, classes=[("road",)])


def test_two_processes(tmp_path):
    """The same scores to the last bit, though one image is seen by both."""
    name = register("auto_two", tmp_path / "data")
    words = [["road", "taxi"], ["sky"], ["people", "heaven", "road"], [], ["car", "ufo"]]

    def score(chosen) -> dict | None:
        evaluator = AutoVocabularyEvaluator(name)
        for i in chosen:
            evaluator.process([items(5)[i]], [outputs(i, words[i])])
        return evaluator.evaluate()

    alone = score(range(5))["auto_vocabulary"]

    def worker(rank: int) -> dict[str, torch.Tensor]:
        found = score(((3, 1, 0), (2, 4, 0))[rank])
        return {k: torch.tensor(v, dtype=torch.float64) for k, v in (found or {}).get("auto_vocabulary", {}).items()}

    (tmp_path / "work").mkdir()
    first, second = on_two_processes(worker, tmp_path / "work")
    assert second == {}
    assert {k: float(v) for k, v in first.items()} == pytest.approx(alone, abs=0, rel=0, nan_ok=True)


def test_counts_of_given_names_sum(tmp_path):
    """The upper bound is plain mIoU of the other map."""
    rng = np.random.default_rng(0)
    images, counts = [], None
    for _ in range(2):
        ids, given_map = rng.integers(0, 3, (5, 5)), rng.integers(0, 2, (5, 5))
        of_image = count_pixels(ids, segments(2), given_map, 2)
        counts = of_image if counts is None else counts + of_image
        images.append(count_words(ids, segments(2), np.full((5, 5), -1), [], 2, of_image))
    report = auto_vocabulary_report(images, [("road",), ("car",)])
    assert report["given"] == np.nanmean(class_iou(counts))
    assert report["mappings"]["exact"]["ratio"] == 0
