"""The loop that runs a model over a dataset and scores it."""

from __future__ import annotations

import logging

import torch
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from .training.hooks import logs_above_bars, show_bars

logger = logging.getLogger(__name__)


def evaluate(model: nn.Module, loader: DataLoader, evaluator: DatasetEvaluator, name: str) -> dict:
    """Run a model over a dataset; with a progress bar on a terminal, a log line every few seconds elsewhere.

    Args:
        model: gets lists of items, and returns a list of results.
        loader: batches of the dataset.
        evaluator: sees items and results.
        name: of the dataset, for the progress bar.

    Returns:
        The evaluator's results on the main process, an empty dict on the others.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    logger.info("Evaluating on %s: %d images per process, on %s", name, len(loader), device)
    progress = logging.getLogger("detectron2.evaluation.evaluator")
    level = progress.level
    with logs_above_bars():
        if show_bars():
            progress.setLevel(logging.WARNING)  # the bar replaces these lines
        try:
            bar = tqdm(loader, desc=name, unit="image", dynamic_ncols=True, disable=not show_bars())
            return inference_on_dataset(model, bar, evaluator) or {}
        finally:
            progress.setLevel(level)
