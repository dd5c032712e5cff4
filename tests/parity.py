"""Access to the recorded tensors of the published FC-CLIP, which lie beside the checkout and not in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog

from zsseg_d2 import Vocabulary, add_zsseg_config

FOLDER = Path(os.environ.get("ZSSEG_D2_PARITY", Path(__file__).resolve().parents[2] / "shared" / "parity"))


def recorded(name: str) -> dict:
    """The content of one file; the test is skipped where the recordings are not at hand."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"recorded tensors not found: {path} (set ZSSEG_D2_PARITY to their folder)")
    return torch.load(path, weights_only=True)


def parity_config(record: dict, folder: Path) -> CfgNode:
    """The config of a recorded model, its CLIP config and vocabularies written to ``folder``."""
    hyper = record["hyperparameters"]
    clip = folder / f"{hyper['clip_model']}.json"
    clip.write_text(json.dumps(record["open_clip_config"]))
    train = folder / "train.txt"
    train.write_text("\n".join(record["train_vocabulary"]))
    name = f"parity_{hyper['clip_model']}"
    if name not in MetadataCatalog.list():
        MetadataCatalog.get(name).set(
            vocabulary=Vocabulary.from_strings(record["test_vocabulary"]),
            thing_dataset_id_to_contiguous_id={i: i for i in record["thing_contiguous_ids"]},
        )
    cfg = get_cfg()
    add_zsseg_config(cfg)
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "DATASETS.TRAIN", (), "DATASETS.TEST", (name,)),
            *("MODEL.SEM_SEG_HEAD.CONVS_DIM", hyper["conv_dim"], "MODEL.SEM_SEG_HEAD.MASK_DIM", hyper["mask_dim"]),
            *("MODEL.SEM_SEG_HEAD.NUM_CLASSES", len(record["train_vocabulary"])),
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
            *("TEST.DETECTIONS_PER_IMAGE", hyper["queries"]),  # what the recording was made with
            *("ZSSEG.PRETRAINING_VOCABULARY", str(train), "ZSSEG.TEXT_CACHE", ""),
        ]
    )
    return cfg


def parity_state(record: dict) -> dict[str, torch.Tensor]:
    """The recorded parameters, as float32."""
    return {k: v.float() if v.is_floating_point() else v for k, v in record["state_dict"].items()}
