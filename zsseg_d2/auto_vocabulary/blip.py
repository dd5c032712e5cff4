"""BLIP (Li et al. 2022) as a captioner, through transformers, from a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from ..reading import printable, read_json
from .cells import resize_image
from .nucleus import NucleusDraws
from .registry import CAPTIONER_REGISTRY, Decoding

WEIGHTS, CONFIG, IMAGES, VOCABULARY = "model.safetensors", "config.json", "preprocessor_config.json", "vocab.txt"

_KEY = "MODEL.AUTO_VOCABULARY.CAPTIONER_WEIGHTS"
_RELEASED = "https://huggingface.co/Salesforce/blip-image-captioning-base"


class _Images(msgspec.Struct):
    """What is read of ``preprocessor_config.json``."""

    image_mean: list[float]
    image_std: list[float]


class BlipCaptioner:
    """A :class:`~zsseg_d2.auto_vocabulary.captioner.Captioner` over ``BlipForConditionalGeneration``.

    Args:
        model: in eval mode.
        tokenizer: of the text decoder.
        decoding: how texts are drawn.
        mean, std: (3,) of the pixels, of values in [0, 1].
    """

    def __init__(
        self, model: Any, tokenizer: Any, decoding: Decoding, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.model, self.tokenizer, self.decoding = model, tokenizer, decoding
        self.patch: int = model.config.vision_config.patch_size
        self._mean = torch.tensor(mean, device=model.device).view(3, 1, 1)
        self._std = torch.tensor(std, device=model.device).view(3, 1, 1)

    @classmethod
    def load(cls, folder: str, decoding: Decoding, device: str = "cpu") -> BlipCaptioner:
        """Load a folder as ``save_pretrained`` writes it; the network is not used.

        Args:
            folder: holds ``config.json``, ``model.safetensors``, ``preprocessor_config.json`` and ``vocab.txt``.
            decoding: how texts are drawn.
            device: such as ``"cpu"``.

        Raises:
            FileNotFoundError: the folder or a file is missing; the message says what to download.
            ValueError: transformers is not installed, or the folder holds another model.
        """
        path = Path(folder).expanduser()
        missing = [name for name in (CONFIG, WEIGHTS, IMAGES, VOCABULARY) if not (path / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{_KEY}={printable(folder)}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. "
                f"Fix: download {CONFIG}, {WEIGHTS}, {IMAGES} and {VOCABULARY} of BLIP ({_RELEASED}, or …-large) into "
                f"this folder, or name another: {_KEY} /path/to/folder."
            )
        images = read_json(path / IMAGES, _Images, remedy="download it again")
        try:
            from transformers import BertTokenizerFast, BlipForConditionalGeneration
        except ImportError as error:
            raise ValueError(
                "MODEL.AUTO_VOCABULARY.CAPTIONER=blip: transformers is not installed. "
                "Fix: pip install 'zsseg_d2[blip]', or MODEL.AUTO_VOCABULARY.CAPTIONER mini."
            ) from error
        kind = read_json(path / CONFIG, dict[str, Any], remedy="download it again").get("model_type")
        if kind != "blip":
            raise ValueError(f"{_KEY}={printable(folder)}: is a model of type '{kind}', not 'blip'. Fix: name a BLIP.")
        try:
            model, told = BlipForConditionalGeneration.from_pretrained(
                path, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            tokenizer = BertTokenizerFast.from_pretrained(path, local_files_only=True)
        except Exception as error:  # of many types, one for each way in which a file can be damaged
            raise ValueError(
                f"{_KEY}={printable(folder)}: cannot be loaded ({type(error).__name__}: "
                f"{printable(str(error).splitlines()[0][:200] if str(error) else 'no details')}). "
                "Fix: download the files again."
            ) from error
        absent = [name for name in told["missing_keys"] if "position_ids" not in name]
        if absent:
            raise ValueError(
                f"{_KEY}={printable(folder)}: {WEIGHTS} lacks {len(absent)} parameters, such as {sorted(absent)[0]}. "
                "Fix: download it again."
            )
        return cls(model.float().eval().to(device), tokenizer, decoding, images.image_mean, images.image_std)

    @torch.no_grad()
    def encode(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """See :meth:`zsseg_d2.auto_vocabulary.captioner.Captioner.encode`."""
        pixels = (resize_image(image, size).to(self._mean.device) / 255 - self._mean) / self._std
        tokens = self.model.vision_model(pixels[None], interpolate_pos_encoding=True).last_hidden_state[0]
        h, w = size[0] // self.patch, size[1] // self.patch
        return tokens[1:].unflatten(0, (h, w))  # the first token is no cell

    @torch.no_grad()
    def caption(self, cells: Tensor, seeds: Sequence[int]) -> list[str]:
        """See :meth:`zsseg_d2.auto_vocabulary.captioner.Captioner.caption`.

        All texts are about the same cells, so that nothing is padded: BLIP's cross-attention ignores a mask of its
        encoder states in current transformers.
        """
        text, decoding = self.model.config.text_config, self.decoding
        start = torch.full((len(seeds), 1), text.bos_token_id, device=cells.device)
        found = self.model.text_decoder.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            encoder_hidden_states=cells.expand(len(seeds), -1, -1),
            eos_token_id=text.sep_token_id,
            pad_token_id=text.pad_token_id,
            do_sample=False,
            num_beams=1,
            min_new_tokens=decoding.min_tokens,
            max_new_tokens=decoding.max_tokens,
            no_repeat_ngram_size=decoding.no_repeat,
            logits_processor=[NucleusDraws(seeds, decoding.top_p)],
        )
        return [text.strip() for text in self.tokenizer.batch_decode(found[:, 1:], skip_special_tokens=True)]


@CAPTIONER_REGISTRY.register_as("blip")
def _blip(weights: str, decoding: Decoding, device: str) -> BlipCaptioner:
    return BlipCaptioner.load(weights, decoding, device)
