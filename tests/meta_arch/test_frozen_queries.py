"""Frozen queries beside new ones: who answers for which class, what is trained, and what stays as it was."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import random_image, seeded_losses, tiny_config, tiny_dataset, tiny_model, training_item
from zsseg_d2.engine.checkpoints.checkpointer import ZssegCheckpointer
from zsseg_d2.engine.training.solver import parameter_rules
from zsseg_d2.meta_arch.frozen_queries import answering_for
from zsseg_d2.modeling.fcclip.adapted import Adapter

TRAIN = tiny_dataset("tiny_train_frozen", deleted=(2, 3))
ITEMS = [training_item(classes=(0, 1)), training_item(96, 96, classes=(1,))]
IMAGES = [{"image": random_image(64, 96, 3)}, {"image": random_image(96, 96, 4)}]


def build(*options, architecture="FrozenQueriesFCCLIP"):
    return tiny_model(architecture, "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", 0.1, *options, train=TRAIN)


def started(*options):
    """A model as it starts from a file of one model."""
    model = build(*options)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("kept.")}
    model.load_state_dict(model.complete_state(state))
    return model


def naming_something(model):
    """Turn void away from what the queries look like, so that random weights name classes."""
    model.eval()
    with torch.no_grad():
        queries, _ = model.decode_last(model.clip_features(model.padded_batches(IMAGES)[0].images))
        void = -torch.nn.functional.normalize(queries.class_embed[0], dim=-1).mean(0, keepdim=True)
        model.void_embedding.weight.copy_(void)
        if hasattr(model, "kept"):
            model.kept.void_embedding.weight.copy_(void)
    return model


def test_a_query_answers_for_its_own_classes_by_hand():
    """Most likely: 0, 1, void, 2. Of classes 0 and 2 the first and the last remain, with their probabilities."""
    table = [[0.6, 0.3, 0.0, 0.1], [0.3, 0.5, 0.1, 0.1], [0.2, 0.2, 0.2, 0.4], [0.1, 0.2, 0.4, 0.3]]
    found = answering_for(torch.tensor(table).log(), [2, 0]).softmax(-1)
    void = [0.0, 0.0, 0.0, 1.0]
    for line, expected in zip(found.tolist(), [table[0], void, void, table[3]]):
        assert line == pytest.approx(expected)
    assert answering_for(torch.tensor(table).log(), []).softmax(-1).tolist() == [void] * 4


def test_an_adapter_by_hand():
    """x = (1, -2): W₁ makes 1 · 1 + 2 · 2 = 5 and -3, of which relu keeps 5; W₂ adds 10 to the first channel."""
    adapter, x = Adapter(2, 2), torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    assert torch.equal(adapter(x), x), "it starts as the identity"
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, -2.0], [1.0, 2.0]]).view(2, 2, 1, 1))
        adapter.up.weight.copy_(torch.tensor([[2.0, 7.0], [0.0, 1.0]]).view(2, 2, 1, 1))
    assert adapter(x).flatten().tolist() == [11.0, -2.0]
    assert not adapter(torch.zeros(1, 2, 3, 3)).any(), "padding stays 0"


def test_before_training_the_map_is_that_of_the_frozen_model():
    """Both sets of queries are alike, and each answers for its own classes."""
    for found, plain in zip(
        naming_something(started())(IMAGES), naming_something(build(architecture="FCCLIP"))(IMAGES)
    ):
        (seg, segments), (expected, others) = found["panoptic_seg"], plain["panoptic_seg"]
        assert (seg != expected).float().mean() < 1e-3 and len(segments) == len(others) > 0
        torch.testing.assert_close(found["sem_seg"].sum(0).isfinite(), torch.ones_like(seg, dtype=torch.bool))


def test_only_the_new_queries_are_trained():
    model = started()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    names = {rule.name for rule in parameter_rules(tiny_config(), model)}
    assert names and all(name.startswith("kept.") for name in names)
    assert {n.split(".")[2] for n in names if n.startswith("kept.sem_seg_head.")} == {"predictor", "pixel_decoder"}
    assert all("adapter" in n for n in names if ".pixel_decoder." in n)
    losses = seeded_losses(model, ITEMS)
    sum(losses.values()).backward()
    for part in ("predictor.mask_embed", "predictor.query_feat", "mask_adapter.up", "void_embedding"):
        assert any(part in n and p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters())
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.1).step()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and all(k.startswith("kept.") for k in changed)


def test_deleted_classes_are_answered_as_before_however_the_new_queries_change():
    """With new queries that call everything void, the map is the frozen model's without the kept classes."""
    model, plain = naming_something(started()), naming_something(build(architecture="FCCLIP"))
    with torch.no_grad():
        predictor = model.kept.sem_seg_head.predictor
        predictor.class_embed.layers[-1].weight.zero_()
        predictor.class_embed.layers[-1].bias.copy_(model.kept.void_embedding.weight[0])
        predictor.logit_scale.fill_(4.6)
    for found, alone in zip(model(IMAGES), plain(IMAGES)):
        assert {s["category_id"] for s in found["panoptic_seg"][1]} <= {2, 3} and alone["panoptic_seg"][1]
        kept = {s["category_id"] for s in alone["panoptic_seg"][1] if s["category_id"] in (2, 3)}
        assert kept <= {s["category_id"] for s in found["panoptic_seg"][1]}


