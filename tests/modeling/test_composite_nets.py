"""Networks of composites: parameter counts, sizes, names, what their outputs cover, and independence of the batch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zsseg_d2.modeling.composites.eva import EvaNet
from zsseg_d2.modeling.composites.mirror import mirrored_places
from zsseg_d2.modeling.composites.unet import UNet
from zsseg_d2.modeling.registries import COMPOSITE_NET_REGISTRY


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def eva():
    torch.manual_seed(0)
    return EvaNet(6, depth=False).eval()


@pytest.mark.parametrize(
    ("name", "channels", "depth", "count"),
    [
        ("eva", 6, False, 34_520_514),
        ("eva", 3, False, 34_518_786),
        ("eva", 6, True, 34_520_514 + 111_426),
        # The classic U-Net has 31 million parameters at width 64, and 64, 16 and 4 times less at 8, 16 and 32.
        ("unet_small", 6, True, 486_778),
        ("unet", 6, True, 1_943_026),
        ("unet_large", 6, True, 7_763_938),
        ("unet_small", 3, False, 486_778 - 3 * 8 * 9 - 9),
    ],
)
def test_parameter_counts(name, channels, depth, count):
    assert parameters(COMPOSITE_NET_REGISTRY.get(name)(channels, depth)) == count


def test_published_parameters_of_each_block(eva):
    """The table of the published network."""
    published = {
        "convblock1": 40_576,
        "convblock2": 221_696,
        "convblock3": 885_760,
        "convblock4": 3_540_992,
        "base": 18_878_464,
        "convblock5": 8_259_584,
        "convblock6": 2_065_408,
        "convblock7": 516_608,
        "convblock_final": 111_426,
    }
    assert {name: parameters(block) for name, block in eva.named_children()} == published


def test_published_names(eva):
    """Every block has weights at 0, 1, 3, 4, all but the encoder's at 6, and the last one at 7."""
    indices: dict[str, set[int]] = {}
    for key in eva.state_dict():
        block, index, _ = key.split(".", 2)
        indices.setdefault(block, set()).add(int(index))
    encoder, decoder = {0, 1, 3, 4}, {0, 1, 3, 4, 6}
    assert indices == {
        **{f"convblock{k}": encoder for k in (1, 2, 3, 4)},
        **dict.fromkeys(("base", "convblock5", "convblock6", "convblock7"), decoder),
        "convblock_final": decoder | {7},
    }
    assert not any(key.endswith(".bias") for key in eva.state_dict() if key.split(".")[1] in "036")


@pytest.mark.parametrize(("side", "output"), [(128, 2), (192, 66), (200, 66), (224, 98)])
def test_published_sizes(eva, side, output):
    with torch.no_grad():
        assert eva(torch.rand(1, 6, side, side)).mask.shape == (1, output, output)
    window = eva.window(side, side)
    assert (window.height, window.width) == (output, output) == (16 * (side // 16) - 126,) * 2


@pytest.mark.parametrize("side", [96, 127])
def test_sizes_that_do_not_fit_are_refused(eva, side):
    with pytest.raises(ValueError, match=rf"{side}x{side} pixels .* Fix: .*192 \(output 66\) or 224 \(output 98\)"):
        eva(torch.rand(1, 6, side, side))


def test_logits_of_background_can_be_negative(eva):
    """A ReLU at the end would leave every background pixel a cross-entropy of at least ln 2."""
    assert not isinstance(eva.convblock_final[-1], nn.ReLU)
    with torch.no_grad():
        logits = eva(torch.rand(2, 6, 144, 144)).mask
    assert logits.min() < 0 < logits.max()
    assert F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits), reduction="none").min() < math.log(2)


