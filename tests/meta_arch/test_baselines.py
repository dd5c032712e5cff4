"""Baselines that change little: penalties on the distance from the start, and low-rank updates; numbers by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from tests.tiny import random_image, seeded_losses, tiny_config, tiny_dataset, tiny_model, training_item
from zsseg_d2.engine.checkpoints.checkpointer import ZssegCheckpointer
from zsseg_d2.engine.training.solver import parameter_rules
from zsseg_d2.meta_arch.anchored import squared_distance
from zsseg_d2.modeling.fisher import mean_squared_gradients
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


def test_the_fisher_information_and_its_penalty_by_hand():
    """Losses (w·x - y)² / 2 of (x, y) = (1, 0), (2, 1), (0, 5) at w = (2): gradients 2, 6 and 0, so F = (4 + 36) / 3.

    The bias enters the first loss alone: gradients 3, 0, 0, F = 3. With w = 5 and b = -1 against 2 and 0:
    F_w · 9 + F_b · 1.
    """
    weight, bias = (torch.tensor(value, requires_grad=True) for value in (2.0, 0.0))
    terms = [(weight - 0) ** 2 / 2 + 3 * bias, (2 * weight - 1) ** 2 / 2, (0 * weight - 5) ** 2 / 2]
    fisher = mean_squared_gradients(iter(terms), {"weight": weight, "bias": bias})
    assert {k: v.item() for k, v in fisher.items()} == pytest.approx({"weight": 40 / 3, "bias": 3.0})
    assert weight.grad is None, "nothing is left behind"
    model, anchor = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        for part, (w, b) in ((model, (5.0, -1.0)), (anchor, (2.0, 0.0))):
            part.weight.fill_(w), part.bias.fill_(b)
    shaped = {"weight": fisher["weight"].view(1, 1), "bias": fisher["bias"].view(1)}
    penalty = squared_distance(model, anchor, shaped)
    assert penalty.item() == pytest.approx(40 / 3 * 9 + 3)
    (penalty / 2).backward()
    assert model.weight.grad.item() == pytest.approx(40 / 3 * 3) and model.bias.grad.item() == pytest.approx(-3.0)
    with pytest.raises(ValueError, match="no image"):
        mean_squared_gradients(iter(()), {"weight": weight})


WORLD = tiny_dataset("tiny_world_baselines", ("person", "tree, bush", "hat"))
STUDIED = [{**training_item(classes=(0, 2)), "dataset_name": WORLD}, {**training_item(96, 64), "dataset_name": WORLD}]
STUDIED[1]["instances"].gt_classes[1] = 1


def test_the_fisher_information_is_that_of_the_pretraining_at_the_anchor():
    """Image by image with autograd, on a plain model with the anchor's weights and the names of the other dataset."""
    model = build("ElasticFCCLIP", "ZSSEG.EWC.DATASET", WORLD, "ZSSEG.ANCHOR.WEIGHT", 0.5)
    torch.manual_seed(4)
    found = model.study(seeded(STUDIED))
    torch.manual_seed(0)
    plain = build_model(tiny_config("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 3, train=WORLD)).train()
    own = {k.removeprefix("anchor."): v for k, v in model.state_dict().items() if k.startswith("anchor.")}
    plain.load_state_dict(own, strict=False)
    expected: dict = {}
    for item in seeded(STUDIED):
        plain.zero_grad()
        sum(plain([item]).values()).backward()
        for name, p in plain.named_parameters():
            if p.requires_grad:
                gradient = torch.zeros_like(p) if p.grad is None else p.grad
                expected[name] = expected.get(name, 0) + gradient**2 / 2
    assert found.keys() == expected.keys() and sum(bool(v.any()) for v in found.values()) > 100
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-9)
    assert not any(p.requires_grad for p in model.anchor.parameters()), "the anchor stays frozen"
    model.use_study(found)
    with torch.no_grad():
        moved = dict(model.named_parameters())
        fixed = {name: p.clone() for name, p in model.anchor.named_parameters()}
        for name in found:
            moved[name].copy_(fixed[name])
        moved["void_embedding.weight"][0, :4] += 2.0
    by_hand = 0.5 / 2 * 4 * found["void_embedding.weight"][0, :4].sum()
    assert seeded_losses(model, ITEMS)["loss_anchor"].item() == pytest.approx(by_hand.item(), rel=1e-5) != 0


def seeded(items):
    for position, item in enumerate(items):
        torch.manual_seed(position)
        yield copy.deepcopy(item)


def test_elastic_training_needs_what_was_studied():
    model = build("ElasticFCCLIP", "ZSSEG.EWC.DATASET", WORLD)
    with pytest.raises(RuntimeError, match="needs the Fisher information"):
        seeded_losses(model, ITEMS)
    with pytest.raises(ValueError, match="of other weights"):
        model.use_study({"void_embedding.weight": torch.zeros(3)})


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
