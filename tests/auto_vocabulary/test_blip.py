"""BLIP as a captioner, against transformers' own modules called one by one."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from tests.auto_vocabulary.tiny_blip import CHANNELS, PATCH, tiny_blip
from zsseg_d2.auto_vocabulary.cells import resize_image
from zsseg_d2.auto_vocabulary.nucleus import NucleusDraws, nucleus
from zsseg_d2.auto_vocabulary.registry import Decoding, build_captioner

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="module")
def captioner(folder):
    return build_captioner("blip", str(folder), Decoding())


@pytest.fixture(scope="module")
def theirs(folder):
    from transformers import BlipForConditionalGeneration

    return BlipForConditionalGeneration.from_pretrained(folder).eval()


def image(height=70, width=130, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, height, width), np.uint8))


def reference_cells(model, pixels):
    """Position embeddings resized by hand, then transformers' encoder; (h, w, C)."""
    vision, (h, w) = model.vision_model, (pixels.shape[1] // PATCH, pixels.shape[2] // PATCH)
    positions = vision.embeddings.position_embedding[0]
    side = int((len(positions) - 1) ** 0.5)
    grid = positions[1:].T.reshape(1, -1, side, side)
    if (h, w) != (side, side):
        grid = torch.nn.functional.interpolate(grid, size=(h, w), mode="bicubic", align_corners=False)
    patches = vision.embeddings.patch_embedding(pixels[None]).flatten(2).transpose(1, 2)
    tokens = torch.cat((vision.embeddings.class_embedding.view(1, 1, -1), patches), 1)
    tokens = tokens + torch.cat((positions[:1], grid[0].flatten(1).T))[None]
    hidden = vision.post_layernorm(vision.encoder(inputs_embeds=tokens).last_hidden_state)
    return hidden[0, 1:].reshape(h, w, -1)


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (64, 144), (128, 32)])
@torch.no_grad()
def test_cells_are_those_of_transformers_at_any_size(captioner, theirs, size):
    exact = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, *size), np.uint8))
    found = captioner.encode(exact, size)
    assert found.shape == (size[0] // PATCH, size[1] // PATCH, CHANNELS)
    expected = reference_cells(theirs, (exact / 255 - MEAN) / STD)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (64, 144), (256, 32)])
def test_images_are_resized_as_pillow_does(captioner, size):
    given = image()
    theirs = Image.fromarray(given.permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling.BICUBIC)
    found = resize_image(given, size)
    assert (found - torch.from_numpy(np.array(theirs)).permute(2, 0, 1)).abs().max() == 0
    assert torch.equal(captioner.encode(given, size), captioner.encode(found.to(torch.uint8), size))


def test_the_class_token_is_dropped_and_no_cell_is(captioner, theirs):
    """Fault: CLS kept and the last patch dropped, so that every cell is off by one."""
    pixels = image(64, 64)
    with torch.no_grad():
        tokens = theirs.vision_model(((pixels / 255 - MEAN) / STD)[None]).last_hidden_state[0]
    assert len(tokens) == 17
    found = captioner.encode(pixels, (64, 64)).flatten(0, 1)
    torch.testing.assert_close(found, tokens[-16:], atol=1e-5, rtol=1e-5)
    assert (found - tokens[:16]).abs().max() > 0.1


def test_an_image_does_not_depend_on_those_before_it(captioner):
    """Fault: position embeddings resized in place."""
    first = captioner.encode(image(), (64, 64))
    before = {name: value.clone() for name, value in captioner.model.state_dict().items()}
    captioner.encode(image(seed=1), (128, 96))
    assert all(torch.equal(value, before[name]) for name, value in captioner.model.state_dict().items())
    assert torch.equal(captioner.encode(image(), (64, 64)), first)


def test_pixels_are_normalized(captioner):
    """Fault: pictures without CLIP's mean and deviation: the mean color gives patches of zeros."""
    seen = []
    handle = captioner.model.vision_model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    captioner.encode(image(64, 64), (64, 64))
    handle.remove()
    torch.testing.assert_close(seen[0][0], (image(64, 64) / 255 - MEAN) / STD)


def greedy(model, cells, steps):
    """Greedy decoding by the decoder's logits alone, without a cache; one text."""
    tokens = [model.config.text_config.bos_token_id]
    for _ in range(steps):
        logits = model.text_decoder(input_ids=torch.tensor([tokens]), encoder_hidden_states=cells[None]).logits[0, -1]
        tokens.append(int(logits.argmax()))
        if tokens[-1] == model.config.text_config.sep_token_id:
            break
    return tokens[1:]


@torch.no_grad()
def test_texts_of_some_cells_are_those_of_the_decoder(folder, theirs):
    """With top_p next to 0 the likeliest token is drawn; the cells are the subset's own (fault: the first n)."""
    captioner = build_captioner("blip", str(folder), Decoding(0, 9, 1e-6, 0))
    cells = captioner.encode(image(), (96, 144)).flatten(0, 1)
    texts = set()
    for subset in ([3, 7, 8, 20], [50], list(range(54))):
        expected = captioner.tokenizer.decode(greedy(theirs, cells[subset], 9), skip_special_tokens=True).strip()
        assert captioner.caption(cells[subset], [0, 1]) == [expected, expected]
        texts.add(expected)
    assert len(texts) > 1, "texts that never differ prove nothing"


