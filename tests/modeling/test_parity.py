"""The same function as the published FC-CLIP, tensor by tensor."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.parity import build_recorded_model, needs_full, recorded
from zsseg_d2 import Vocabulary
from zsseg_d2.modeling.fcclip.ensemble import apply_void_rule, geometric_ensemble
from zsseg_d2.modeling.postprocessing import panoptic_inference
from zsseg_d2.modeling.upsampling import Upsampler

SIZE = (96, 160)
FULL = [pytest.param(f"full {tower}", marks=needs_full) for tower in ("resnet", "convnext")]


@pytest.fixture(scope="module", params=["resnet", *FULL])
def run(request, tmp_path_factory):
    """The recorded model with this package's code, its inputs and everything it computes."""
    record = recorded(request.param)
    model = build_recorded_model(record, tmp_path_factory.mktemp("parity")).eval()
    if "regions" in record.expected:  # the small recording lacks the weights that make them
        model.backbone.embed_regions = lambda dense, masks: record["regions"]
    item = {"image": record.image, "height": 96, "width": 160}
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
        "features": features,
        "queries": queries,
        "last": last,
        "masks": masks,
        "mask_features": mask_features,
        "scales": scales,
        "result": result,
    }


@pytest.fixture(params=["resnet", "convnext", *FULL])
def record(request):
    return recorded(request.param)


def test_every_parameter_name_is_fcclips(record, tmp_path):
    state = build_recorded_model(record, tmp_path).state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == record.meta["parameters"]


def test_features(run):
    for name in ("res2", "res5", "clip_vis_dense"):
        run["record"].assert_close(name, run["features"][name])


def test_pixel_decoder(run):
    run["record"].assert_close("mask_features", run["mask_features"])
    assert len(run["scales"]) == 3
    for index, scale in enumerate(run["scales"]):
        run["record"].assert_close(f"multi_scale_features.{index}", scale)


def test_text_rows_and_seen_classes(run):
    model, record = run["model"], run["record"]
    classes = model.classes.evaluation()
    record.assert_close("text_classifier", model.text_rows(classes.vocabulary)[:-1].detach())
    assert list(classes.seen) == record["category_overlapping_mask"].bool().tolist()


def test_logits_and_masks_of_every_layer(run):
    model, record = run["model"], run["record"]
    vocabulary = model.classes.evaluation().vocabulary
    with torch.no_grad():
        text = model.text_rows(vocabulary)
        *aux, final = [model.class_logits(q, text, vocabulary) for q in run["queries"]]
    record.assert_close("pred_logits", final)
    assert len(aux) == record.meta["hyperparameters"]["decoder_layers"]
    for index, logits in enumerate(aux):
        record.assert_close(f"aux_pred_logits.{index}", logits)
    for queries in (run["queries"][-1], run["last"]):
        masks = torch.einsum("bqc,bchw->bqhw", queries.mask_embed, run["mask_features"])
        record.assert_close("pred_masks", masks)
    record.assert_close("pred_masks", run["masks"])


def test_ensembled_scores(run):
    model, masks = run["model"], run["masks"]
    classes = model.classes.evaluation()
    with torch.no_grad():
        inside = model.class_logits(run["last"], model.text_rows(classes.vocabulary), classes.vocabulary)
        scores = model.class_scores(inside, masks, run["features"]["clip_vis_dense"], classes)
    run["record"].assert_close("ensembled_class_log_probs", scores[0])


def test_ensemble_on_recorded_logits():
    """Of the ConvNeXt model, whose ensemble has no rule for empty masks."""
    record = recorded("convnext")
    hyper, logits = record.meta["hyperparameters"], record["pred_logits"]
    assert not hyper["ensemble_on_valid_mask"]
    seen = record["category_overlapping_mask"].bool()
    mixed = geometric_ensemble(logits[..., :-1], record["outside_logits"], seen, hyper["alpha"], hyper["beta"])
    scores = apply_void_rule(mixed, logits.softmax(-1)[..., -1])
    record.assert_close("ensembled_class_log_probs", scores[0])


def competitors(record) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and mask logits of the recorded queries; a small recording has those that are not void."""
    scores, masks = record["ensembled_class_log_probs"], record["pred_masks"][0]
    return (scores[record.parts["pred_masks"][1]] if record.parts else scores), masks


def segment_keys(segments: list[dict]) -> list[tuple]:
    return [(s["id"], s["isthing"], s["category_id"]) for s in segments]


def test_panoptic_rule_on_recorded_scores_and_masks(record):
    threshold = record.meta["hyperparameters"]["overlap_threshold"]
    upsample, things = Upsampler(SIZE, SIZE, SIZE), record.meta["thing_contiguous_ids"]
    ids, segments = panoptic_inference(*competitors(record), upsample, things, overlap_threshold=threshold)
    assert torch.equal(ids.long(), record["panoptic_seg"].long())
    assert segment_keys(segments) == segment_keys(record.meta["segments_info"])


def test_panoptic_map_end_to_end(run):
    """Identical wherever the recorded winner leads by more than a few float32 roundings."""
    record = run["record"]
    scores, masks = competitors(record)
    best = scores.softmax(-1)[:, :-1].amax(-1)
    masks = F.interpolate(masks[None], size=SIZE, mode="bilinear", align_corners=False)[0]
    first, second = (best[:, None, None] * masks.sigmoid()).topk(2, dim=0).values
    decided = (first - second) / first > 1e-6
    assert int((~decided).sum()) <= 3
    ids, segments = run["result"]["panoptic_seg"]
    assert torch.equal(ids.long()[decided], record["panoptic_seg"].long()[decided])
    assert segment_keys(segments) == segment_keys(record.meta["segments_info"])


def test_semantic_and_instance_results(run):
    result, record = run["result"], run["record"]
    step = SIZE[0] // record["sem_seg"].shape[1]  # a small recording has every eighth pixel
    record.assert_close("sem_seg", result["sem_seg"][:, ::step, ::step])
    instances, scores = result["instances"], record["instances.scores"]
    order, wanted = instances.scores.argsort(), scores.argsort()
    assert (instances.scores[order] - scores[wanted]).abs().max() <= 1e-4 * scores.max()
    assert torch.equal(instances.pred_classes[order], record["instances.pred_classes"][wanted])


def test_recordings_are_small():
    from tests.parity import FOLDER

    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 1.5e6


def test_recorded_words_are_the_packaged_ones(record):
    assert Vocabulary.load("cityscapes") == Vocabulary.from_strings(record.meta["test_vocabulary"])
