"""What results of an earlier run are compared by: all that changes a prediction, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from tests.tiny import WORDS, random_image, tiny_config, tiny_dataset
from zsseg_d2 import Vocabulary
from zsseg_d2.class_sets import ClassSets
from zsseg_d2.engine.pseudo_labeling.labeling_config import settings_that_matter
from zsseg_d2.meta_arch import FCCLIP

TRAIN = [
    tiny_dataset("tiny_settings_train_two_things", deleted=(2, 3)),
    tiny_dataset("tiny_settings_train_stuff", deleted=(0, 1)),
]
IMAGE = {"image": random_image(64, 96, 3)}
OPTIONS = ("MODEL.MASK_FORMER.TEST.SEMANTIC_ON", True, "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", 0.1)
METHODS = (
    *("FCCLIP", "AnchoredFCCLIP", "CombinedFCCLIP", "DistilledFCCLIP", "FrozenQueriesFCCLIP", "LowRankFCCLIP"),
    *("MeanTeacherFCCLIP", "NaiveIntersection"),
)


def settings(cfg: CfgNode) -> dict:
    return settings_that_matter(cfg, ClassSets.from_config(cfg).evaluation())


def configs(*options) -> list[CfgNode]:
    """The same config with two training sets."""
    return [tiny_config(*OPTIONS, *options, train=train) for train in TRAIN]


def predicted(cfg: CfgNode) -> tuple:
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, FCCLIP):  # no query is void
                text = part.text_rows(part.classes.training.vocabulary)
                part.void_embedding.weight.copy_(-text[:-1].mean(0, keepdim=True))
                part.sem_seg_head.predictor.class_embed.layers[-1].bias.add_(10 * text[:-1].mean(0))
        found = model([IMAGE])[0]
    return found["sem_seg"].tolist(), found["panoptic_seg"][1]


@pytest.mark.parametrize("seen", ["pretraining", "training"])
@pytest.mark.parametrize("method", METHODS)
def test_another_training_set_counts_where_it_changes_predictions(method, seen):
    one, two = configs("MODEL.META_ARCHITECTURE", method, "ZSSEG.SEEN_CLASSES", seen)
    changed = predicted(one) != predicted(two)
    assert changed == (method in ("FrozenQueriesFCCLIP", "NaiveIntersection") or seen == "training")
    assert (settings(one) != settings(two)) == changed
    assert (settings_that_matter(one) != settings_that_matter(two)) == changed, "of any words"


def test_out_classes_count_for_the_naive_intersection_alone():
    for method in METHODS:
        one, two = (tiny_config("MODEL.META_ARCHITECTURE", method, train=TRAIN[0]) for _ in range(2))
        two.ZSSEG.OUT_CLASSES = ["none"]
        assert (settings(one) != settings(two)) == (method == "NaiveIntersection"), method


def test_by_default_the_keys_tell_all():
    """Results of a version that compared keys alone are still those of the config."""
    cfg = tiny_config("ZSSEG.PRETRAINING_VOCABULARY", "miniworld", train=TRAIN[0])
    assert all(key.startswith(("MODEL.", "ZSSEG.", "INPUT.")) for key in settings(cfg))


def test_the_orientation_of_images_counts_where_images_have_one():
    refuse, apply, ignore = (tiny_config("INPUT.EXIF_ORIENTATION", rule) for rule in ("refuse", "apply", "ignore"))
    assert settings(refuse) == settings(apply) != settings(ignore)


def test_the_words_of_a_list_count_and_not_its_name_alone(tmp_path: Path):
    words = tmp_path / "words.txt"
    cfg = tiny_config("ZSSEG.PRETRAINING_VOCABULARY", str(words))
    found = []
    for text in ("road\nsky\n", "road\ncar\n"):
        words.write_text(text)
        found.append((settings(cfg), settings_that_matter(cfg)))
    assert [s["seen"] for s, _ in found] == [
        [list(Vocabulary.from_strings(WORDS).classes[k]) for k in s] for s in ((0, 1), (0, 3))
    ]
    assert found[0][1] != found[1][1]


def test_which_of_any_words_are_things_follows_from_the_test_set():
    other = tiny_dataset("tiny_settings_test", words=WORDS[::-1])
    one, two = tiny_config(), tiny_config(test=other)
    assert settings_that_matter(one) != settings_that_matter(two)
