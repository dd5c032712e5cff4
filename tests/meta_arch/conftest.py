"""Models of phrases for the tests of this folder."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model

from tests.tiny_referring import referring_config


@pytest.fixture
def build(tmp_path):
    """``build(KEY, VALUE, …)``: a model whose decoder is not at its symmetric start."""

    def make(*more, options=(), tower: str = "tiny_vit"):
        torch.manual_seed(0)
        model = build_model(referring_config(tmp_path, *options, *more, tower=tower))
        with torch.no_grad():
            for parameter in model.decoder.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        return model

    return make
