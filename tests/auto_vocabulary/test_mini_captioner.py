"""The embedded captioner: what its interface promises, a decoder written as loops, its files and its weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from zsseg_d2.auto_vocabulary.mini_captioner import (
    END,
    LAYERS,
    PAD,
    START,
    CaptionDecoder,
    MiniCaptioner,
    load_decoder,
    packaged_clip,
    save_decoder,
)
from zsseg_d2.auto_vocabulary.registry import Decoding, build_captioner
from zsseg_d2.data.synthetic import PRETRAINING, render_scene
from zsseg_d2.reading import UnusableFile

WORDS = (START, END, PAD, "a", "car", "road", "on", "the", "sky")


@pytest.fixture(scope="module")
def decoder() -> CaptionDecoder:
    torch.manual_seed(0)
    made = CaptionDecoder(WORDS, 128, width=32, layers=2, heads=4).eval()
    made.cell_mean.copy_(torch.randn(128))
    made.cell_std.copy_(torch.rand(128) + 0.5)
    return made


@pytest.fixture(scope="module")
def captioner(decoder) -> MiniCaptioner:
    return MiniCaptioner(packaged_clip(), decoder, decoding=Decoding(1, 12, 0.9, 0))


def scene(seed: int = 0) -> Tensor:
    return torch.from_numpy(render_scene(PRETRAINING, 900_000 + seed, 64, 128).image).permute(2, 0, 1)


# --- the decoder ---


def attention(query: Tensor, key: Tensor, block, allowed: list[list[int]]) -> Tensor:
    """Attend from (L, C) to (n, C), head by head and row by row; `allowed` lists the keys of each row."""
    width, heads = query.shape[1], block.num_heads
    q, k, v = (
        x @ block.in_proj_weight[i * width : (i + 1) * width].T + block.in_proj_bias[i * width : (i + 1) * width]
        for i, x in enumerate((query, key, key))
    )
    size, result = width // heads, torch.zeros_like(query)
    for row, seen in enumerate(allowed):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.stack([q[row, part] @ k[j, part] / math.sqrt(size) for j in seen]).exp()
            result[row, part] = sum(s / scores.sum() * v[j, part] for s, j in zip(scores, seen))
    return result @ block.out_proj.weight.T + block.out_proj.bias


def plain_logits(decoder: CaptionDecoder, tokens: list[int], cells: Tensor) -> Tensor:
    """The decoder for one caption, as loops."""
    x = torch.stack([decoder.embed.weight[t] + decoder.positions[i] for i, t in enumerate(tokens)])
    x = x + cells.mean(0) @ decoder.pooled.weight.T + decoder.pooled.bias
    memory = cells @ decoder.cells.weight.T + decoder.cells.bias
    for layer in decoder.layers.layers:
        normed = layer.norm1(x)
        x = x + attention(normed, normed, layer.self_attn, [list(range(i + 1)) for i in range(len(tokens))])
        x = x + attention(layer.norm2(x), memory, layer.multihead_attn, [list(range(len(cells)))] * len(tokens))
        hidden = layer.linear1(layer.norm3(x))
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        x = x + hidden @ layer.linear2.weight.T + layer.linear2.bias
    return decoder.layers.norm(x) @ decoder.embed.weight.T


@torch.no_grad()
def test_decoder_equals_loops(decoder):
    tokens, cells = [0, 3, 4, 6, 7], torch.randn(6, 128)
    found = decoder(torch.tensor([tokens]), cells[None])[0]
    assert torch.allclose(found, plain_logits(decoder, tokens, cells), atol=1e-4)


@torch.no_grad()
def test_padding_and_order_of_cells_change_nothing(decoder):
    tokens, cells = torch.tensor([[0, 3, 4]]), torch.randn(5, 128)
    alone = decoder(tokens, cells[None])[0]
    padded = torch.cat((cells, 100 * torch.ones(3, 128)))
    both = decoder(
        tokens.expand(2, -1), torch.stack((padded, torch.randn(8, 128))), torch.arange(8)[None].expand(2, -1) >= 5
    )
    assert torch.allclose(both[0], alone, atol=1e-5)
    assert torch.allclose(decoder(tokens, cells.flip(0)[None])[0], alone, atol=1e-5)


def test_later_words_are_not_read(decoder):
    cells = torch.randn(1, 4, 128)
    one, two = (decoder(torch.tensor([[0, 3, last]]), cells) for last in (4, 5))
    assert torch.allclose(one[:, :2], two[:, :2]) and not torch.allclose(one[:, 2], two[:, 2])


def test_words():
    with pytest.raises(ValueError, match="must be distinct"):
        CaptionDecoder((START, END, PAD, "a", "a"), 8)
    with pytest.raises(ValueError, match="<pad>"):
        CaptionDecoder((START, END), 8)
    made = CaptionDecoder(WORDS, 8)
    assert made.tokens("a car") == [0, 3, 4, 1]
    with pytest.raises(KeyError):
        made.tokens("a plane")


# --- the captioner ---


def test_cells_are_those_of_the_tower(captioner):
    """The last block's cells in their places, standardized: no class token, no shift by one."""
    image = scene()
    visual = captioner.clip.clip_model.visual
    seen = {}
    hook = visual.ln_post.register_forward_hook(lambda module, inputs, output: seen.update(tokens=output))
    size = visual.grid_size[0] * visual.patch_size[0]  # square and native: open_clip's own forward runs
    square = torch.nn.functional.interpolate(image[None].float(), size=(size, size)).byte()[0]
    try:
        cells = captioner.encode(square, (size, size))
        own = ((square.float() - captioner.mean) / captioner.std)[None]
        with torch.no_grad():
            visual(own)
    finally:
        hook.remove()
    tokens = seen["tokens"][0]
    raw = cells * captioner.decoder.cell_std + captioner.decoder.cell_mean
    side = visual.grid_size[0]
    assert cells.shape == (side, side, 128) and cells.dtype == torch.float32
    assert torch.allclose(raw.flatten(0, 1), tokens[-side * side :], atol=1e-3)


