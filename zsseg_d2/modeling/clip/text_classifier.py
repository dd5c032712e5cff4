"""Text rows of a vocabulary: computed once by CLIP's text tower and kept with the model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ...vocabulary import PROMPT_TEMPLATES, Vocabulary
from .context import warn_of_cut_texts

_CHUNK = 256  # prompts per pass: bounds the memory of the text tower


class RowStore(Protocol):
    """Keeps text rows from one run to the next; :class:`zsseg_d2.text_cache.TextCache` keeps them on disk."""

    def get(self, key: str, shape: tuple[int, int]) -> Tensor | None:
        """Return the rows of a key if there are any and they have this shape, else None."""

    def put(self, key: str, rows: Tensor) -> None:
        """Keep the rows of a key; a failure is not an error."""


class TextEncoder(Protocol):
    """What :class:`TextClassifier` needs of a CLIP: text embeddings, and what identifies them."""

    clip_model: Any
    embed_dim: int
    tokenizer: Any

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as (len(texts), E) L2-normalised float32."""


def text_tower_fingerprint(clip_model: nn.Module) -> str:
    """Hash a text tower: its layers, including activations, and every parameter's shape and up to 4096 of its values.

    Sampling keeps this to milliseconds. Training changes every value of a tower, so the sample changes too.
    """
    digest = hashlib.sha256(repr([child for child in clip_model.named_children() if child[0] != "visual"]).encode())
    for name, parameter in sorted(clip_model.named_parameters()):
        if not name.startswith("visual.") and name != "logit_scale":
            flat = parameter.detach().flatten()
            sample = flat[:: max(1, flat.numel() // 4096)].float().cpu().contiguous()
            digest.update(f"{name}{tuple(parameter.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()


def compute_text_rows(embed_texts: Callable[[list[str]], Tensor], rows: tuple[str, ...]) -> Tensor:
    """Compute one row per synonym: the mean over templates of normalised embeddings, normalised again.

    Args:
        embed_texts: strings to (len, E) L2-normalised embeddings.
        rows: (T,) synonyms.

    Returns:
        (T, E) L2-normalised.
    """
    prompts = [template.format(row) for row in rows for template in PROMPT_TEMPLATES]
    starts = range(0, len(prompts), _CHUNK)
    bar = tqdm(starts, desc="text rows", unit="chunk", disable=len(starts) < 3, leave=False)
    embedded = torch.cat([embed_texts(prompts[start : start + _CHUNK]) for start in bar])
    return F.normalize(embedded.unflatten(0, (len(rows), -1)).mean(1), dim=-1)


class TextClassifier(nn.Module):
    """Text rows by vocabulary, as buffers: they follow ``.to()``, and stay float32 outside autocast.

    Args:
        store: keeps rows from one run to the next; None: they are computed in each run.
    """

    def __init__(self, store: RowStore | None = None) -> None:
        super().__init__()
        self.store = store
        self._fingerprint: str | None = None

    def forward(self, vocabulary: Vocabulary, clip: TextEncoder) -> Tensor:
        """Return the (T, E) rows of a vocabulary, from memory, the store or CLIP's text tower."""
        name = "rows_" + hashlib.sha256(repr(vocabulary.rows).encode()).hexdigest()[:16]
        if name not in self._buffers:
            with torch.inference_mode(False):  # rows outlive an evaluation and must serve training too
                rows = self._load_or_compute(vocabulary, clip)
            self.register_buffer(name, rows.to(clip.clip_model.logit_scale.device), persistent=False)
        return self.get_buffer(name)

    def _load_or_compute(self, vocabulary: Vocabulary, clip: TextEncoder) -> Tensor:
        warn_of_cut_texts(clip.tokenizer, vocabulary.rows, PROMPT_TEMPLATES)
        if self.store is None:
            return compute_text_rows(clip.embed_texts, vocabulary.rows)
        key = self._key(vocabulary, clip)
        rows = self.store.get(key, (len(vocabulary.rows), clip.embed_dim))
        if rows is None:
            rows = compute_text_rows(clip.embed_texts, vocabulary.rows).cpu()
            self.store.put(key, rows)
        return rows

    def _key(self, vocabulary: Vocabulary, clip: TextEncoder) -> str:
        """Hash all that rows depend on: the text tower, the templates, the synonyms and how they are tokenised."""
        if self._fingerprint is None:
            self._fingerprint = text_tower_fingerprint(clip.clip_model)
        tokens = clip.tokenizer(list(vocabulary.rows)).tolist()
        content = repr((self._fingerprint, PROMPT_TEMPLATES, vocabulary.rows, tokens))
        return hashlib.sha256(content.encode()).hexdigest()[:40]