@torch.no_grad()
def test_nothing_is_padded(captioner, theirs):
    """The mask of encoder states has no effect in current transformers, so that zero padding changes the text."""
    cells = captioner.encode(image(), (64, 64)).flatten(0, 1)[:3]
    start = torch.tensor([[theirs.config.text_config.bos_token_id]])
    single = theirs.text_decoder(input_ids=start, encoder_hidden_states=cells[None]).logits
    seen = []
    decoder = captioner.model.text_decoder
    handle = decoder.register_forward_hook(lambda _, args, kwargs, out: seen.append((kwargs, out)), with_kwargs=True)
    try:
        captioner.caption(cells, [0, 1, 2])
    finally:
        handle.remove()
    for kwargs, _ in seen:
        assert kwargs["encoder_hidden_states"].shape == (3, 3, CHANNELS)
    torch.testing.assert_close(seen[0][1].logits[1, -1], single[0, -1], atol=1e-5, rtol=1e-5)
    padded = torch.cat((cells, torch.zeros(5, CHANNELS)))
    off = theirs.text_decoder(input_ids=start, encoder_hidden_states=padded[None]).logits
    assert (off - single).abs().max() > 1e-3, "padding would be seen"


def test_the_order_of_cells_has_no_meaning(captioner):
    cells = captioner.encode(image(), (64, 96)).flatten(0, 1)
    assert captioner.caption(cells, range(4)) == captioner.caption(cells.flip(0), range(4))


def test_seeds_decide_and_global_state_does_not(captioner):
    cells = captioner.encode(image(), (64, 64)).flatten(0, 1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = captioner.caption(cells, range(6))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert captioner.caption(cells, range(6)) == first
    assert len(set(first)) > 1
    assert captioner.caption(cells, range(6, 12)) != first


def test_lengths_and_loops_are_bounded(folder):
    captioner = build_captioner("blip", str(folder), Decoding(4, 20, 1.0, 2))
    cells = captioner.encode(image(), (64, 64)).flatten(0, 1)
    end = captioner.model.config.text_config.sep_token_id
    rows: list[list[int]] = []
    captioner.tokenizer = mock.Mock(batch_decode=lambda found, **_: rows.extend(found.tolist()) or [""] * len(found))
    captioner.caption(cells, range(80))
    lengths = [row.index(end) if end in row else len(row) for row in rows]
    assert 4 <= min(lengths) < max(lengths) == 20 == max(map(len, rows))
    for row, length in zip(rows, lengths):
        pairs = list(zip(row[:length], row[1:length]))
        assert len(pairs) == len(set(pairs))


def test_no_socket_is_opened(folder, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    captioner = build_captioner("blip", str(folder), Decoding())
    assert captioner.caption(captioner.encode(image(), (64, 64)).flatten(0, 1), [0])


# The nucleus


def test_the_nucleus_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = [torch.isfinite(nucleus(logits, p))[0].tolist() for p in (0.01, 0.5, 0.51, 0.9, 1.0)]
    assert kept[0] == kept[1] == [True, False, False, False]
    assert kept[2] == [True, True, False, False]
    assert kept[3] == [True, True, True, False]
    assert kept[4] == [True] * 4


def test_the_nucleus_is_that_of_transformers():
    from transformers import TopPLogitsWarper

    logits = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    for p in (0.3, 0.9):
        theirs = torch.isfinite(TopPLogitsWarper(p)(None, logits))
        assert torch.equal(torch.isfinite(nucleus(logits, p)), theirs)


def test_draws_have_the_frequencies_of_the_softmax():
    probabilities = torch.tensor([0.6, 0.3, 0.1])
    rows = 20_000
    scores = NucleusDraws(range(rows), 1.0)(None, probabilities.log().expand(rows, -1))
    frequencies = scores.argmax(-1).bincount(minlength=3) / rows
    assert (frequencies - probabilities).abs().max() < 0.015  # four standard deviations


def test_a_row_does_not_depend_on_the_others():
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    together = NucleusDraws([5, 6, 7], 0.9)(None, logits)
    assert torch.equal(NucleusDraws([6], 0.9)(None, logits[1:2])[0], together[1])


# Folders


def test_a_missing_folder_says_what_to_download(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"CAPTIONER_WEIGHTS=.*model\.safetensors.*Fix: download .*blip-image"):
        build_captioner("blip", str(tmp_path / "none"), Decoding())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json", "vocab.txt"])
def test_each_missing_file_is_named(folder, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f": {name} is missing"):
        build_captioner("blip", str(copy), Decoding())


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_damaged_weights_are_one_message(folder, tmp_path, damage):
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000] if damage == "cut" else b"not weights")
    with pytest.raises(ValueError, match="cannot be loaded.*Fix: download the files again"):
        build_captioner("blip", str(copy), Decoding())


def test_weights_that_lack_parameters_are_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, tmp_path / "copy")
    state = load_file(copy / "model.safetensors")
    del state["vision_model.post_layernorm.weight"]
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 parameters, such as vision_model.post_layernorm.weight"):
        build_captioner("blip", str(copy), Decoding())


def test_another_model_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**content, "model_type": "bert"}))
    with pytest.raises(ValueError, match="is a model of type 'bert'"):
        build_captioner("blip", str(copy), Decoding())


def test_a_missing_transformers_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'zsseg_d2\[blip\]'"):
        build_captioner("blip", str(folder), Decoding())


def test_an_unknown_captioner_is_named():
    with pytest.raises(ValueError, match="MODEL.AUTO_VOCABULARY.CAPTIONER='blipp'.*Did you mean blip"):
        build_captioner("blipp", "", Decoding())
