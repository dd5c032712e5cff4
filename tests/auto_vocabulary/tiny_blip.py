"""A BLIP with random weights, as a folder that transformers wrote."""

from __future__ import annotations

import json
from pathlib import Path

import torch

NOUNS = ("dog", "cat", "road", "tree", "sky", "house", "car", "boat")
SIZE, PATCH, CHANNELS = 64, 16, 48


def tiny_blip(folder: Path) -> Path:
    """Write config, weights, vocabulary and preprocessing of a BLIP of 2 layers."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    torch.manual_seed(0)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "on", "the", *NOUNS, "[DEC]"]
    layers = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "encoder_hidden_size": CHANNELS,
        "max_position_embeddings": 64,
        "bos_token_id": len(vocabulary) - 1,
        "sep_token_id": 3,
        "eos_token_id": 3,
        "pad_token_id": 0,
        "initializer_range": 0.5,
    }
    vision = {"hidden_size": CHANNELS, "image_size": SIZE, "patch_size": PATCH, "initializer_range": 0.2}
    model = BlipForConditionalGeneration(BlipConfig(text_config={**text, **layers}, vision_config={**vision, **layers}))
    with torch.no_grad():
        model.vision_model.embeddings.position_embedding.normal_(0, 0.5)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    means = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    (folder / "preprocessor_config.json").write_text(json.dumps(means))
    return folder
