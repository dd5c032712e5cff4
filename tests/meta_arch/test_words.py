"""Classes that come with an item of the input, in place of those of a test set, in every method."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model

from tests.tiny import random_image, tiny_config, tiny_dataset
from zsseg_d2.class_sets import ClassSets, EvalClasses
from zsseg_d2.vocabulary import Vocabulary

TRAIN = tiny_dataset("tiny_train_words", deleted=(2, 3))
OTHER = ("lamp", "river, stream", "car, cars")


def test_classes_of_words():
    """Of road, sky, person and car, the last two are deleted in training; the pre-training vocabulary is COCO's."""
    classes = ClassSets.from_config(tiny_config(train=TRAIN))
    tested = classes.evaluation()
    assert tested.out == (2, 3) and tested.things == {2, 3}
    assert classes.for_words(tested.vocabulary, {2, 3}) is tested
    assert classes.for_words(tested.vocabulary, {3}).things == {3}
    found = classes.for_words(Vocabulary.from_strings(["Clouds", "car", "unicorn", "railroad, x"]), {1, 2})
    assert found.things == {1, 2} and found.seen == (True, True, False, True)
    assert found.out == (1, 2), "sky and road are In under any of their names; what is not In is Out"
    assert classes.of({"classes": found}) is found and classes.of({}) is tested
    with pytest.raises(ValueError, match="the same to CLIP"):
        long = "very " * 80
        classes.for_words(Vocabulary((((long + "red"),), ((long + "blue"),))), {})


def test_every_word_is_out_where_nothing_is_in():
    classes = ClassSets.from_config(
        tiny_config("ZSSEG.OUT_CLASSES", [], train=tiny_dataset("all_out", deleted=(0, 1, 2, 3)))
    )
    assert classes.evaluation().out == (0, 1, 2, 3)
    assert classes.for_words(Vocabulary.from_strings(["sky", "lamp"]), {1}).out == (0, 1)


METHODS = [
    ("FCCLIP",),
    ("NaiveIntersection",),
    ("CombinedFCCLIP", "ZSSEG.FUSION.PREDICTION", "one"),
    ("CombinedFCCLIP", "ZSSEG.FUSION.PREDICTION", "fused"),
]


@pytest.mark.parametrize("method", METHODS)
def test_words_give_what_a_test_set_of_these_words_gives(method):
    """The last two of three words are things."""
    architecture, *options = method
    test = tiny_dataset("tiny_other_words", OTHER)
    rule = ("MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", 0.0, "ZSSEG.VOID_RULE", False)

    def build(name):
        torch.manual_seed(0)
        cfg = tiny_config("MODEL.META_ARCHITECTURE", architecture, *rule, *options, train=TRAIN, test=name)
        return build_model(cfg).eval()

    item = {"image": random_image(64, 96, 3), "height": 128, "width": 192}
    model = build(None)
    parts = getattr(model, "model_two", model)
    classes = parts.classes.for_words(Vocabulary.from_strings(OTHER), {1, 2})
    (found,) = model([{**item, "classes": classes}])
    other = build(test)
    own = getattr(other, "model_two", other).classes
    own._evaluations[test] = EvalClasses(classes.vocabulary, classes.things, classes.seen, classes.out)
    (expected,) = other([{**item, "dataset_name": test}])
    assert torch.equal(found["panoptic_seg"][0], expected["panoptic_seg"][0])
    assert found["panoptic_seg"][1] == expected["panoptic_seg"][1]
    assert found["panoptic_seg"][1] and {s["category_id"] for s in found["panoptic_seg"][1]} <= {0, 1, 2}
    (usual,) = model([item])
    assert usual["panoptic_seg"][1] != found["panoptic_seg"][1]
