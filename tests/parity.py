"""Recorded tensors of the published FC-CLIP: small ones in ``tests/recordings``, full ones in $ZSSEG_D2_PARITY."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from torch import Tensor, nn

from zsseg_d2 import Vocabulary, add_zsseg_config

FOLDER = Path(__file__).resolve().parent / "recordings"
FULL = os.environ.get("ZSSEG_D2_PARITY")
needs_full = pytest.mark.skipif(not FULL, reason="compares with the full recordings too: set ZSSEG_D2_PARITY")
_TOKENS = "backbone.clip_model.token_embedding.weight"


@dataclass(frozen=True)
class Recording:
    """A model and what it computed.

    Attributes:
        meta: ``open_clip_config``, ``hyperparameters``, vocabularies and others (README of the recordings).
        state: parameters and buffers under FC-CLIP's names; a small recording lacks some.
        image: (3, 96, 160) uint8; noise if the recording has none.
        expected: tensors by name.
        parts: (dim, indices) of what a small recording keeps of some of them.
    """

    meta: dict
    state: dict[str, Tensor]
    image: Tensor
    expected: dict
    parts: dict[str, tuple[int, list[int]]] = field(default_factory=dict)

    @classmethod
    def from_full(cls, record: dict) -> Recording:
        words = ("open_clip_config", "hyperparameters", "train_vocabulary", "test_vocabulary", "thing_contiguous_ids")
        meta = {key: record[key] for key in words}
        meta["segments_info"] = record["expected"]["segments_info"]
        meta["parameters"] = {k: list(v.shape) for k, v in record["state_dict"].items()}
        meta["omitted"] = []
        return cls(meta, record["state_dict"], record["image"], record["expected"])

    @classmethod
    def from_small(cls, name: str) -> Recording:
        arrays = small_recording(name)
        meta = json.loads(bytes(arrays.pop("meta")))
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        state = {key.removeprefix("state/"): t for key, t in tensors.items() if key.startswith("state/")}
        if "half" in tensors:
            sizes = [int(np.prod(shape)) for shape in meta["half"].values()]
            half = torch.from_numpy(np.ascontiguousarray(arrays["half"].T).view(np.float16)[:, 0])
            state.update({k: t.view(s) for (k, s), t in zip(meta["half"].items(), half.split(sizes))})
        if _TOKENS in state:  # the rows of tokens that no prompt uses are 0
            rows = torch.zeros(meta["parameters"][_TOKENS], dtype=torch.float16)
            rows[meta["tokens"]] = state[_TOKENS]
            state[_TOKENS] = rows
        expected = {key.removeprefix("expected/"): t for key, t in tensors.items() if key.startswith("expected/")}
        return cls(meta, state, tensors.get("image", _noise()), expected, meta["parts"])

    def assert_close(self, name: str, actual: Tensor) -> None:
        """Compare with a recorded tensor, to 1e-4 of its largest magnitude."""
        expected = self[name].float()
        if name in self.parts:
            dim, indices = self.parts[name]
            actual = actual.index_select(dim, torch.tensor(indices))
        assert actual.shape == expected.shape
        assert (actual.float() - expected).abs().max() <= 1e-4 * expected.abs().max(), name

    def __getitem__(self, name: str) -> Tensor:
        """A recorded tensor; ``name.key`` if it is part of a list or dict."""
        if name in self.expected:
            return self.expected[name]
        name, _, key = name.rpartition(".")
        return self.expected[name][int(key) if key.isdigit() else key]


def _noise() -> Tensor:
    return torch.randint(0, 256, (3, 96, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def small_recording(name: str) -> dict[str, np.ndarray]:
    """Read the arrays of ``tests/recordings/NAME.npz``."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def full_recording(name: str) -> dict:
    """Read ``NAME`` in the folder of the full recordings."""
    return torch.load(Path(FULL or "") / name, weights_only=True)


