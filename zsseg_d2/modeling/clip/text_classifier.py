"""Text rows of a vocabulary: computed once by CLIP's text tower, cached on disk, kept beside the weights."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from ...files import atomic_path
from ...vocabulary import PROMPT_TEMPLATES, Vocabulary

logger = logging.getLogger(__name__)
_CHUNK = 256  # prompts a pass: bounds memory of the text tower


def text_cache_folder(setting: str) -> Path | None:
    """The folder that ``ZSSEG.TEXT_CACHE`` names: "auto", "" (None: no cache) or a path."""
    if not setting:
        return None
    if setting != "auto":
        return Path(setting).expanduser()
    return Path(os.environ.get("ZSSEG_D2_CACHE") or Path.home() / ".cache" / "zsseg_d2").expanduser() / "text_rows"


def text_tower_fingerprint(clip_model: nn.Module) -> str:
    """A hash of the text tower: its layers (activations too), every parameter's shape, and up to 4096 of its values.

    Sampling keeps this to milliseconds; training changes every value of a tower, so the sample sees it.
    """
    digest = hashlib.sha256(repr([child for child in clip_model.named_children() if child[0] != "visual"]).encode())
    for name, parameter in sorted(clip_model.named_parameters()):
        if not name.startswith("visual.") and name != "logit_scale":
            flat = parameter.detach().flatten()
            sample = flat[:: max(1, flat.numel() // 4096)].float().cpu().contiguous()
            digest.update(f"{name}{tuple(parameter.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()


def compute_text_rows(embed_texts: Callable[[list[str]], Tensor], rows: tuple[str, ...]) -> Tensor:
    """(T, E) one L2-normalised row a synonym: the mean over templates of normalised embeddings, normalised again.

    Args:
        embed_texts: strings to (len, E) L2-normalised embeddings.
        rows: (T,) synonyms.
    """
    prompts = [template.format(row) for row in rows for template in PROMPT_TEMPLATES]
    starts = range(0, len(prompts), _CHUNK)
    bar = tqdm(starts, desc="text rows", unit="chunk", disable=len(starts) < 3, leave=False)
    embedded = torch.cat([embed_texts(prompts[start : start + _CHUNK]) for start in bar])
    return F.normalize(embedded.unflatten(0, (len(rows), -1)).mean(1), dim=-1)


class TextClassifier(nn.Module):
    """Text rows by vocabulary. They are buffers, so they follow ``.to()``, and stay float32 outside autocast."""

    def __init__(self, cache: Path | None = None) -> None:
        super().__init__()
        self.cache = cache
        self._fingerprint: str | None = None

    def forward(self, vocabulary: Vocabulary, clip: nn.Module) -> Tensor:
        """(T, E) rows of ``vocabulary``, from memory, disk or CLIP's text tower.

        Args:
            clip: has ``clip_model`` and ``tokenizer`` (for the key), and ``embed_texts``.
        """
        name = "rows_" + hashlib.sha256(repr(vocabulary.rows).encode()).hexdigest()[:16]
        if name not in self._buffers:
            with torch.inference_mode(False):  # rows outlive an evaluation and must serve training too
                rows = self._load_or_compute(vocabulary, clip)
            self.register_buffer(name, rows.to(clip.clip_model.logit_scale.device), persistent=False)
        return self._buffers[name]

    def _load_or_compute(self, vocabulary: Vocabulary, clip: nn.Module) -> Tensor:
        if self.cache is None:
            return compute_text_rows(clip.embed_texts, vocabulary.rows)
        if self._fingerprint is None:
            self._fingerprint = text_tower_fingerprint(clip.clip_model)
        tokens = clip.tokenizer(list(vocabulary.rows)).tolist()
        key = hashlib.sha256(repr((self._fingerprint, PROMPT_TEMPLATES, vocabulary.rows, tokens)).encode()).hexdigest()
        path = self.cache / f"{key[:40]}.safetensors"
        shape = (len(vocabulary.rows), clip.embed_dim)
        try:
            rows = load_file(path)["rows"]
            if tuple(rows.shape) == shape and bool(torch.isfinite(rows).all()):
                return rows
            logger.warning("Cached text rows '%s' do not fit and are made again.", path)
        except FileNotFoundError:
            pass
        except (SafetensorError, KeyError, OSError) as error:
            logger.warning("Cached text rows '%s' cannot be read (%s) and are made again.", path, error)
        rows = compute_text_rows(clip.embed_texts, vocabulary.rows).cpu()
        self._store(path, rows)
        return rows

    @staticmethod
    def _store(path: Path, rows: Tensor) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as beside:  # concurrent writers and readers never meet half a file
                beside.write_bytes(save({"rows": rows.contiguous()}))
        except OSError as error:
            logger.warning("Text rows were not cached in '%s': %s", path.parent, error)