@pytest.mark.parametrize("size", [(64, 128), (32, 96), (256, 16)])
def test_images_of_any_shape(captioner, size):
    cells = captioner.encode(scene(), size)
    assert cells.shape == (size[0] // 16, size[1] // 16, 128) and bool(cells.isfinite().all())


def test_nothing_depends_on_what_came_before_or_on_company(captioner):
    cells = captioner.encode(scene(), (64, 128)).flatten(0, 1)
    torch.manual_seed(1)
    first = captioner.caption(cells[:9], [5, 6, 7])
    captioner.encode(scene(1), (128, 256))
    captioner.caption(cells, [1])
    torch.manual_seed(2)
    assert captioner.caption(cells[:9], [7, 5]) == [first[2], first[0]]
    assert torch.equal(captioner.encode(scene(), (64, 128)).flatten(0, 1), cells)
    assert captioner.caption(cells[:1], [3]) == captioner.caption(cells[:1], [3])
    assert len(set(captioner.caption(cells, range(20)))) > 1, "seeds make a difference"


def test_captions_end(captioner):
    texts = captioner.caption(torch.randn(4, 128), range(10))
    assert all(len(text.split()) <= 12 and not {START, END, PAD} & set(text.split()) for text in texts)


# --- files ---


def test_file(decoder, tmp_path):
    path = tmp_path / "captioner.safetensors"
    save_decoder(path, decoder, {"more": 1})
    again = load_decoder(path)
    assert again.words == decoder.words and again.settings == decoder.settings
    for name, value in decoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float()), name
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["zsseg_d2"])["more"] == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.pop("words"), "holds no captioner.*words is missing"),
        (lambda d: d.update(width=64), "does not fit its captioner"),
        (lambda d: d["words"].append("a"), "does not fit its captioner.*distinct"),
        (lambda d: d.update(heads=5), "does not fit its captioner"),
    ],
)
def test_unusable_files(decoder, tmp_path, change, expected):
    path = tmp_path / "captioner.safetensors"
    description = {"words": list(WORDS), "cell_width": 128, **decoder.settings}
    change(description)
    from zsseg_d2.tensor_files import write_tensors

    tensors = {name: value.half().contiguous() for name, value in decoder.state_dict().items()}
    write_tensors(path, tensors, {"captioner": description})
    with pytest.raises(UnusableFile, match=expected):
        load_decoder(path)


def test_cells_of_another_width(tmp_path):
    path = tmp_path / "captioner.safetensors"
    save_decoder(path, CaptionDecoder(WORDS, 64, width=32), {})
    with pytest.raises(UnusableFile, match="64 channels.*128"):
        build_captioner("mini", str(path), Decoding())


# --- the packaged weights ---


def test_packaged_captioner_names_what_is_there():
    """The sky of a scene is called sky, by most captions; sizes of the file and of all files."""
    from zsseg_d2.files import local_path

    folder = local_path("zsseg_d2://weights/mini_captioner.safetensors").parent
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.safetensors")}
    assert sizes["mini_captioner.safetensors"] < 2e6 and sum(sizes.values()) < 20e6
    captioner = build_captioner("mini", "", Decoding(1, 20, 0.9, 0))
    found = render_scene(PRETRAINING, 900_004)
    image, index = torch.from_numpy(found.image).permute(2, 0, 1), found.index
    cells = captioner.encode(image, (256, 512))
    kinds = {o.index: o.kind for o in found.objects}
    sky = np.isin(index, [i for i, kind in kinds.items() if kind == "sky"])
    inside = torch.from_numpy(sky.reshape(16, 16, 32, 16).mean((1, 3)) > 0.9)
    assert int(inside.sum()) > 8 and captioner.decoder.cell_width == 128 * len(LAYERS)
    texts = captioner.caption(cells[inside], range(10))
    assert sum("sky" in text or "clouds" in text for text in texts) >= 8, texts
