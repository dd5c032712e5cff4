"""A few drawn foregrounds and backgrounds with depth, and a config that trains on their composites in a second."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from PIL import Image

from zsseg_d2.engine.config.setup import setup_cfg

FOLDERS = ("foregrounds", "foreground_depth", "backgrounds", "background_depth")


def write_parts(root: Path) -> Path:
    """Write 7 discs of 24x20 pixels and 7 striped backgrounds of 40x44, with depth in millimetres."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:20, :24]
    for k in range(7):
        color = rng.integers(0, 256, 3)
        alpha = (np.hypot(y - 9.5, x - 11.5) < 6 + k / 3) * 255
        rgba = np.dstack([np.broadcast_to(color, (20, 24, 3)), alpha]).astype(np.uint8)
        Image.fromarray(rgba).save(root / "foregrounds" / f"disc_{k}.png")
        Image.fromarray(np.full((20, 24), 2000 + 300 * k, np.uint16)).save(root / "foreground_depth" / f"disc_{k}.png")
        scene = (rng.integers(0, 256, (1, 44, 3)) + rng.integers(0, 30, (40, 44, 3))).clip(0, 255).astype(np.uint8)
        metres = np.linspace(9000, 3000 + 100 * k, 40)[:, None].repeat(44, 1).astype(np.uint16)
        Image.fromarray(scene).save(root / "backgrounds" / f"scene_{k}.png")
        Image.fromarray(metres).save(root / "background_depth" / f"scene_{k}.png")
    return root


def options(root: Path, output: Path) -> list[str]:
    """Options of the config of a short training on the parts in `root`."""
    folders = {f"INPUT.COMPOSITES.{name.upper()}": root / name for name in FOLDERS}
    values = {
        **folders,
        "INPUT.COMPOSITES.SIZE": 32,
        "INPUT.COMPOSITES.TEST_IMAGES": 3,
        "MODEL.COMPOSITES.DEPTH_MAX": 10.0,
        "MODEL.DEVICE": "cpu",
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": 2,
        "SOLVER.WARMUP_ITERS": 0,
        "DATALOADER.NUM_WORKERS": 0,
        "SEED": 3,
        "OUTPUT_DIR": output,
    }
    return [str(word) for pair in values.items() for word in pair]


def config(name: str, root: Path, output: Path, *more) -> CfgNode:
    """The packaged config `composites/<name>.yaml` on the parts in `root`."""
    opts = [*options(root, output), *map(str, more)]
    return setup_cfg(argparse.Namespace(config_file=[f"composites/{name}.yaml"], opts=opts, eval_only=False))
