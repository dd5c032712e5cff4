"""``transformers.CLIPSegForImageSegmentation`` is the oracle: its weights give its logits here."""

from __future__ import annotations

import json
from argparse import Namespace

import open_clip
import pytest
import torch
from detectron2.modeling import build_model

import zsseg_d2  # noqa: F401  (stands in for the compiled part of detectron2)
from tests.modeling.tiny_clips import VOCABULARY, tiny_vit, tokens
from zsseg_d2.engine.checkpoints.checkpointer import ZssegCheckpointer
from zsseg_d2.engine.config.setup import setup_cfg
from zsseg_d2.engine.errors import CheckpointError
from zsseg_d2.modeling.clip.vit import CLIPViT
from zsseg_d2.modeling.referring.clipseg_decoder import VARIANTS, CLIPSegDecoder
from zsseg_d2.modeling.referring.clipseg_weights import convert_transformers_clip, convert_transformers_state

LAYERS = (1, 2, 4)


def oracle(refined: bool, vision: dict, text: dict, **options):
    """Random weights of PyTorch's sizes in the decoder; norms and biases too are moved from where they start."""
    import transformers  # here: it takes seconds

    torch.manual_seed(0)
    config = transformers.CLIPSegConfig(
        vision_config=vision, text_config=text, use_complex_transposed_convolution=refined, **options
    )
    model = transformers.CLIPSegForImageSegmentation(config).eval()
    for module in model.decoder.modules():
        # transformers starts them at unit variance: logits of hundreds, in which float32 has no fourth decimal.
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.reset_parameters()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model


def small_oracle(refined: bool = True):
    vision = dict(hidden_size=32, intermediate_size=128, num_hidden_layers=5, num_attention_heads=4)
    vision |= dict(patch_size=8, image_size=32)
    text = dict(hidden_size=24, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2, vocab_size=VOCABULARY)
    text |= dict(max_position_embeddings=10, eos_token_id=VOCABULARY - 1, bos_token_id=1, pad_token_id=0)
    return oracle(refined, vision, text, projection_dim=16, extract_layers=list(LAYERS), reduce_dim=16)


def small_model(model, refined: bool = True) -> tuple[CLIPViT, CLIPSegDecoder]:
    clip = tiny_vit()
    clip.load_state_dict(convert_transformers_clip(model.state_dict()))
    kernels = (2, 2) if refined else (8,)
    decoder = CLIPSegDecoder(width=32, depth=3, dim=16, condition_dim=16, kernels=kernels).eval()
    decoder.load_state_dict(convert_transformers_state(model.state_dict()))
    return CLIPViT(clip, None, LAYERS), decoder


def compare(model, tower: CLIPViT, decoder: CLIPSegDecoder, images, texts) -> None:
    with torch.no_grad():
        # A causal text tower takes the embedding at the end of the text: what pads it does not matter.
        reference = model(input_ids=texts, pixel_values=images)
        condition = tower.embed_tokens(texts)
        actual = decoder(tower(images), condition, tower.grid(*images.shape[-2:]))
    assert torch.allclose(condition, reference.conditional_embeddings, atol=1e-4)
    assert actual.shape == reference.logits.shape and reference.logits.std() > 0.02
    difference = (actual - reference.logits).abs().max().item()
    assert difference < 1e-4


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("refined", [True, False])
def test_logits_of_a_small_model(refined, size):
    """At the tower's own size, and at one where position embeddings are resized."""
    model = small_oracle(refined)
    compare(model, *small_model(model, refined), torch.randn(3, 3, size, size), tokens())


def test_logits_of_an_image_prompt():
    model = small_oracle()
    tower, decoder = small_model(model)
    images, prompts = torch.randn(2, 3, 48, 48), torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        reference = model(pixel_values=images, conditional_pixel_values=prompts)
        condition = tower.embed_images(prompts)
        actual = decoder(tower(images), condition, (6, 6))
    assert torch.allclose(condition, reference.conditional_embeddings, atol=1e-4)
    difference = (actual - reference.logits).abs().max().item()
    assert difference < 1e-4


def test_training_mode_computes_the_same():
    """The attention that PyTorch takes for gradients is another one than without."""
    model = small_oracle()
    tower, decoder = small_model(model)
    images, texts = torch.randn(2, 3, 32, 32), tokens(count=2)
    decoder.train()
    actual = decoder(tower(images), tower.embed_tokens(texts), (4, 4))
    reference = model(input_ids=texts, pixel_values=images).logits
    difference = (actual - reference).abs().max().item()
    assert difference < 1e-4


