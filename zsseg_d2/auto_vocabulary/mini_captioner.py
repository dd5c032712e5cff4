"""The embedded captioner: a small transformer decoder on the cells of a frozen CLIP ViT."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from ..files import local_path
from ..modeling.clip.vit import CLIPViT
from ..reading import UnusableFile, explain, printable
from ..tensor_files import read_tensors, write_tensors
from .cells import resize_image
from .nucleus import NucleusDraws
from .registry import CAPTIONER_REGISTRY, Decoding

START, END, PAD = "<start>", "<end>", "<pad>"
LONGEST = 20
"""Words of the longest caption, without start and end."""
LAYERS = (11,)
"""Blocks of the packaged ViT that the packaged captioner reads; earlier ones made it no better on other scenes."""
MEAN, STD = (122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)
"""CLIP's, of red, green and blue in [0, 255]."""


class CaptionDecoder(nn.Module):
    """Predict the next word of a caption from the words before it and a set of cells.

    A pre-norm transformer decoder (Vaswani et al. 2017, section 3.1; Xiong et al. 2020) whose output weights are the
    word embeddings. Each word reads the mean of the cells, and attends to each of them. Cells carry no position of
    their own, so that their order has no meaning.

    Args:
        words: the vocabulary of V words, with :data:`START`, :data:`END` and :data:`PAD`.
        cell_width: channels C of a cell.
        width: channels of the decoder.
        layers: of the decoder.
        heads: of its attention.
        dropout: in training.

    Raises:
        ValueError: a special word is missing.
    """

    cell_mean: Tensor
    cell_std: Tensor

    def __init__(
        self,
        words: Sequence[str],
        cell_width: int,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.words = tuple(words)
        self.index = {word: i for i, word in enumerate(self.words)}
        if len(self.index) != len(self.words) or not {START, END, PAD} <= set(self.words):
            raise ValueError(f"The words of a captioner must be distinct, with {START}, {END} and {PAD}.")
        self.cell_width = cell_width
        self.settings = {"width": width, "layers": layers, "heads": heads}
        self.register_buffer("cell_mean", torch.zeros(cell_width))
        self.register_buffer("cell_std", torch.ones(cell_width))
        self.cells = nn.Linear(cell_width, width)
        self.pooled = nn.Linear(cell_width, width)
        self.embed = nn.Embedding(len(self.words), width)
        self.positions = nn.Parameter(torch.zeros(LONGEST + 1, width))
        layer = nn.TransformerDecoderLayer(
            width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))
        nn.init.normal_(self.embed.weight, std=width**-0.5)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, tokens: Tensor, cells: Tensor, padding: Tensor | None = None) -> Tensor:
        """Compute the logits of the word after each word.

        Args:
            tokens: (B, L) int64, beginning with :data:`START`; L ≤ :data:`LONGEST` + 1.
            cells: (B, n, C), standardized.
            padding: (B, n) bool, True where there is no cell; at least one cell of each row is there.

        Returns:
            (B, L, V).
        """
        length = tokens.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        x = self.embed(tokens) + self.positions[:length] + self.pooled(_mean(cells, padding))[:, None]
        x = self.layers(x, self.cells(cells), tgt_mask=later, memory_key_padding_mask=padding, tgt_is_causal=False)
        return x @ self.embed.weight.T

    def standardize(self, cells: Tensor) -> Tensor:
        """Bring each channel (…, C) to mean 0 and deviation 1 over the cells of the training scenes."""
        return (cells - self.cell_mean) / self.cell_std

    def tokens(self, caption: str) -> list[int]:
        """Return the numbers of a caption's words, between those of start and end.

        Raises:
            KeyError: a word is unknown.
        """
        return [self.index[word] for word in (START, *caption.split(), END)]


def _mean(cells: Tensor, padding: Tensor | None) -> Tensor:
    """Return the mean (B, C) of cells (B, n, C) that are not padding (B, n)."""
    if padding is None:
        return cells.mean(1)
    there = (~padding).to(cells)[..., None]
    return (cells * there).sum(1) / there.sum(1)


