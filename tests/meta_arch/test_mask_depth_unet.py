"""The meta-architecture of composites: inputs, losses, unknown depth, results of any size, and that it learns."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from zsseg_d2 import add_zsseg_config

M = "MODEL.COMPOSITES."


def build(*options):
    cfg = get_cfg()
    add_zsseg_config(cfg)
    always = ("MODEL.META_ARCHITECTURE", "MaskDepthUNet", "MODEL.DEVICE", "cpu", M + "NET", "unet_small")
    cfg.merge_from_list([*always, M + "DEPTH_MAX", 10.0, *options])
    torch.manual_seed(0)
    return build_model(cfg)


def item(seed, height=32, width=32, known=True):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 40, (3, height, width), generator=generator)
    background = (torch.linspace(210, 20, height)[None, :, None] + noise).to(torch.uint8)
    image, mask = background.clone(), torch.zeros(height, width, dtype=torch.bool)
    top, left = (int(n) for n in torch.randint(0, 16, (2,), generator=generator))
    image[:, top : top + 12, left : left + 14] = torch.tensor([200, 30, 60], dtype=torch.uint8).view(3, 1, 1)
    mask[top : top + 12, left : left + 14] = True
    depth = torch.linspace(9, 3, height)[:, None].repeat(1, width).masked_fill(mask, 1.5)
    return {"image": image, "background": background, "mask": mask, "depth": depth if known else 0 * depth}


@pytest.mark.parametrize(
    ("row", "value", "read"),
    [
        ("NET", "unet", lambda m: type(m.net).__name__ == "MediumUNet"),
        ("INPUT", "grey", lambda m: m.input == "grey" and m.pixels(item(0)).shape[0] == 2),
        ("DEPTH", False, lambda m: m.net.depth_head is None),
        ("DEPTH_MAX", 50.0, lambda m: m.depth_max == 50.0),
        ("MASK_LOSS", "dice", lambda m: m.mask_loss.weights == {"dice": 1.0}),
        ("DEPTH_LOSS", "2*ssi", lambda m: m.depth_loss.weights == {"ssi": 2.0}),
    ],
)
def test_the_model_has_its_keys(row, value, read):
    assert read(build(M + row, value))
    assert not read(build())


def test_what_the_net_sees():
    options = ("MODEL.PIXEL_MEAN", [10.0, 20.0, 30.0], "MODEL.PIXEL_STD", [2.0, 4.0, 5.0])
    found = {name: build(M + "INPUT", name, *options).pixels(item(0)) for name in ("pair", "composite", "grey")}
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([10.0, 20, 30], [2.0, 4, 5]))
    image, background = ((item(0)[key] - mean) / std for key in ("image", "background"))
    torch.testing.assert_close(found["pair"], torch.cat([image, background]))
    torch.testing.assert_close(found["composite"], image)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    torch.testing.assert_close(found["grey"], torch.stack([(image * luma).sum(0), (background * luma).sum(0)]))
    with pytest.raises(KeyError, match="background"):
        build().pixels({"image": item(0)["image"]})
    build(M + "INPUT", "composite").pixels({"image": item(0)["image"]})


def test_depth_is_an_output_and_positive():
    """The original had none anywhere."""
    model = build().eval()
    (result,) = model([item(0, 30, 41)])
    assert result["mask_logits"].shape == result["depth"].shape == (30, 41)
    assert ((result["depth"] > 0) & (result["depth"] <= 10)).all()
    with torch.no_grad():
        model.net.depth_head.bias.add_(1000)
    assert torch.allclose(model([item(0)])[0]["depth"], torch.tensor(10.0))


def test_a_result_does_not_depend_on_the_batch():
    model = build().eval()
    items = [item(0), item(1, 50, 21), item(2, 17, 64)]
    together = model(items)
    for one, result in zip(items, together):
        alone = model([one])[0]
        assert torch.equal(alone["mask_logits"], result["mask_logits"]) and torch.equal(alone["depth"], result["depth"])


def test_unknown_depth_trains_nothing():
    model = build().train()
    losses = model([item(0), item(1)])
    for unknown in (0.0, -1.0, float("nan"), float("inf")):
        changed = item(1)
        changed["depth"] = changed["depth"].masked_fill(changed["mask"], unknown)
        half = model([item(0), changed])
        assert torch.equal(half["loss_mask_bce"], losses["loss_mask_bce"])
        assert not torch.equal(half["loss_depth_l1"], losses["loss_depth_l1"])
        assert all(loss.isfinite() for loss in half.values())
    nothing = model([item(0, known=False)])
    sum(nothing.values()).backward()
    assert not model.net.depth_head.weight.grad.any() and model.net.mask_head.weight.grad.any()


@pytest.mark.parametrize("net", ["unet_small", "eva"])
def test_losses_are_those_of_the_window_that_the_net_sees(net):
    """What lies outside of the published net's output must not count."""
    model = build(M + "NET", net, M + "DEPTH", True).train()
    side, inner = (144, slice(63, 81)) if net == "eva" else (32, slice(None))
    one = item(3, side, side)
    if net == "eva":
        one["mask"][66:72, 64:77] = True
    before = model([one, one])
    changed = {**one, "mask": ~one["mask"]}
    changed["mask"][inner, inner] = one["mask"][inner, inner]
    after = model([changed, changed])
    assert torch.equal(before["loss_mask_bce"], after["loss_mask_bce"])
    changed["mask"] = ~one["mask"]
    assert not torch.equal(before["loss_mask_bce"], model([changed, changed])["loss_mask_bce"])


def test_it_learns_masks_and_depths():
    torch.manual_seed(0)
    model = build(M + "DEPTH_LOSS", "rmse").train()
    items, optimizer = [item(k) for k in range(4)], torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(80):
        optimizer.zero_grad()
        sum(model(items).values()).backward()
        optimizer.step()
    for one, result in zip(items, model.eval()(items)):
        predicted = result["mask_logits"] > 0
        assert (predicted & one["mask"]).sum() > 0.8 * (predicted | one["mask"]).sum()
        constant = one["depth"].std()
        assert (result["depth"] - one["depth"]).square().mean().sqrt() < 2 / 3 * constant
