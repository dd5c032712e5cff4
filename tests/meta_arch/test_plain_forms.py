"""The whole model, fast and plain: the same panoptic maps, losses and gradients."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from detectron2.structures import Instances

from tests.parity import build_recorded_model, recorded
from tests.plain.model import plain_forms


@pytest.fixture(params=["resnet", "convnext"])
def case(request, tmp_path):
    """The recorded model and image."""
    record = recorded(request.param)
    return build_recorded_model(record, tmp_path), record.image


@pytest.mark.parametrize("size", [(96, 160), (150, 130)])
def test_inference(case, size):
    model, image = case
    item = {"image": image, "height": size[0], "width": size[1]}
    (fast,) = model.eval()([item])
    with plain_forms():
        (plain,) = model([item])
    (ids, segments), (plain_ids, plain_segments) = fast["panoptic_seg"], plain["panoptic_seg"]
    assert [(s["id"], s["category_id"]) for s in segments] == [(s["id"], s["category_id"]) for s in plain_segments]
    # Where two queries are within rounding of one another, the last bits decide.
    assert int((ids != plain_ids).sum()) <= 3


def test_losses_and_gradients(case):
    model, image = case
    masks = torch.zeros(3, *image.shape[1:], dtype=torch.bool)
    masks[0, :40], masks[1, 40:, :90], masks[2, 40:, 90:] = True, True, True
    item = {
        "image": image,
        "instances": Instances(tuple(image.shape[1:]), gt_masks=masks, gt_classes=torch.tensor([0, 1, 2])),
    }
    found = []
    for form in (nullcontext, plain_forms):
        torch.manual_seed(0)
        model.train().zero_grad()
        with form():
            losses = model([item, item])
            sum(losses.values()).backward()
        found.append((losses, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (losses, gradients), (plain_losses, plain_gradients) = found
    assert losses.keys() == plain_losses.keys() and gradients.keys() == plain_gradients.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, plain_losses[name], rtol=1e-3, atol=1e-4, msg=name)
    for name, gradient in gradients.items():
        scale = float(plain_gradients[name].abs().max())
        assert float((gradient - plain_gradients[name]).abs().max()) <= 2e-3 * scale + 1e-6, name
