"""The meta-architecture that finds words: results, an upper bound with the given names, and its config."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from tests.auto_vocabulary.fake import BLUE, GRAY, GREEN, RED, stripes
from tests.tiny import tiny_config, tiny_dataset
from zsseg_d2 import add_zsseg_config
from zsseg_d2.auto_vocabulary.settings import check_auto_vocabulary
from zsseg_d2.engine.config.packaged import config_root

A = "MODEL.AUTO_VOCABULARY."
TRAIN = tiny_dataset("tiny_train_auto")
OPTIONS = (
    *("MODEL.META_ARCHITECTURE", "AutoVocabularyFCCLIP", A + "CAPTIONER", "colors", A + "SIZES", [64]),
    *(A + "CLUSTERS", [3], A + "POSITION_WEIGHT", 0.0, A + "PASSES", 2),
    *("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", True, "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", False),
)


def build(*options):
    torch.manual_seed(0)
    return build_model(tiny_config(*OPTIONS, *options, train=TRAIN)).eval()


@pytest.fixture(scope="module")
def model():
    return build()


def item(*colors, **more):
    return {"image": stripes(*colors), "height": 128, "width": 96 * len(colors), **more}


@torch.no_grad()
def test_results_hold_the_words_and_maps_in_their_order(model):
    (result,) = model([item(RED, GREEN, BLUE)])
    words = [word.name for word in result["words"]]
    assert sorted(words) == ["car", "road", "sky", "tree"]
    assert result["semantic_labels"].shape == result["given_labels"].shape == (128, 288)
    assert result["semantic_labels"].min() >= 0 and result["semantic_labels"].max() < len(words)
    ids, segments = result["panoptic_seg"]
    assert ids.shape == (128, 288) and all(0 <= s["category_id"] < len(words) for s in segments)


@torch.no_grad()
def test_maps_are_those_of_fcclip_with_the_same_words(model):
    (found,) = model([item(RED, GREEN, BLUE)])
    vocabulary = model.classes.for_words(
        type(model.classes.evaluation().vocabulary)(tuple(word.synonyms for word in found["words"])),
        {k for k, word in enumerate(found["words"]) if word.thing},
    )
    (given,) = model([item(RED, GREEN, BLUE, classes=vocabulary, semantic_labels=True)])
    assert torch.equal(found["semantic_labels"], given["semantic_labels"])
    assert torch.equal(found["panoptic_seg"][0], given["panoptic_seg"][0])
    assert "words" not in given and "given_labels" not in given


@torch.no_grad()
def test_the_upper_bound_is_fcclip_with_the_names_of_the_test_set(model):
    (found,) = model([item(RED, GREEN, BLUE)])
    (given,) = model([item(RED, GREEN, BLUE, classes=model.classes.evaluation(), semantic_labels=True)])
    assert torch.equal(found["given_labels"], given["semantic_labels"])
    assert "given_labels" not in build(A + "GIVEN_NAMES", False)([item(RED, GREEN, BLUE)])[0]


@torch.no_grad()
def test_an_image_without_words_has_no_segment(model):
    (result,) = model([item(GRAY, GRAY)])
    assert result["words"] == () and result["panoptic_seg"][1] == []
    assert not result["panoptic_seg"][0].any() and (result["semantic_labels"] == -1).all()
    assert result["semantic_labels"].shape == result["given_labels"].shape == (128, 192)


@torch.no_grad()
def test_a_result_does_not_depend_on_the_batch(model):
    alone = [model([item(*colors)])[0] for colors in ((RED, GREEN), (GRAY, GRAY), (BLUE, RED))]
    together = model([item(RED, GREEN), item(GRAY, GRAY), item(BLUE, RED)])
    for one, other in zip(alone, together):
        assert one["words"] == other["words"]
        assert (one["semantic_labels"] == other["semantic_labels"]).float().mean() > 0.999


def test_the_captioner_is_no_part_of_a_checkpoint(model):
    plain = build_model(tiny_config(train=TRAIN))
    assert set(model.state_dict()) == set(plain.state_dict())


def test_there_is_nothing_to_train(model):
    with pytest.raises(RuntimeError, match="nothing to train"):
        model.losses([])


def test_word_lists_arrive(tmp_path):
    path = tmp_path / "lists.yaml"
    path.write_text("version: 7\nstop: [car]\n")
    (result,) = build(A + "WORD_LISTS", str(path))([item(RED, GREEN, BLUE)])
    assert "car" not in [word.name for word in result["words"]]
    assert build(A + "WORD_LISTS", str(path)).finder.lists.version == 7


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("POSITION_WIDTH", 30, "multiple of 4"),
        ("CRF_TAPS", 4, "odd"),
        ("MIN_TOKENS", 30, "must not be above"),
        ("WORD_LISTS", "/none.yaml", "there is no such file"),
    ],
)
def test_contradictions_name_the_key(key, value, problem):
    with pytest.raises(ValueError, match=problem) as error:
        check_auto_vocabulary(tiny_config(*OPTIONS, A + key, value, train=TRAIN))
    assert f"{A}{key}" in str(error.value)


PAPER = {
    # what the paper says
    "SIZES": [384, 512],
    "CLUSTERS": [2, 3, 4, 5, 6, 7, 8],
    "POSITION_WIDTH": 256,
    "MAJORITY_ROUNDS": 8,
    # where it is silent, its published code
    "SQUARE": True,
    "POSITION_WEIGHT": 1.0,
    "KMEANS_RESTARTS": 8,
    "KMEANS_ITERATIONS": 100,
    "KMEANS_TOLERANCE": 1e-4,
    "VOTE_FLOOR": 1e-6,
    "CRF_TAPS": 11,
    "CRF_ITERATIONS": 5,
    "CRF_WEIGHT": 6.0,
    "CRF_THETA": 0.8,
    "PASSES": 5,
    "MIN_TOKENS": 4,
    "MAX_TOKENS": 25,
    "MIN_LETTERS": 3,
    "MIN_SHARE": 0.0,
}
"""AutoSeg (arXiv 2312.04539) and its code."""


@pytest.mark.parametrize("size", ["base", "large"])
def test_the_constants_of_blip_are_autosegs(size):
    """By default, and also after another captioner's file."""
    files: tuple[tuple[str, ...], ...] = ((), ("blip",), ("mini", "blip"))
    for captioners in files:
        cfg = get_cfg()
        add_zsseg_config(cfg)
        for name in captioners:
            file = f"blip_{size}" if name == "blip" else name
            cfg.merge_from_file(str(config_root() / "captioners" / f"{file}.yaml"))
        node = cfg.MODEL.AUTO_VOCABULARY
        assert {key: node[key] for key in PAPER} == PAPER, captioners
        assert node.CAPTIONER == "blip"
        assert not captioners or node.CAPTIONER_WEIGHTS.endswith(f"blip-image-captioning-{size}")
