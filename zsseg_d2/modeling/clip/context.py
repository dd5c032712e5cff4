"""Texts that are longer than CLIP reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from torch import Tensor

Tokenizer = Callable[[list[str]], Tensor]
"""Strings to (len, context) int64 tokens."""

logger = logging.getLogger(__name__)


def warn_of_cut_texts(tokenizer: Any, texts: Iterable[str], templates: Iterable[str] = ("{}",)) -> None:
    """Warn once of each text of which CLIP's tokenizer drops the end.

    Args:
        tokenizer: open_clip's; another kind, without ``encode`` and ``context_length``, is trusted.
        texts: what the user wrote.
        templates: CLIP reads each text in each of these.
    """
    encode, context = getattr(tokenizer, "encode", None), getattr(tokenizer, "context_length", None)
    if encode is None or context is None:
        return
    templates = tuple(templates)
    for text in texts:
        # No token is shorter than a byte.
        if len(text.encode()) + max(map(len, templates)) <= context - 2:
            continue
        length = max(len(encode(template.format(text))) for template in templates)
        if length > context - 2:
            _warn(text, length, context - 2)


def read_alike(tokenizer: Tokenizer | None, texts: Sequence[str]) -> tuple[str, str] | None:
    """Return the first two different texts of which CLIP reads the same, None if there are none.

    Args:
        tokenizer: of that CLIP; without one nothing is known.
        texts: with their prompts.
    """
    if tokenizer is None:
        return None
    found: dict[tuple[int, ...], str] = {}
    for text, row in zip(texts, tokenizer(list(texts)).tolist()):
        other = found.setdefault(tuple(row), text)
        if other != text:
            return other, text
    return None


@lru_cache(maxsize=2**16)
def _warn(text: str, length: int, limit: int) -> None:
    logger.warning(
        "CLIP reads the first %d of the %d tokens of the text %r (with its prompt). Fix: shorten it.",
        limit,
        length,
        text,
    )
