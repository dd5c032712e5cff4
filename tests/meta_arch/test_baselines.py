"""Baselines that change little: a penalty on the distance from the start, and low-rank updates; numbers by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.tiny import random_image, seeded_losses, tiny_config, tiny_dataset, tiny_model, training_item
from zsseg_d2.engine.checkpoints.checkpointer import ZssegCheckpointer
from zsseg_d2.engine.training.solver import parameter_rules
from zsseg_d2.meta_arch.anchored import squared_distance
from zsseg_d2.modeling.low_rank import LowRankUpdate, add_low_rank_updates

TRAIN = tiny_dataset("tiny_train_baselines", deleted=(2, 3))
ITEMS = [training_item(classes=(0, 1)), training_item(96, 96, classes=(1,))]
IMAGES = [{"image": random_image(64, 96, 3)}]


def build(architecture, *options):
    return tiny_model(architecture, *options, train=TRAIN)


def test_a_squared_distance_by_hand():
    """Weights 3 and 5 against 1 and 2: 4 + 9; the frozen bias does not count."""
    model, anchor = nn.Linear(2, 1), nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 5.0]]))
        anchor.weight.copy_(torch.tensor([[1.0, 2.0]]))
    model.bias.requires_grad_(False)
    distance = squared_distance(model, anchor)
    assert distance.item() == 13.0
    distance.backward()
    assert model.weight.grad.tolist() == [[4.0, 6.0]]


def test_the_penalty_is_that_of_the_distance_from_the_anchor():
    model = build("AnchoredFCCLIP", "ZSSEG.ANCHOR.WEIGHT", 0.5)
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("anchor.")}
    model.anchor.load_state_dict(own)
    losses = seeded_losses(model, ITEMS)
    assert losses.pop("loss_anchor").item() == 0
    assert {k: v.item() for k, v in losses.items()} == {
        k: v.item() for k, v in seeded_losses(build("FCCLIP"), ITEMS).items()
    }
    with torch.no_grad():
        model.void_embedding.weight[0, :4] += 2.0
    assert seeded_losses(model, ITEMS)["loss_anchor"].item() == pytest.approx(0.5 / 2 * 4 * 2.0**2)
    assert not any(r.name.startswith("anchor.") for r in parameter_rules(tiny_config(), model))


def test_an_update_by_hand():
    """Rank 1, alpha 3: W + 3 · b · a."""
    update, weight = LowRankUpdate((2, 2), 1, 3.0), torch.eye(2)
    assert torch.equal(update(weight), weight), "it starts at nothing"
    with torch.no_grad():
        update.a.copy_(torch.tensor([[1.0, 2.0]]))
        update.b.copy_(torch.tensor([[1.0], [-1.0]]))
    assert update(weight).tolist() == [[4.0, 6.0], [-3.0, -5.0]]
    assert LowRankUpdate((2, 2), 4, 3.0).scale == 0.75


def test_linear_and_attention_layers_are_updated():
    module = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.MultiheadAttention(3, 1), nn.Conv2d(3, 3, 1))
    names = add_low_rank_updates(module, 2, 2.0)
    assert names == ["0.weight", "2.in_proj_weight", "2.out_proj.weight"]
    trained = {n for n, p in module.named_parameters() if p.requires_grad}
    assert len(trained) == 6 and all(n.endswith((".0.a", ".0.b")) for n in trained)


def test_low_rank_training_starts_at_the_plain_model_and_moves_only_updates(tmp_path):
    plain, model = build("FCCLIP"), build("LowRankFCCLIP")
    torch.save({"model": plain.state_dict()}, tmp_path / "plain.pth")
    ZssegCheckpointer(model).load(str(tmp_path / "plain.pth"))
    same = {k: v.item() for k, v in seeded_losses(model, ITEMS).items()}
    assert same == pytest.approx({k: v.item() for k, v in seeded_losses(plain, ITEMS).items()}, rel=1e-5)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.AdamW([r.parameter for r in parameter_rules(tiny_config(), model)], 0.1)
    sum(seeded_losses(model, ITEMS).values()).backward()
    optimizer.step()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and all(k == "void_embedding.weight" or k.endswith((".0.a", ".0.b")) for k in changed)
    ZssegCheckpointer(model, str(tmp_path)).save("tuned")
    again = build("LowRankFCCLIP").eval()
    ZssegCheckpointer(again).load(str(tmp_path / "tuned.pth"))
    assert torch.equal(again(IMAGES)[0]["sem_seg"], model.eval()(IMAGES)[0]["sem_seg"])