def test_the_losses_are_those_of_in_class_fine_tuning_at_the_start():
    """Nothing is adapted yet, so the new queries see what the plain model sees."""
    found, plain = seeded_losses(started(), ITEMS), seeded_losses(build(architecture="FCCLIP"), ITEMS)
    assert {k: v.item() for k, v in found.items()} == pytest.approx({k: v.item() for k, v in plain.items()}, rel=1e-5)


def test_who_answers_follows_from_the_names():
    model = build()
    assert model.learned(model.classes.evaluation()) == [0, 1]
    world = model.classes.evaluation(tiny_dataset("tiny_world_frozen", ("person", "railroad", "hat", "cloudy")))
    assert model.learned(world) == [1], "railroad is a synonym of road"


def test_a_file_of_one_model_starts_both(tmp_path):
    plain = build(architecture="FCCLIP")
    with torch.no_grad():
        plain.void_embedding.weight.fill_(2.0)
    torch.save({"model": plain.state_dict()}, tmp_path / "plain.pth")
    model = build()
    ZssegCheckpointer(model).load(str(tmp_path / "plain.pth"))
    assert model.kept.void_embedding.weight.unique().tolist() == [2.0]
    frozen, new = model.sem_seg_head.predictor.state_dict(), model.kept.sem_seg_head.predictor.state_dict()
    assert all(torch.equal(v, new[k]) for k, v in frozen.items())
    with torch.no_grad():
        model.kept.void_embedding.weight.fill_(3.0)
    ZssegCheckpointer(model, str(tmp_path)).save("both")
    again = build()
    ZssegCheckpointer(again).load(str(tmp_path / "both.pth"))
    assert again.kept.void_embedding.weight.unique().tolist() == [3.0]
    assert again.void_embedding.weight.unique().tolist() == [2.0]


@pytest.mark.parametrize("adapter", [0, 8])
def test_an_image_has_the_same_loss_beside_a_larger_one(adapter):
    """Padding stays 0 behind adapters, with and without them."""
    model = started("ZSSEG.FROZEN_QUERIES.ADAPTER", adapter)
    with torch.no_grad():
        for parameter in model.kept.sem_seg_head.pixel_decoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    small, large = ITEMS[0], training_item(128, 160, classes=(1,))
    logits = []
    for items in ([small], [small, large]):
        batch = model.kept.training_batch(items)
        features = model.clip_features(batch.images, batch.padding)
        logits.append(model.kept.decode(features, batch.padding).logits[-1][0])
    torch.testing.assert_close(*logits, rtol=1e-3, atol=1e-3)
