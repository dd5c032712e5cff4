"""Evaluators are chosen by the type of the dataset, and an outside one can be added."""

from __future__ import annotations

import pytest
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from zsseg_d2.engine import EVALUATOR_REGISTRY, Trainer, build_evaluator
from zsseg_d2.engine.config.validation import validate
from zsseg_d2.engine.errors import ConfigError


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
    with pytest.raises(ConfigError, match="Evaluation needs panoptic maps"):
        validate(make_config("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", False), eval_only=True)
