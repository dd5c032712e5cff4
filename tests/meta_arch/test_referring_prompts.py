"""What a decoder of phrases is conditioned by: texts, which are remembered, images of what is meant, and mixtures."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import random_image
from tests.tiny_referring import logits_of, phrase_item
from zsseg_d2.meta_arch import referring

REF = "MODEL.REFERRING."


def test_texts_are_remembered_and_forgotten(build, monkeypatch):
    model = build()
    monkeypatch.setattr(referring, "_KEPT_TEXTS", 3)
    texts = ["a", "red car", "a", "sky", "two people", "bus on the left"]
    expected = model.backbone.embed_texts(texts)
    asked = []
    embed = model.backbone.embed_texts
    monkeypatch.setattr(model.backbone, "embed_texts", lambda t: asked.append(list(t)) or embed(t))
    assert torch.allclose(model._embed_texts(texts), expected, atol=1e-5)
    assert asked == [["a", "red car", "sky", "two people", "bus on the left"]] and len(model._texts) == 3
    kept = list(model._texts)
    assert torch.allclose(model._embed_texts(kept + ["a"]), expected[[texts.index(t) for t in kept] + [0]], atol=1e-5)
    assert asked[1:] == [["a"]] and len(model._texts) == 3
    assert not any("texts" in key for key in model.state_dict())


def shown(prompt: str, image: int | None, **more) -> dict:
    """An item whose image prompt is random; None: it has none, as the mapper says it."""
    pixels = torch.zeros(3, 32, 32, dtype=torch.uint8) if image is None else random_image(32, 32, image)
    return phrase_item(prompt, 1, visual_prompt=pixels, has_visual_prompt=image is not None, **more)


def embeddings(model, items) -> tuple[torch.Tensor, torch.Tensor]:
    """Of texts and image prompts, by CLIP itself."""
    clip = model.backbone.clip_model
    images = torch.stack([item["visual_prompt"] for item in items]).float()
    mean, std = model.pixel_mean, model.pixel_std
    texts = model.backbone.tokenizer([item["prompt"] for item in items])
    with torch.no_grad():
        return clip.encode_text(texts), clip.encode_image((images - mean) / std)


def test_conditions_at_test_time(build):
    items = [shown("red car", 5), shown("sky", 6)]
    for name, share in (("text", 1.0), ("image", 0.0), ("mixed", 0.3)):
        model = build(REF + "CONDITION", name, REF + "TEXT_SHARE", 0.3).eval()
        texts, images = embeddings(model, items)
        torch.testing.assert_close(model.conditions(items), share * texts + (1 - share) * images, rtol=0, atol=1e-5)
        assert (texts - images).abs().max() > 0.1
    assert torch.equal(model.conditions(items), model.conditions(items)), "nothing is drawn at test time"


def test_conditions_in_training(build):
    """Shares differ from item to item; where there is no image prompt, the text stands in for it."""
    items = [shown("red car", 5), shown("sky", None), shown("bus", 6)]
    model = build(REF + "CONDITION", "mixed").train()
    texts, images = embeddings(model, items)
    torch.manual_seed(0)
    shares = []
    for _ in range(30):
        found = model.conditions(items)
        torch.testing.assert_close(found[1], texts[1], rtol=0, atol=1e-5)
        for k in (0, 2):
            line = texts[k] - images[k]
            share = float((found[k] - images[k]) @ line / (line @ line))
            torch.testing.assert_close(found[k], share * texts[k] + (1 - share) * images[k], rtol=0, atol=1e-4)
            shares.append(share)
    assert len({round(s, 4) for s in shares}) > 50 and min(shares) < 0.2 and max(shares) > 0.8
    assert min(shares) >= -1e-4 and max(shares) <= 1 + 1e-4
    torch.testing.assert_close(model.conditions(items[1:2]), texts[1:2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", [True, False])
def test_a_phrase_without_an_image_prompt_keeps_its_text(build, mode):
    items = [shown("red car", 5), shown("sky", None), shown("bus", 6)]
    for condition, share in (("image", 0.0), ("mixed", 0.3)):
        if (condition, mode) == ("mixed", True):
            continue  # draws shares
        model = build(REF + "CONDITION", condition, REF + "TEXT_SHARE", 0.3).train(mode)
        texts, images = embeddings(model, items)
        expected = share * texts + (1 - share) * images
        expected[1] = texts[1]
        torch.testing.assert_close(model.conditions(items), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("condition", ["image", "mixed"])
def test_an_item_that_says_nothing_of_an_image_prompt(build, condition):
    model = build(REF + "CONDITION", condition).eval()
    for items in ([phrase_item("red car")], [shown("red car", 5), phrase_item("sky")]):
        with pytest.raises(ValueError, match=f"CONDITION is '{condition}', but an item has no 'visual_prompt'"):
            model(items)
    given = phrase_item("red car", 1, visual_prompt=random_image(32, 32, 5))  # a user need not say that there is one
    torch.testing.assert_close(logits_of(model, [given]), logits_of(model, [shown("red car", 5)]))