def recorded(name: str) -> Recording:
    """Read "resnet" or "convnext" from this folder, "full resnet" or "full convnext" from $ZSSEG_D2_PARITY."""
    tower = name.rpartition(" ")[2]
    if name.startswith("full "):
        return Recording.from_full(full_recording(f"fcclip_{tower}_mini.pt"))
    return Recording.from_small(f"fcclip_{tower}_mini")


def build_recorded_model(record: Recording, folder: Path) -> nn.Module:
    """Build the recorded model; weights that the recording lacks are random by the seed 0.

    Args:
        folder: for the CLIP config and the vocabulary.
    """
    torch.manual_seed(0)
    model = build_model(parity_config(record, folder))
    state = {k: v.float() if v.is_floating_point() else v for k, v in record.state.items()}
    loaded = model.load_state_dict(state, strict=False)
    assert loaded.unexpected_keys == []
    if not record.state:  # away from the start, where samples lie on pixel centres and the slope jumps
        with torch.no_grad():
            for parameter in model.sem_seg_head.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    else:
        assert all(key.startswith(tuple(record.meta["omitted"])) for key in loaded.missing_keys)
    return model


def parity_config(record: Recording, folder: Path) -> CfgNode:
    """The config of a recorded model, its CLIP config and vocabularies written to ``folder``."""
    hyper = record.meta["hyperparameters"]
    clip = folder / f"{hyper['clip_model']}.json"
    clip.write_text(json.dumps(record.meta["open_clip_config"]))
    train = folder / "train.txt"
    train.write_text("\n".join(record.meta["train_vocabulary"]))
    name = f"parity_{hyper['clip_model']}"
    if name not in MetadataCatalog.list():
        MetadataCatalog.get(name).set(
            vocabulary=Vocabulary.from_strings(record.meta["test_vocabulary"]),
            thing_dataset_id_to_contiguous_id={i: i for i in record.meta["thing_contiguous_ids"]},
        )
    cfg = get_cfg()
    add_zsseg_config(cfg)
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "DATASETS.TRAIN", (), "DATASETS.TEST", (name,)),
            *("MODEL.SEM_SEG_HEAD.CONVS_DIM", hyper["conv_dim"], "MODEL.SEM_SEG_HEAD.MASK_DIM", hyper["mask_dim"]),
            *("MODEL.SEM_SEG_HEAD.NUM_CLASSES", len(record.meta["train_vocabulary"])),
            *("MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", hyper["encoder_layers"]),
            *("MODEL.MASK_FORMER.HIDDEN_DIM", hyper["hidden_dim"], "MODEL.MASK_FORMER.NHEADS", hyper["nheads"]),
            *("MODEL.MASK_FORMER.DIM_FEEDFORWARD", hyper["decoder_ffn"]),
            *("MODEL.MASK_FORMER.DEC_LAYERS", hyper["decoder_layers"] + 1),
            *("MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", hyper["queries"]),
            *("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", True, "MODEL.MASK_FORMER.TEST.INSTANCE_ON", True),
            *("MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", hyper["object_mask_threshold"]),
            *("MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", hyper["overlap_threshold"]),
            *("MODEL.FC_CLIP.CLIP_MODEL_NAME", str(clip), "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", ""),
            *("MODEL.FC_CLIP.EMBED_DIM", hyper["embed_dim"]),
            *("MODEL.FC_CLIP.GEOMETRIC_ENSEMBLE_ALPHA", hyper["alpha"]),
            *("MODEL.FC_CLIP.GEOMETRIC_ENSEMBLE_BETA", hyper["beta"]),
            *("MODEL.FC_CLIP.ENSEMBLE_ON_VALID_MASK", hyper["ensemble_on_valid_mask"]),
            *("TEST.DETECTIONS_PER_IMAGE", hyper["queries"]),  # as when the recording was made
            *("ZSSEG.PRETRAINING_VOCABULARY", str(train), "ZSSEG.TEXT_CACHE", ""),
        ]
    )
    return cfg
