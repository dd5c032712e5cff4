"""The smoothness analysis of a dataset: numbers, a plot and a conclusion. The program behind the command."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import scipy
from tqdm import tqdm

from ...data.errors import DatasetError
from ...data.images.reading import ImageRules
from ..panoptic.report import write_json
from .object_maps import object_maps
from .pixel_pairs import PixelPairs, draw_pairs
from .plot import plot_comparison
from .statistics import compare_pairs, explain, format_comparison


def run_smoothness(
    dataset_name: str,
    folder: Path,
    *,
    images: int = 200,
    pairs: int = 500,
    seed: int = 0,
    things_only: bool = False,
    rules: ImageRules | None = None,
) -> str:
    """Write ``smoothness.json`` and ``smoothness.png`` and return the text to print.

    Args:
        dataset_name: a registered dataset, see :func:`.object_maps.object_maps`.
        folder: where to write.
        images: maximum number of images.
        pairs: pairs per population and image.
        seed: of the pairs and the bootstrap; the same seed gives the same numbers.
        things_only: ignore stuff.
        rules: limits of images, and what their EXIF orientation means; None: the defaults.

    Raises:
        DatasetError: a file is missing or damaged, or no image has two objects.
    """
    from ... import __version__

    drawn: dict[str, list[PixelPairs]] = {"matched": [], "unmatched": []}
    skipped = 0
    maps = object_maps(dataset_name, images, things_only=things_only, rules=rules)
    bar = tqdm(maps, desc=dataset_name, unit="image", disable=not sys.stderr.isatty())
    for number, (grey, objects) in enumerate(bar):
        for version, found in drawn.items():
            rng = np.random.default_rng([seed, number, version == "matched"])
            image = draw_pairs(grey, objects, pairs, rng, matched=version == "matched")
            if image is not None and len(image.within):
                found.append(image)
        skipped += image is None
    if not all(drawn.values()):
        raise DatasetError(f"No image of '{dataset_name}' has two objects to draw pairs from.")
    results = {version: compare_pairs(found, seed=seed) for version, found in drawn.items()}
    text = explain(results)
    write_json(
        folder / "smoothness.json",
        {
            "dataset": dataset_name,
            "images": len(drawn["unmatched"]),
            "images_without_pairs": skipped,
            "pairs_per_image": pairs,
            "seed": seed,
            "things_only": things_only,
            **results,
            "conclusion": text,
            "versions": {"zsseg_d2": __version__, "numpy": np.__version__, "scipy": scipy.__version__},
        },
    )
    plot_comparison(folder / "smoothness.png", drawn, f"Grey levels within and across the objects of {dataset_name}")
    return f"{format_comparison(results)}\n\n{text}\n\n{folder / 'smoothness.png'}"
