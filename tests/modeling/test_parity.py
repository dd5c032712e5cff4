"""The same function as the published FC-CLIP, tensor by tensor."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model

from tests.parity import parity_config, parity_state, recorded
from zsseg_d2.modeling.postprocessing import panoptic_inference
from zsseg_d2.modeling.upsampling import Upsampler

FILES = ("fcclip_resnet_mini.pt", "fcclip_convnext_mini.pt")


@pytest.fixture(scope="module", params=FILES)
def run(request, tmp_path_factory):
    """The recorded model with our code, its inputs and everything it computes."""
    record = recorded(request.param)
    model = build_model(parity_config(record, tmp_path_factory.mktemp("parity"))).eval()
    loaded = model.load_state_dict(parity_state(record), strict=False)
    item = {"image": record["image"], "height": 96, "width": 160}
    with torch.no_grad():
        ((_, images),) = model.padded_batches([item])
        features = model.backbone(images)
        queries, mask_features = model.sem_seg_head(features, return_aux=True)
        _, scales = model.sem_seg_head.pixel_decoder(features)
        last, masks = model.decode_last(features)
        (result,) = model([item])
    return {
        "record": record,
        "model": model,
        "loaded": loaded,
        "features": features,
        "queries": queries,
        "last": last,
        "masks": masks,
        "mask_features": mask_features,
        "scales": scales,
        "result": result,
    }


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """1e-4 relative to the largest magnitude of the recorded tensor."""
    expected = expected.float()
    assert actual.shape == expected.shape
    assert (actual.float() - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_every_parameter_name_is_fcclips(run):
    assert run["loaded"].missing_keys == [] and run["loaded"].unexpected_keys == []


def test_features(run):
    for name in ("res2", "res5", "clip_vis_dense"):
        assert_close(run["features"][name], run["record"]["expected"][name])


def test_pixel_decoder(run):
    expected = run["record"]["expected"]
    assert_close(run["mask_features"], expected["mask_features"])
    assert len(run["scales"]) == len(expected["multi_scale_features"]) == 3
    for actual, wanted in zip(run["scales"], expected["multi_scale_features"]):
        assert_close(actual, wanted)


def test_text_rows_and_seen_classes(run):
    model, expected = run["model"], run["record"]["expected"]
    classes = model.classes.evaluation()
    assert_close(model.text_rows(classes.vocabulary)[:-1].detach(), expected["text_classifier"])
    assert list(classes.seen) == expected["category_overlapping_mask"].bool().tolist()


def test_logits_and_masks_of_every_layer(run):
    model, expected = run["model"], run["record"]["expected"]
    vocabulary = model.classes.evaluation().vocabulary
    with torch.no_grad():
        text = model.text_rows(vocabulary)
        logits = [model.class_logits(q, text, vocabulary) for q in run["queries"]]
    assert_close(logits[-1], expected["pred_logits"])
    assert len(logits) == len(expected["aux_pred_logits"]) + 1
    for actual, wanted in zip(logits, expected["aux_pred_logits"]):
        assert_close(actual, wanted)
    for queries in (run["queries"][-1], run["last"]):
        assert_close(torch.einsum("bqc,bchw->bqhw", queries.mask_embed, run["mask_features"]), expected["pred_masks"])
    assert_close(run["masks"], expected["pred_masks"])


def test_ensembled_scores(run):
    model, masks = run["model"], run["masks"]
    classes = model.classes.evaluation()
    with torch.no_grad():
        inside = model.class_logits(run["last"], model.text_rows(classes.vocabulary), classes.vocabulary)
        scores = model.class_scores(inside, masks, run["features"]["clip_vis_dense"], classes)
    assert_close(scores[0], run["record"]["expected"]["ensembled_class_log_probs"])


def _segments(segments: list[dict]) -> list[tuple]:
    return [(s["id"], s["isthing"], s["category_id"]) for s in segments]


def test_panoptic_rule_on_recorded_scores_and_masks(run):
    expected, classes = run["record"]["expected"], run["model"].classes.evaluation()
    size = (96, 160)
    segmentation, segments = panoptic_inference(
        expected["ensembled_class_log_probs"],
        expected["pred_masks"][0],
        Upsampler(size, size, size),
        classes.things,
        overlap_threshold=run["record"]["hyperparameters"]["overlap_threshold"],
    )
    assert torch.equal(segmentation.long(), expected["panoptic_seg"].long())
    assert _segments(segments) == _segments(expected["segments_info"])


def test_panoptic_map_end_to_end(run):
    """Identical wherever the recorded winner leads by more than a few float32 roundings."""
    expected = run["record"]["expected"]
    scores = expected["ensembled_class_log_probs"].softmax(-1)[:, :-1].amax(-1)
    masks = F.interpolate(expected["pred_masks"], size=(96, 160), mode="bilinear", align_corners=False)[0]
    first, second = (scores[:, None, None] * masks.sigmoid()).topk(2, dim=0).values
    decided = (first - second) / first > 1e-6
    assert int((~decided).sum()) <= 3
    segmentation, segments = run["result"]["panoptic_seg"]
    assert torch.equal(segmentation.long()[decided], expected["panoptic_seg"].long()[decided])
    assert _segments(segments) == _segments(expected["segments_info"])


def test_semantic_and_instance_results(run):
    result, expected = run["result"], run["record"]["expected"]
    assert_close(result["sem_seg"], expected["sem_seg"])
    ours, theirs = result["instances"], expected["instances"]
    order, wanted = ours.scores.argsort(), theirs["scores"].argsort()
    assert_close(ours.scores[order], theirs["scores"][wanted])
    assert torch.equal(ours.pred_classes[order], theirs["pred_classes"][wanted])
