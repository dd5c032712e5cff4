"""``torch.compile`` on the head: traced and eager forms agree. No machine code is made, so no compiler is needed."""

from __future__ import annotations

import torch

from tests.parity import build_recorded_model, recorded


def test_traced_inference_of_the_head_equals_the_eager_one(tmp_path):
    record = recorded("resnet")
    model = build_recorded_model(record, tmp_path).eval()
    (_, images), *_ = model.padded_batches([{"image": record.image}])
    with torch.no_grad():
        features = model.backbone(images)
        eager = model.sem_seg_head.last(features)
        traced = torch.compile(model.sem_seg_head.last, backend="aot_eager")(features)
    torch.testing.assert_close(traced.mask_logits, eager.mask_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(traced.class_embed, eager.class_embed, rtol=1e-4, atol=1e-4)
