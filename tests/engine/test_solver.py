"""Who learns at which rate, with which decay; clipping; schedules."""

from __future__ import annotations

import copy

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from tests.tiny import tiny_config
from zsseg_d2.engine.training.solver import build_lr_scheduler, build_optimizer, parameter_rules


class Mixture(nn.Module):
    """One parameter of every kind that has a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"frozen": nn.Linear(2, 2).requires_grad_(False), "free": nn.Linear(2, 2)})
        self.linear = nn.Linear(2, 3)
        self.norms = nn.ModuleList([nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.BatchNorm2d(2)])
        self.query_feat = nn.Embedding(4, 2)
        self.level_embed = nn.Parameter(torch.ones(3, 2))
        self.logit_scale = nn.Parameter(torch.ones(()))
        self.shared = self.linear


def expected_decay(name: str) -> float:
    if "norms" in name or "logit_scale" in name:
        return 0.0
    return 0.01 if "query_feat" in name or "level_embed" in name else 0.05


@pytest.fixture
def cfg():
    return tiny_config("SOLVER.WEIGHT_DECAY", 0.05, "SOLVER.WEIGHT_DECAY_EMBED", 0.01, "SOLVER.BASE_LR", 1e-3)


def test_every_kind_of_parameter_has_its_rule(cfg):
    rules = {rule.name: rule for rule in parameter_rules(cfg, Mixture())}
    assert not any("frozen" in name or "shared" in name for name in rules)
    assert len(rules) == 2 + 2 + 6 + 3
    for name, rule in rules.items():
        assert rule.weight_decay == expected_decay(name), name
        assert rule.lr == pytest.approx(1e-4 if name.startswith("backbone") else 1e-3), name


def test_groups_of_the_optimizer_hold_each_parameter_once(cfg):
    model = Mixture()
    optimizer = build_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.AdamW)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held)) == sum(p.requires_grad for p in model.parameters())
    by_parameter = {p: g for g in optimizer.param_groups for p in g["params"]}
    for rule in parameter_rules(cfg, model):
        group = by_parameter[rule.parameter]
        assert (group["lr"], group["weight_decay"]) == (rule.lr, rule.weight_decay)


def test_fc_clip_follows_the_rules():
    """On the real model: CLIP is absent, and only matrices and biases outside of norms and embeddings decay."""
    cfg = tiny_config("SOLVER.WEIGHT_DECAY", 0.05)
    rules = {rule.name: rule.weight_decay for rule in parameter_rules(cfg, build_model(cfg))}
    assert not any(name.startswith("backbone.clip_model") for name in rules)
    free = (
        "sem_seg_head.predictor.logit_scale",
        "sem_seg_head.predictor.level_embed.weight",
        "void_embedding.weight",
        "sem_seg_head.predictor.query_feat.weight",
        "sem_seg_head.predictor.query_embed.weight",
        "sem_seg_head.pixel_decoder.transformer.level_embed",
        "sem_seg_head.predictor.decoder_norm.weight",
        "sem_seg_head.pixel_decoder.input_proj.0.1.weight",
        "sem_seg_head.pixel_decoder.layer_1.norm.bias",
        "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.norm1.weight",
    )
    assert {name: rules[name] for name in free} == dict.fromkeys(free, 0.0)
    assert rules["sem_seg_head.pixel_decoder.transformer.encoder.layers.0.linear1.weight"] == 0.05
    assert rules["sem_seg_head.predictor.class_embed.layers.0.bias"] == 0.05


def test_nothing_to_train_is_an_error(cfg):
    with pytest.raises(ValueError, match="No parameter"):
        build_optimizer(cfg, nn.Linear(2, 2).requires_grad_(False))


def clipped(*options, kind="full_model", value=0.5):
    return tiny_config(
        "SOLVER.OPTIMIZER",
        "SGD",
        "SOLVER.BASE_LR",
        1.0,
        "SOLVER.MOMENTUM",
        0.0,
        "SOLVER.WEIGHT_DECAY",
        0.0,
        "SOLVER.CLIP_GRADIENTS.ENABLED",
        True,
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
        kind,
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE",
        value,
        "SOLVER.CLIP_GRADIENTS.NORM_TYPE",
        2.0,
        *options,
    )


def two_weights() -> nn.Module:
    model = nn.Module()
    model.a, model.b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    return model


def test_full_model_clipping_is_by_the_norm_of_all_parameters():
    model = two_weights()
    optimizer = build_optimizer(clipped(), model)
    model.a.grad, model.b.grad = torch.tensor([3.0]), torch.tensor([4.0])  # norm 5
    optimizer.step()
    torch.testing.assert_close(torch.cat((model.a, model.b)).detach(), torch.tensor([-0.3, -0.4]))


def test_norm_clipping_is_detectron2s_own_parameter_by_parameter():
    model = two_weights()
    optimizer = build_optimizer(clipped(kind="norm"), model)
    model.a.grad, model.b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    optimizer.step()
    torch.testing.assert_close(torch.cat((model.a, model.b)).detach(), torch.tensor([-0.5, -0.5]))


def test_small_gradients_are_not_clipped():
    model = two_weights()
    optimizer = build_optimizer(clipped(), model)
    model.a.grad, model.b.grad = torch.tensor([0.03]), torch.tensor([0.04])
    optimizer.step()
    torch.testing.assert_close(torch.cat((model.a, model.b)).detach(), torch.tensor([-0.03, -0.04]))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    model = two_weights()
    optimizer = build_optimizer(clipped(), model)
    model.a.grad, model.b.grad = torch.tensor([bad]), torch.tensor([4.0])
    optimizer.step()
    assert model.a == 0 and model.b == 0


def test_scaled_gradients_are_unscaled_before_they_are_clipped():
    """With a gradient scaler (AMP) the step is the same as without."""
    plain = two_weights()
    scaled = copy.deepcopy(plain)
    optimizers = [build_optimizer(clipped(), model) for model in (plain, scaled)]
    (3 * plain.a + 4 * plain.b).sum().backward()
    optimizers[0].step()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale((3 * scaled.a + 4 * scaled.b).sum()).backward()
    scaler.step(optimizers[1])
    scaler.update()
    torch.testing.assert_close(scaled.a, plain.a)
    torch.testing.assert_close(scaled.b, plain.b)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", ()), [1.0, 1.0, 1.0, 1.0]),
        (("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", (2,)), [1.0, 1.0, 0.1, 0.1]),
        (("SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR", "SOLVER.POLY_LR_POWER", 1.0), [1.0, 0.75, 0.5, 0.25]),
    ],
)
def test_schedules(options, expected):
    cfg = tiny_config("SOLVER.MAX_ITER", 4, "SOLVER.WARMUP_ITERS", 0, "SOLVER.BASE_LR", 1.0, *options)
    optimizer = build_optimizer(cfg, two_weights())
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected)
