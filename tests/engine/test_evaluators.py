"""Evaluators are chosen by the type of the dataset, and an outside one can be added."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from zsseg_d2.engine import EVALUATOR_REGISTRY, Trainer, build_evaluator
from zsseg_d2.engine.config.validation import validate
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.engine.evaluators import _text_rows
from zsseg_d2.modeling.clip.backbone import CLIP
from zsseg_d2.modeling.clip.text_classifier import TextClassifier
from zsseg_d2.vocabulary import Vocabulary


class CountImages(DatasetEvaluator):
    def reset(self):
        self.count = 0

    def process(self, inputs, outputs):
        self.count += len(inputs)

    def evaluate(self):
        return {"images": {"count": self.count}}


@pytest.fixture
def counted(make_config, monkeypatch):
    """A config whose test set has an evaluator of its own."""
    monkeypatch.setitem(EVALUATOR_REGISTRY._obj_map, "count_images", lambda cfg, name: [CountImages()])
    metadata = MetadataCatalog.get("tiny_engine_val")
    before = metadata.get("evaluator_type")
    metadata.__dict__["evaluator_type"] = "count_images"
    yield make_config("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", False)
    metadata.__dict__["evaluator_type"] = before


def names(evaluator):
    return [type(each).__name__ for each in evaluator._evaluators]


def test_an_outside_evaluator_scores_a_test_set(counted):
    validate(counted, eval_only=True)  # panoptic maps are not needed
    assert names(build_evaluator(counted, "tiny_engine_val")) == ["CountImages"]
    assert Trainer.test(counted, Trainer.build_model(counted))["images"]["count"] == 3


def test_ready_made_evaluators(make_config, phrase_config):
    cfg = make_config("ZSSEG.VIS_IMAGES", 1)
    assert names(build_evaluator(cfg, "tiny_engine_val")) == ["PanopticQualityEvaluator", "VisualizationEvaluator"]
    assert names(build_evaluator(phrase_config(), "tiny_phrases_test")) == ["ReferringEvaluator"]
    off = [part for key in ("PANOPTIC_ON", "SEMANTIC_ON") for part in (f"MODEL.MASK_FORMER.TEST.{key}", False)]
    with pytest.raises(ConfigError, match="needs panoptic maps or a semantic output. Fix: .*PANOPTIC_ON True for PQ"):
        validate(make_config(*off), eval_only=True)


def test_methods_that_need_panoptic_maps(make_config):
    cfg = make_config("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", False, "MODEL.META_ARCHITECTURE", "NaiveIntersection")
    with pytest.raises(ConfigError, match="NaiveIntersection needs panoptic maps. Fix: .*PANOPTIC_ON True"):
        validate(cfg, eval_only=True)
    cfg = make_config(
        *("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", False, "MODEL.MASK_FORMER.TEST.INSTANCE_ON", True),
        *("ZSSEG.MEASURES", ["AP"]),
    )
    with pytest.raises(ConfigError, match="ZSSEG.MEASURES=AP: it is scored beside PQ. Fix: .*PANOPTIC_ON True"):
        validate(cfg, eval_only=True)


def test_found_words_have_their_evaluator(make_config, caplog):
    """Words of the test vocabulary count as synonyms, a file and CLIP's texts map too; other outputs are left out."""
    cfg = make_config("ZSSEG.SAVE_PREDICTIONS", True)
    cfg.defrost()
    cfg.MODEL.META_ARCHITECTURE = "AutoVocabularyFCCLIP"
    evaluator = build_evaluator(cfg, "tiny_engine_val")
    assert names(evaluator) == ["AutoVocabularyEvaluator"]
    assert "ZSSEG.SAVE_PREDICTIONS=True: left out" in caplog.text
    cfg.ZSSEG.WORD_MAPPING = "/nowhere/mapping.json"
    with pytest.raises(FileNotFoundError, match="mapping.json"):
        build_evaluator(cfg, "tiny_engine_val")


def test_rows_of_words_are_those_of_the_classifier(make_config):
    """The embedded text tower: the rows that the model classifies with, by another way through the package."""
    cfg = make_config()
    cfg.defrost()
    cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME, cfg.MODEL.FC_CLIP.EMBED_DIM = "mini_rn", 128
    cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS = "zsseg_d2://weights/mini_clip.safetensors"
    names = ("car", "traffic light")
    expected = TextClassifier()(Vocabulary(tuple((name,) for name in names)), CLIP(cfg))
    assert np.allclose(_text_rows(cfg, names), expected.numpy(), atol=1e-6)