class MiniCaptioner:
    """Captions of images like those of MiniWorld, in the words of its classes.

    Args:
        clip: a ViT whose last block is among its layers.
        decoder: reads the activations of those layers, one after the other.
        mean, std: of the three colors, in [0, 255], as CLIP was trained.
        decoding: how texts are drawn; a token is a word, and captions have at most :data:`LONGEST`. `min_tokens` and
            `no_repeat` are not read.

    Attributes:
        patch: side of a cell in pixels.
    """

    def __init__(
        self,
        clip: CLIPViT,
        decoder: CaptionDecoder,
        *,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        decoding: Decoding | None = None,
    ) -> None:
        self.clip, self.decoder, self.patch = clip, decoder.eval(), clip.patch
        self.mean, self.std = (torch.tensor(values, device=clip.device).view(3, 1, 1) for values in (mean, std))
        self.decoding = decoding or Decoding()

    @classmethod
    def load(cls, weights: str, decoding: Decoding, device: str = "cpu") -> MiniCaptioner:
        """Load a decoder for the packaged ViT.

        Args:
            weights: a file of ``tools/pretrain_mini_captioner.py``; "": the packaged one.
            decoding: how texts are drawn.
            device: such as ``"cpu"``.

        Raises:
            FileNotFoundError: there is no such file.
            UnusableFile: it is damaged, or does not fit the ViT.
        """
        clip = packaged_clip()
        decoder = load_decoder(weights or PACKAGED_WEIGHTS)
        if decoder.cell_width != clip.width * len(LAYERS):
            raise UnusableFile(
                f"{_KEY}={printable(weights)}: reads cells of {decoder.cell_width} channels, but there are "
                f"{clip.width * len(LAYERS)}. {_REMEDY}"
            )
        return cls(clip.to(device), decoder.to(device), decoding=decoding)

    @torch.no_grad()
    def encode(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Compute one embedding per cell; see :class:`zsseg_d2.auto_vocabulary.captioner.Captioner`."""
        pixels = resize_image(image, size)[None].to(self.clip.device)
        return self.decoder.standardize(clip_cells(self.clip, (pixels - self.mean) / self.std)[0])

    @torch.inference_mode()
    def caption(self, cells: Tensor, seeds: Sequence[int]) -> list[str]:
        """Describe some cells; see :class:`zsseg_d2.auto_vocabulary.captioner.Captioner`."""
        after: dict[tuple[int, ...], Tensor] = {}  # each beginning alone, so that other seeds change nothing
        return [self._draw(cells, seed, after) for seed in seeds]

    def _draw(self, cells: Tensor, seed: int, after: dict[tuple[int, ...], Tensor]) -> str:
        words, draw = self.decoder.words, NucleusDraws([seed], self.decoding.top_p)
        tokens: tuple[int, ...] = (self.decoder.index[START],)
        while len(tokens) <= min(self.decoding.max_tokens, LONGEST):
            row = torch.tensor([tokens], device=cells.device)
            if tokens not in after:
                after[tokens] = self.decoder(row, cells[None])[:, -1].cpu()
            token = int(draw(row, after[tokens]).argmax())
            if words[token] in (END, PAD):
                break
            tokens += (token,)
        return " ".join(words[token] for token in tokens[1:])


def clip_cells(clip: CLIPViT, images: Tensor) -> Tensor:
    """Compute the cells of a captioner: the activations of a ViT's layers, the last one after the final layer norm.

    Args:
        clip: the ViT.
        images: (B, 3, H, W) normalized; H and W multiples of the patch.

    Returns:
        (B, h, w, C), C the layers' channels one after the other; no class token.
    """
    h, w = clip.grid(*images.shape[-2:])
    *earlier, last = clip(images)
    last = clip.clip_model.visual.ln_post(last)
    return torch.cat([tokens[:, -h * w :].unflatten(1, (h, w)) for tokens in (*earlier, last)], -1)


PACKAGED_WEIGHTS = "zsseg_d2://weights/mini_captioner.safetensors"
PACKAGED_CLIP = "zsseg_d2://weights/mini_vit.safetensors"
_REMEDY = "Fix: name a file of tools/pretrain_mini_captioner.py, or leave it out."
_KEY = "MODEL.AUTO_VOCABULARY.CAPTIONER_WEIGHTS"


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of weights says of its decoder."""

    words: list[str]
    cell_width: int
    width: int
    layers: int
    heads: int


def packaged_clip() -> CLIPViT:
    """Load the packaged ViT."""
    return CLIPViT.build("mini_vit", str(local_path(PACKAGED_CLIP)), layers=LAYERS)


def save_decoder(path: str | os.PathLike, decoder: CaptionDecoder, metadata: Mapping[str, Any]) -> None:
    """Write a decoder in half precision, with its words.

    Args:
        path: a ``.safetensors`` file.
        decoder: to be written.
        metadata: further entries, of JSON's types.
    """
    description = {"words": list(decoder.words), "cell_width": decoder.cell_width, **decoder.settings}
    tensors = {name: value.detach().half().contiguous() for name, value in decoder.state_dict().items()}
    write_tensors(path, tensors, {"captioner": description, **metadata})


def load_decoder(path: str | os.PathLike) -> CaptionDecoder:
    """Read a decoder that :func:`save_decoder` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFile: it is damaged, or holds something else.
    """
    file = local_path(str(path))
    content = read_tensors(file)
    try:
        found = msgspec.convert(content.rest.get("captioner"), _Description)
    except msgspec.ValidationError as error:
        raise UnusableFile(f"{printable(file)}: holds no captioner ({' '.join(explain(error))}). {_REMEDY}") from None
    try:
        decoder = CaptionDecoder(
            found.words, found.cell_width, width=found.width, layers=found.layers, heads=found.heads
        )
        decoder.load_state_dict({name: value.float() for name, value in content.tensors.items()})
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UnusableFile(
            f"{printable(file)}: does not fit its captioner ({printable(str(error).splitlines()[0])}). {_REMEDY}"
        ) from None
    return decoder


@CAPTIONER_REGISTRY.register_as("mini")
def _mini(weights: str, decoding: Decoding, device: str) -> MiniCaptioner:
    return MiniCaptioner.load(weights, decoding, device)