def _passing(net: EvaNet, stage: int) -> None:
    """Set the weights so that the first channel of a skip reaches the output unchanged but for its size."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.zeros_(module.weight)
    delta = torch.zeros(3, 3)
    delta[1, 1] = 1
    encoder = (net.convblock1, net.convblock2, net.convblock3, net.convblock4)
    for block in encoder[: stage + 1]:
        block[0].weight.data[0, 0] = block[3].weight.data[0, 0] = delta
    decoder = (net.convblock_final, net.convblock7, net.convblock6, net.convblock5)
    first = decoder[stage][0].weight.data
    first[0, first.shape[1] // 2] = delta  # the skip comes after the decoder's own half
    for block in decoder[:stage]:
        block[0].weight.data[0, 0] = delta
    for block in decoder[: stage + 1]:
        block[3].weight.data[0, 0] = delta
    net.convblock_final[6].weight.data[0, 0] = delta
    for block in decoder[1 : stage + 1]:
        block[6].weight.data[0, 0] = torch.ones(3, 3)  # a square of 2x2 pixels or more for each


@pytest.mark.parametrize("side", [192, 200, 207])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_skips_lie_where_the_decoder_is(stage, side):
    """A bright spot of the image comes out of each skip at its own place, also where 16 does not divide the side."""
    net = EvaNet(1, depth=False).eval()
    _passing(net, stage)
    row, column = 96, 112  # both on the grid of stride 8
    image = torch.zeros(1, 1, side, side)
    image[..., row : row + 2**stage, column : column + 2**stage] = 1
    window = net.window(side, side)
    with torch.no_grad():
        found = net(image).mask[0]
    background = found[0, 0]
    rows, columns = torch.where((found - background).abs() > 1e-6)
    # Transposed convolutions with a kernel of 3 smear by one cell on the way up; the spot itself must be inside.
    for places, start, first in ((rows, row, window.top), (columns, column, window.left)):
        low, high = int(places.min()) + first, int(places.max()) + first
        assert low <= start and start + 2**stage - 1 <= high
        assert start - low <= 2**stage - 1 and high - (start + 2**stage - 1) <= 2**stage - 1


def test_the_whole_image_is_covered_by_mirroring(eva):
    """In the window of a large image, both ways agree where no padding is in sight."""
    torch.manual_seed(1)
    image = torch.rand(1, 6, 150, 161)
    with torch.no_grad():
        maps = eva.whole(image)
    assert maps.mask.shape == (1, 150, 161)
    padded = F.pad(image, (63, 0, 63, 0), mode="reflect")
    padded = F.pad(padded, (0, 288 - 161 - 63, 0, 288 - 150 - 63), mode="reflect")
    with torch.no_grad():
        assert torch.equal(maps.mask[0], eva(padded).mask[0, :150, :161])


@given(st.integers(1, 9), st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_mirrored_places(side, before, after):
    """Walk from pixel to pixel, and turn at the borders."""
    for start, stop, step in ((0, side + after, 1), (side - 1, -before - 1, -1)):
        at, direction, expected = start, step, {}
        for place in range(start, stop, step):
            expected[place] = at
            if side > 1 and not 0 <= at + direction < side:
                direction = -direction
            at += direction if side > 1 else 0
        for place, pixel in expected.items():
            assert mirrored_places(place, place + 1, side).tolist() == [pixel]


@pytest.mark.parametrize("size", [(96, 96), (1, 1), (17, 33), (50, 31)])
def test_the_unet_gives_the_size_of_its_input(size):
    net = UNet(6, width=8).eval()
    maps = net(torch.rand(2, 6, *size))
    assert maps.mask.shape == maps.depth.shape == (2, *size)


def test_a_result_does_not_depend_on_the_batch_in_training_either():
    torch.manual_seed(0)
    net = UNet(6, width=8).train()
    images = torch.rand(3, 6, 40, 56)
    together = net(images)
    for k in range(3):
        alone = net(images[k : k + 1])
        torch.testing.assert_close(together.mask[k], alone.mask[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.depth[k], alone.depth[0], rtol=1e-4, atol=1e-5)


def test_skip_connections_carry_detail():
    """Without them a pixel could not change its neighbors' logits differently at stride 16."""
    torch.manual_seed(0)
    net = UNet(6, width=8).eval()
    image = torch.rand(1, 6, 64, 64, requires_grad=True)
    net(image).mask[0, 30, 30].backward()
    influence = image.grad.abs().sum((0, 1))
    assert influence[30, 30] > 3 * influence[24:37, 24:37].median()