def test_rd64_refined_at_full_size():
    text = dict(eos_token_id=49407, bos_token_id=49406)
    model = oracle(True, dict(patch_size=16), text, reduce_dim=64, extract_layers=[3, 6, 9])
    clip = open_clip.create_model(VARIANTS["rd64-refined"].clip, force_quick_gelu=True)
    clip.load_state_dict(convert_transformers_clip(model.state_dict()))
    decoder = CLIPSegDecoder.build("rd64-refined").eval()
    decoder.load_state_dict(convert_transformers_state(model.state_dict()))
    texts = torch.zeros(1, 77, dtype=torch.int64)
    texts[0, :4] = torch.tensor([49406, 320, 2368, 49407])
    tower = CLIPViT(clip, None, VARIANTS["rd64-refined"].layers)
    compare(model, tower, decoder, torch.randn(1, 3, 352, 352), texts)


def test_a_file_that_transformers_saved_runs_from_the_config(tmp_path):
    """Weights by MODEL.WEIGHTS, CLIP's among them; pixels and words go in as a user gives them."""
    vision = dict(hidden_size=32, intermediate_size=128, num_hidden_layers=11, num_attention_heads=4)
    vision |= dict(patch_size=16, image_size=48)
    text = dict(hidden_size=24, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2, vocab_size=2014)
    text |= dict(max_position_embeddings=48, eos_token_id=2013, bos_token_id=2012, pad_token_id=0)
    from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # of CLIPSeg's processor

    reference = oracle(True, vision, text, projection_dim=16, reduce_dim=64, decoder_intermediate_size=128)
    reference.save_pretrained(tmp_path / "released")
    (tmp_path / "clip.json").write_text(
        json.dumps(
            {
                "embed_dim": 16,
                "quick_gelu": True,
                "vision_cfg": {"image_size": 48, "layers": 11, "width": 32, "head_width": 8, "patch_size": 16},
                "text_cfg": {
                    "context_length": 48,
                    "vocab_size": 2014,
                    "width": 24,
                    "heads": 2,
                    "layers": 2,
                    "tokenizer_kwargs": {"bpe_path": "mini_bpe.txt.gz"},
                },
            }
        )
    )
    cfg = setup_cfg(
        Namespace(
            config_file="phrasecut/clipseg_rd64.yaml",
            eval_only=True,
            opts=[
                "MODEL.FC_CLIP.CLIP_MODEL_NAME",
                str(tmp_path / "clip.json"),
                "INPUT.PHRASE.SIZE",
                "96",
                "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS",
                "",
                "MODEL.REFERRING.FEEDFORWARD",
                "128",
                "MODEL.DEVICE",
                "cpu",
            ],
        )
    )
    model = build_model(cfg).eval()
    ZssegCheckpointer(model).load(str(tmp_path / "released" / "model.safetensors"))
    image = torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8)
    prompts = ["a red car.", "people on the left"]
    with torch.no_grad():
        logits = torch.stack([o["mask_logits"] for o in model([{"image": image, "prompt": p} for p in prompts])])
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
        pixels = ((image / 255 - mean) / std).expand(2, -1, -1, -1)
        expected = reference(input_ids=model.backbone.tokenizer(prompts), pixel_values=pixels).logits
    assert expected.std() > 0.02 and torch.allclose(logits, expected, atol=1e-4)


def test_another_state_is_refused():
    for convert in (convert_transformers_state, convert_transformers_clip):
        with pytest.raises(ValueError, match="not the state of transformers.CLIPSegForImageSegmentation"):
            convert({"visual.proj": torch.zeros(1)})


@pytest.mark.parametrize("lost", ["clip.", "decoder.layers.0.self_attn.k_proj.weight"])
def test_an_incomplete_file_is_told(tmp_path, lost):
    state = {k: v.clone() for k, v in small_oracle().state_dict().items() if not k.startswith(lost)}
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match="^MODEL.WEIGHTS: .*(CLIPSegForImageSegmentation|lacks k_proj)"):
        ZssegCheckpointer(torch.nn.Linear(2, 2)).load(str(tmp_path / "part.pth"))
