"""Statistics of CLIP's image embeddings over a dataset, behind ``tools/feature_statistics.py``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from torch import Tensor
from tqdm import tqdm

from ..data.panoptic.mapper import PanopticMapper
from ..files import local_path
from ..meta_arch.interpolated import image_embeddings
from ..modeling.nearness import embedding_statistics
from .checkpoints.provenance import ENTRY, TrainingSet, derived, provenance_of, training_set
from .checkpoints.weights_files import check_output, write_weights
from .config.setup import setup_cfg
from .errors import ConfigError, did_you_mean
from .training.hooks import logs_above_bars, show_bars
from .training.loaders import evenly_spread, load_records
from .training.trainer import Trainer

logger = logging.getLogger(__name__)

NAME = "feature_statistics"


def write_statistics(args: argparse.Namespace) -> str:
    """Compute the statistics that the command line asks for, and write them as a whole.

    Args:
        args: ``config_file``, ``opts``, ``of``, ``output``, ``images``, ``overwrite``.

    Returns:
        One line for the user.

    Raises:
        ConfigError: there is no such dataset, or it has fewer than two images.
    """
    cfg = setup_cfg(args)  # registers the datasets of YAML files
    known = DatasetCatalog.list()
    if args.of not in known:
        raise ConfigError(f"--of {args.of}: there is no such dataset.{did_you_mean(args.of, known)}")
    output = check_output(args.output, overwrite=args.overwrite)
    records = evenly_spread(load_records([args.of]), args.images)
    if len(records) < 2:
        raise ConfigError(f"--of {args.of} --images {args.images}: two images or more have a covariance. Fix: more.")
    model: Any = Trainer.build_model(cfg).eval()
    with logs_above_bars():
        mean, covariance, count = embedding_statistics(embeddings_of(cfg, model, records))
    state = {"mean": mean.float(), "covariance": covariance.float()}
    entries = {ENTRY: _provenance(cfg, args.of), "clip": cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME, "images": count}
    return write_weights(output, state, metadata=entries)


@torch.no_grad()
def embeddings_of(cfg: CfgNode, model: Any, records: Sequence[dict]) -> Iterator[Tensor]:
    """Yield CLIP's embedding (1, E) of each image, resized and padded as at test time.

    Args:
        cfg: the config of the run.
        model: an FC-CLIP; only its CLIP counts.
        records: of the images.
    """
    mapper = PanopticMapper(cfg, training=False)
    for record in tqdm(records, desc="embedding", unit="image", dynamic_ncols=True, disable=not show_bars()):
        ((_, images),) = model.padded_batches([mapper(record)])
        with model.inference_precision():
            yield image_embeddings(model, model.clip_features(images)["clip_vis_dense"])


def _provenance(cfg: CfgNode, dataset: str) -> dict[str, Any]:
    """Name the dataset, of which no label is read, and CLIP's own weights where their origin is known."""
    seen = training_set(dataset)
    clip = cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS
    file = local_path(clip) if clip else Path()
    files = [file] if file.is_file() and provenance_of(file).step is not None else []
    return derived(NAME, files, datasets=[TrainingSet(seen.name, seen.classes)]).as_entry()
