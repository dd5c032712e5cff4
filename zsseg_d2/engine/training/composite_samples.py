"""Visualize how mask and depth of a few fixed composites change in training: a strip of images, and a GIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from PIL import Image

from ...data.composites.depth import METRIC
from ...data.panoptic.png import write_png
from ...evaluation.referring.phrase_visualization import paint_mask, panel, save_image, sheet
from ..composite_task import test_samples
from .samples import MOST_COLUMNS, MOST_FRAMES, spread

_WIDTH = 150  # pixels of a panel


class CompositeVisualizer(HookBase):
    """Predict the same few test composites every ZSSEG.SAMPLES.PERIOD iterations, before the first and after the last.

    ``OUTPUT_DIR/samples`` receives ``<image_id>/<iteration>.png`` (probabilities, white is 1; of nets with depth, below
    them the depth as a share of MODEL.COMPOSITES.DEPTH_MAX), ``strip.png`` and ``samples.gif``. A resumed training
    continues with the existing files.

    Args:
        cfg: the config of the run.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self._cfg = cfg
        self._folder = Path(cfg.OUTPUT_DIR) / "samples"
        self._items: list[dict] = []

    def before_train(self) -> None:
        if not comm.is_main_process() or not self._cfg.DATASETS.TEST:
            return
        records, mapper = test_samples(self._cfg, self._cfg.DATASETS.TEST[0])
        count = min(self._cfg.ZSSEG.SAMPLES.COUNT, len(records))
        self._items = [mapper(records[k * len(records) // count]) for k in range(count)]
        for path in self._folder.glob("*/*.png"):  # of an earlier training, or of iterations that were lost
            if path.stem.isdigit() and int(path.stem) >= self.trainer.iter:
                path.unlink()
        self._predict(self.trainer.iter)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._items and (done % self._cfg.ZSSEG.SAMPLES.PERIOD == 0 or done == self.trainer.max_iter):
            self._predict(done)

    def _predict(self, iteration: int) -> None:
        model = getattr(self.trainer.model, "module", self.trainer.model)
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                results = model(self._items)
        finally:
            model.train(training)
        for item, result in zip(self._items, results):
            maps = [result["mask_logits"].sigmoid()]
            if "depth" in result:
                maps.append(result["depth"] / model.depth_max)
            pixels = np.rint(255 * torch.cat(maps).cpu().numpy()).astype(np.uint8)
            folder = self._folder / str(item["image_id"])
            folder.mkdir(parents=True, exist_ok=True)
            write_png(folder / f"{iteration:07d}.png", pixels)
        self._draw()

    def _draw(self) -> None:
        iterations = sorted({int(p.stem) for p in self._folder.glob("*/*.png") if p.stem.isdigit()})
        truths = [self._truth(item) for item in self._items]

        def row(k: int, chosen: list[int]) -> list[Image.Image]:
            return [*truths[k], *(self._predicted(self._items[k], i) for i in chosen)]

        numbers = range(len(self._items))
        save_image(sheet([row(k, spread(iterations, MOST_COLUMNS)) for k in numbers]), self._folder / "strip.png")
        frames = [sheet([row(k, [i]) for k in numbers]) for i in spread(iterations, MOST_FRAMES)]
        times = [500] * (len(frames) - 1) + [2500]
        options = {"save_all": True, "append_images": frames[1:], "loop": 0}
        options["duration"] = times if len(frames) > 1 else 2500
        save_image(frames[0], self._folder / "samples.gif", **options)

    def _truth(self, item: dict) -> list[Image.Image]:
        image, background = (item[key].permute(1, 2, 0).numpy() for key in ("image", "background"))
        return [
            panel(background, "background", _WIDTH),
            self._pair(image, item["mask"].numpy(), self._shares(item), "truth", self._depth_caption(item)),
        ]

    def _shares(self, item: dict) -> np.ndarray | None:
        return item["depth"].numpy() / self._cfg.MODEL.COMPOSITES.DEPTH_MAX if "depth" in item else None

    def _depth_caption(self, item: dict) -> str:
        if item["depth_kind"] == METRIC:
            return f"depth, 0 to {self._cfg.MODEL.COMPOSITES.DEPTH_MAX:g} m, near is dark"
        return "relative depth, near is dark"

    def _predicted(self, item: dict, iteration: int) -> Image.Image:
        path = self._folder / str(item["image_id"]) / f"{iteration:07d}.png"
        image = item["image"].permute(1, 2, 0).numpy()
        if not path.is_file():
            return panel(image, "–", _WIDTH)
        shares, height = np.asarray(Image.open(path)) / 255, image.shape[0]
        depth = shares[height:] if len(shares) > height else None
        return self._pair(image, shares[:height] > self._cfg.MODEL.COMPOSITES.THRESHOLD, depth, f"{iteration}")

    @staticmethod
    def _pair(
        image: np.ndarray, mask: np.ndarray, depth: np.ndarray | None, caption: str, depth_caption: str = "depth"
    ) -> Image.Image:
        """Draw a mask, and below it the depth."""
        painted = panel(paint_mask(image, mask), caption, _WIDTH)
        if depth is None:
            return painted
        grey = np.rint(255 * depth.clip(0, 1)).astype(np.uint8)[..., None].repeat(3, 2)
        return sheet([[painted], [panel(grey, depth_caption, _WIDTH)]])
