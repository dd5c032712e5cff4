"""Text rows of a vocabulary: each computed once by CLIP's text tower, name by name, and kept with the model."""

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

VOCABULARIES = 8
"""Vocabularies whose rows are kept together; those of others are put together again from the rows of their names."""

NAMES = 16_384
"""Names whose rows are kept in memory."""

_MANY = 40  # names for which a progress bar is shown


class RowStore(Protocol):
    """Keeps text rows from one run to the next; :class:`zsseg_d2.text_cache.TextCache` keeps them on disk.

    A key stands for one name, so that the rows of a name serve all vocabularies.
    """

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


def compute_text_row(embed_texts: Callable[[list[str]], Tensor], name: str) -> Tensor:
    """Compute the row of a name: the mean over templates of normalised embeddings, normalised again.

    The prompts of a name are embedded together and without others, because matrix products round differently for other
    numbers of rows. So a name has the same row in every vocabulary.

    Args:
        embed_texts: strings to (len, E) L2-normalised embeddings.
        name: a synonym.

    Returns:
        (1, E) L2-normalised.
    """
    embedded = embed_texts([template.format(name) for template in PROMPT_TEMPLATES])
    return F.normalize(embedded.mean(0, keepdim=True), dim=-1)


class TextClassifier(nn.Module):
    """Text rows by vocabulary, as buffers: they follow ``.to()``, and stay float32 outside autocast.

    Rows are computed and stored name by name: another vocabulary costs only the names that are new. Memory is bounded:
    the rows of the latest :data:`VOCABULARIES` vocabularies and :data:`NAMES` names are kept.

    Args:
        store: keeps rows from one run to the next; None: they are computed in each run.
    """

    def __init__(self, store: RowStore | None = None) -> None:
        super().__init__()
        self.store = store
        self._fingerprint: str | None = None
        self._names: dict[str, Tensor] = {}  # (1, E), least recently used first

    def forward(self, vocabulary: Vocabulary, clip: TextEncoder) -> Tensor:
        """Return the (T, E) rows of a vocabulary, from memory, the store or CLIP's text tower."""
        name = "rows_" + hashlib.sha256(repr(vocabulary.rows).encode()).hexdigest()[:16]
        if name in self._buffers:
            self._buffers[name] = self._buffers.pop(name)
        else:
            with torch.inference_mode(False):  # rows outlive an evaluation and must serve training too
                rows = self._rows_of(vocabulary.rows, clip)
            self.register_buffer(name, rows.to(clip.clip_model.logit_scale.device), persistent=False)
            for old in list(self._buffers)[:-VOCABULARIES]:
                delattr(self, old)
        return self.get_buffer(name)

    def _rows_of(self, names: Sequence[str], clip: TextEncoder) -> Tensor:
        distinct = dict.fromkeys(names)
        found = {name: self._names.pop(name) for name in distinct if name in self._names}
        found |= self._load_or_compute([name for name in distinct if name not in found], clip)
        self._names |= found
        for old in list(self._names)[:-NAMES]:
            del self._names[old]
        return torch.cat([found[name] for name in names])

    def _load_or_compute(self, names: list[str], clip: TextEncoder) -> dict[str, Tensor]:
        warn_of_cut_texts(clip.tokenizer, names, PROMPT_TEMPLATES)
        keys = dict(zip(names, self._keys(names, clip))) if self.store and names else {}
        rows: dict[str, Tensor] = {}
        if self.store is not None:
            loaded = {name: self.store.get(key, (1, clip.embed_dim)) for name, key in keys.items()}
            rows = {name: row for name, row in loaded.items() if row is not None}
        missing = [name for name in names if name not in rows]
        bar = tqdm(missing, desc="text rows", unit="name", disable=True if len(missing) < _MANY else None, leave=False)
        for name in bar:
            rows[name] = compute_text_row(clip.embed_texts, name).cpu()
            if self.store is not None:
                self.store.put(keys[name], rows[name])
        return rows

    def _keys(self, names: list[str], clip: TextEncoder) -> list[str]:
        """Hash all that each row depends on: the text tower, the templates, the name and how it is tokenised."""
        if self._fingerprint is None:
            self._fingerprint = text_tower_fingerprint(clip.clip_model)
        return [
            hashlib.sha256(repr((self._fingerprint, PROMPT_TEMPLATES, name, tokens)).encode()).hexdigest()[:40]
            for name, tokens in zip(names, clip.tokenizer(names).tolist())
        ]
