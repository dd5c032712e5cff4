"""CLIPSeg's decoder: published sizes, the order of layers and tokens, and what the prompt reaches."""

from __future__ import annotations

import pytest
import torch

from zsseg_d2.modeling.referring.clipseg_decoder import VARIANTS, CLIPSegDecoder, FiLM

SIZES = {"model0": 3_871_425, "model1": 1_128_545, "model2": 3_179_969, "rd64-refined": 1_127_009}


def small(**options) -> CLIPSegDecoder:
    torch.manual_seed(0)
    shape = dict(width=12, depth=3, dim=8, condition_dim=6, kernels=(2, 2), heads=2, feedforward=16) | options
    return CLIPSegDecoder(**shape).eval()


def inputs(depth: int = 3, images: int = 2, grid=(3, 4), leading: int = 1):
    generator = torch.Generator().manual_seed(1)
    cells = leading + grid[0] * grid[1]
    activations = [torch.randn(images, cells, 12, generator=generator) for _ in range(depth)]
    return activations, torch.randn(images, 6, generator=generator)


@pytest.mark.parametrize("name, size", SIZES.items())
def test_published_numbers_of_trainable_parameters(name, size):
    with torch.device("meta"):
        decoder = CLIPSegDecoder.build(name)
    assert sum(p.numel() for p in decoder.parameters() if p.requires_grad) == size
    patch = int(VARIANTS[name].clip.rpartition("-")[2])
    assert decoder.stride == patch


def test_plain_rd64_is_one_transposed_convolution():
    decoder = CLIPSegDecoder.build("rd64")
    assert isinstance(decoder.head, torch.nn.ConvTranspose2d) and decoder.head.kernel_size == (16, 16)


def test_film_by_hand():
    film = FiLM(2, 3)
    with torch.no_grad():
        film.mul.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        film.add.weight.fill_(0.0)
        film.mul.bias.fill_(0.0)
        film.add.bias.copy_(torch.tensor([0.0, 10.0, 20.0]))
    out = film(torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]), torch.tensor([[2.0, 3.0]]))
    assert out.tolist() == [[[2.0, 16.0, 35.0], [8.0, 25.0, 50.0]]]


@pytest.mark.parametrize("everywhere", [False, True])
def test_the_forward_step_by_step(everywhere):
    """Deepest first, one shared FiLM, a layer after every addition."""
    decoder = small(film_everywhere=everywhere)
    activations, condition = inputs()
    film, (r0, r1, r2), (l0, l1, l2) = decoder.film, decoder.reduces, decoder.layers
    again = (lambda x: film(x, condition)) if everywhere else (lambda x: x)
    x = l0(film(r0(activations[2]), condition))
    x = l1(again(r1(activations[1]) + x))
    x = l2(again(r2(activations[0]) + x))
    cells = torch.stack([x[:, 1 + i] for i in range(12)], -1).reshape(2, 8, 3, 4)
    expected = decoder.head(cells)[:, 0]
    assert torch.allclose(decoder(activations, condition, (3, 4)), expected, atol=1e-6)


def test_cells_come_row_by_row_after_the_leading_tokens():
    """Without mixing of tokens, changing the token of cell (1, 2) changes the pixels of that cell only."""
    decoder = small(depth=1, kernels=(4,))
    decoder.layers[0] = torch.nn.Identity()
    for leading in (0, 1, 5):
        activations, condition = inputs(depth=1, leading=leading)
        before = decoder(activations, condition, (3, 4))
        activations[0][:, leading + 1 * 4 + 2] += 1
        changed = (decoder(activations, condition, (3, 4)) != before).all(0)
        expected = torch.zeros(12, 16, dtype=torch.bool)
        expected[4:8, 8:12] = True
        assert torch.equal(changed, expected), leading


def test_the_leading_token_is_dropped_but_attended_to():
    decoder = small(depth=1)
    activations, condition = inputs(depth=1)
    before = decoder(activations, condition, (3, 4))
    activations[0][:, 0] += 3
    assert not torch.allclose(decoder(activations, condition, (3, 4)), before)
    decoder.layers[0] = torch.nn.Identity()
    before = decoder(activations, condition, (3, 4))
    activations[0][:, 0] += 3
    assert torch.equal(decoder(activations, condition, (3, 4)), before)


def test_tokens_of_one_image_mix_and_images_do_not():
    decoder = small()
    activations, condition = inputs()
    before = decoder(activations, condition, (3, 4))
    for part in activations:
        part[0, 1] += 3
    after = decoder(activations, condition, (3, 4))
    assert not torch.isclose(after[0], before[0]).all(-1).any()
    assert torch.equal(after[1], before[1])


def test_several_prompts_an_image():
    decoder = small(film_everywhere=True)
    activations, condition = inputs()
    owner = torch.tensor([1, 0, 1])
    prompts = torch.cat((condition, condition[:1] + 1))
    together = decoder(activations, prompts, (3, 4), owner)
    for row, image in enumerate(owner.tolist()):
        alone = decoder([a[image : image + 1] for a in activations], prompts[row : row + 1], (3, 4))
        assert torch.allclose(together[row], alone[0], atol=1e-5)


def test_every_parameter_learns():
    decoder = small(film_everywhere=True).train()
    activations, condition = inputs()
    decoder(activations, condition, (3, 4)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


def test_wrong_numbers_are_refused():
    decoder = small()
    activations, condition = inputs()
    with pytest.raises(ValueError, match="reads 3 activations, not 2"):
        decoder(activations[:2], condition, (3, 4))
    with pytest.raises(ValueError, match="1 prompts for 2 images"):
        decoder(activations, condition[:1], (3, 4))
    with pytest.raises(ValueError, match="Unknown CLIPSeg variant 'model9'"):
        CLIPSegDecoder.build("model9")
    with pytest.raises(ValueError, match="one or two transposed convolutions"):
        small(kernels=(2, 2, 2))
