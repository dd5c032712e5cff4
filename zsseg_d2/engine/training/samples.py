"""Visualize how the predictions of a few fixed samples change in training: masks, a strip of images, and a GIF."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from PIL import Image
from torch import nn

from ...data.images.reading import ImageRules
from ...data.panoptic.png import write_png
from ...data.phrasecut.phrase_mapper import read_task
from ...evaluation.referring.phrase_visualization import paint_mask, panel, save_image, sheet
from ..referring_task import tasks_of, test_samples
from .loaders import load_records

logger = logging.getLogger(__name__)

_WIDTH = 150  # pixels of a panel
MOST_COLUMNS, MOST_FRAMES = 8, 40  # of the strip and of the GIF


class SampleVisualizer(HookBase):
    """Predict the same few test tasks every ZSSEG.SAMPLES.PERIOD iterations, before the first and after the last one.

    ``OUTPUT_DIR/samples`` receives ``<task_id>/<iteration>.png`` (probabilities, white is 1), ``strip.png`` and
    ``samples.gif``. A resumed training continues with the existing files.

    Args:
        cfg: the config of the run.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self._cfg = cfg
        self._folder = Path(cfg.OUTPUT_DIR) / "samples"
        self._items: list[dict] = []
        self._records: list[dict] = []

    def before_train(self) -> None:
        if not comm.is_main_process():
            return
        records = tasks_of(load_records(self._cfg.DATASETS.TEST[:1]))
        self._records = choose_samples(records, self._cfg.ZSSEG.SAMPLES.COUNT)
        images, mapper = test_samples(self._cfg, records)  # of all tasks: image prompts show other ones
        chosen = {record["image_id"] for record in self._records}
        by_task = {item["task_id"]: item for image in images if image["image_id"] in chosen for item in mapper(image)}
        self._items = [by_task[record["task_id"]] for record in self._records]
        for path in self._folder.glob("*/*.png"):  # of an earlier training, or of iterations that were lost
            if path.stem.isdigit() and int(path.stem) >= self.trainer.iter:
                path.unlink()
        self._predict(self.trainer.iter)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._items and (done % self._cfg.ZSSEG.SAMPLES.PERIOD == 0 or done == self.trainer.max_iter):
            self._predict(done)

    def _predict(self, iteration: int) -> None:
        for record, mask in zip(self._records, probabilities(self.trainer.model, self._items)):
            folder = self._folder / record["task_id"]
            folder.mkdir(parents=True, exist_ok=True)
            write_png(folder / f"{iteration:07d}.png", np.rint(255 * mask).astype(np.uint8))
        rules = ImageRules.from_config(self._cfg)
        draw_samples(self._records, self._folder, self._cfg.MODEL.REFERRING.THRESHOLD, rules)


def choose_samples(records: Sequence[dict], count: int) -> list[dict]:
    """Choose tasks evenly spread over a dataset, each of another image if there are enough."""
    first = list({record["image_id"]: record for record in reversed(records)}.values())[::-1]
    pool = first if len(first) >= count else list(records)
    count = min(count, len(pool))
    return [pool[k * len(pool) // count] for k in range(count)]


@torch.no_grad()
def probabilities(model: nn.Module, items: Sequence[Mapping]) -> list[np.ndarray]:
    """Return (H, W) float32 in [0, 1] for each item; the model's mode is restored afterwards."""
    model = getattr(model, "module", model)
    training = model.training
    model.eval()
    try:
        return [output["mask_logits"].sigmoid().cpu().numpy() for output in model(items)]
    finally:
        model.train(training)


def draw_samples(records: Sequence[dict], folder: Path, threshold: float, rules: ImageRules | None = None) -> None:
    """Write ``strip.png`` and ``samples.gif`` from the probabilities in a folder.

    Args:
        records: of the tasks, in the order of the rows.
        folder: with ``<task_id>/<iteration>.png``.
        threshold: probability above which a pixel belongs to the mask.
        rules: limits of images, and what their EXIF orientation means; None: the defaults.
    """
    iterations = sorted({int(path.stem) for path in folder.glob("*/*.png") if path.stem.isdigit()})
    if not iterations:
        return
    tasks = [read_task(record, rules) for record in records]

    def predicted(row: int, iteration: int) -> Image.Image:
        path = folder / records[row]["task_id"] / f"{iteration:07d}.png"
        image = tasks[row][0]
        if not path.is_file():
            return panel(image, "–", _WIDTH)
        return panel(paint_mask(image, np.asarray(Image.open(path)) > 255 * threshold), f"{iteration}", _WIDTH)

    def truth(row: int) -> list[Image.Image]:
        return [panel(paint_mask(tasks[row][0], tasks[row][1], (45, 170, 95)), records[row]["phrase"], _WIDTH)]

    rows = [truth(k) + [predicted(k, i) for i in spread(iterations, MOST_COLUMNS)] for k in range(len(records))]
    save_image(sheet(rows), folder / "strip.png")
    frames = [
        sheet([[*truth(k), predicted(k, i)] for k in range(len(records))]) for i in spread(iterations, MOST_FRAMES)
    ]
    times = [500] * (len(frames) - 1) + [2500]
    options = {"save_all": True, "append_images": frames[1:], "duration": times if len(frames) > 1 else 2500, "loop": 0}
    save_image(frames[0], folder / "samples.gif", **options)


def spread(iterations: Sequence[int], most: int) -> list[int]:
    """Choose at most `most` iterations, evenly spread, including the first and the last."""
    places = np.linspace(0, len(iterations) - 1, min(len(iterations), most)).round().astype(int)
    return [iterations[k] for k in places]
