"""The rows of ``tools/benchmark.py``: what is timed, what it is compared with, and the targets."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ...data.class_deletion.configurations import CONFIGURATIONS
from ..config.packaged import config_root
from ..errors import ConfigError
from . import data_work, model_work

ZERO_SHOT, FINE_TUNING = "cityscapes/zero_shot.yaml", "cityscapes/full_finetune.yaml"
PLAIN = "plain form"
IMAGES = 24  # of the rows that delete classes
_FOLDER = Path(tempfile.gettempdir()) / "zsseg_d2_benchmark"
_BF16 = ("MODEL.PRECISION", "bfloat16")

Make = Callable[[argparse.Namespace], Callable[[], Any]]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        fast: makes the function to time from the arguments of the program.
        other: makes what it is compared with.
        against: what `other` is.
        target: in words; `met` judges it by the line's figures.
        met: whether the target is met.
        precision: of its matrix products. Default: it does not consist of them.
        relative: whether the target needs `other`.
        by_name: run only on request.
        images: images that a call processes, to report images a second.
    """

    fast: Callable[[argparse.Namespace], Any]
    other: Make | None = None
    against: str = ""
    target: str = ""
    met: Callable[[dict], bool] | None = None
    precision: torch.dtype | None = None
    relative: bool = False
    by_name: bool = False
    images: int = 0


def make_form(name: str, kind: str, args: argparse.Namespace) -> Callable[[], Any]:
    """Make the function of one form (``"fast"`` or ``"other"``) of a row, in the process that times it."""
    row = ROWS[name]
    make = row.fast if kind == "fast" else row.other
    assert make is not None
    return make(args)


def plain_module(name: str) -> ModuleType:
    """Import a module of ``tests/plain``, which is in the repository and not in the installed package.

    Raises:
        ConfigError: there is no repository around the package.
    """
    root = config_root().parent
    if not (root / "tests" / "plain").is_dir():
        raise ConfigError(
            "The plain forms are in tests/plain of the repository. Fix: run it there, or give --no-plain."
        )
    if str(root) not in sys.path:
        sys.path.append(str(root))
    return importlib.import_module(f"tests.plain.{name}")


def _plain(make: Make) -> Make:
    def made(args: argparse.Namespace) -> Callable[[], Any]:
        plain_forms = plain_module("model").plain_forms
        function = make(args)

        def run() -> Any:
            with plain_forms():
                return function()

        return run

    return made


def _inference(height: int, width: int, *options: str) -> Make:
    return lambda a: model_work.inference(a.config_file or ZERO_SHOT, (height, width), [*options, *a.opts], a.batch)


def _step(*options: str) -> Make:
    return lambda a: model_work.training_step(a.config_file or FINE_TUNING, (512, 512), 2, [*options, *a.opts])


def _sampling(height: int, width: int, backward: bool) -> Make:
    return lambda a: model_work.deformable_sampling((height, width), backward=backward, device=a.device)


def _text_rows(cached: bool) -> Make:
    return lambda a: model_work.text_rows(a.config_file or ZERO_SHOT, cached=cached, options=a.opts)


def _compiled(part: str) -> Row:
    def form(compiled: bool) -> Make:
        return lambda a: model_work.head_part(
            a.config_file or ZERO_SHOT, (512, 1024), part, compiled=compiled, options=a.opts
        )

    return Row(form(True), form(False), "eager", by_name=True)


def _counting(args: argparse.Namespace) -> Callable[[], Any]:
    folder, maps = tempfile.TemporaryDirectory(prefix="zsseg_d2_"), data_work.panoptic_maps()
    return lambda: plain_module("data").cityscapes_counts(Path(folder.name), *maps, 19)


def _deletion(configurations: tuple[str, ...], plain: bool = False) -> Make:
    def made(args: argparse.Namespace) -> Callable[[], Any]:
        root, folder = data_work.city_images(_FOLDER, IMAGES), tempfile.TemporaryDirectory(prefix="zsseg_d2_")
        fast = data_work.class_deletion(root, Path(folder.name), configurations)

        def run() -> None:
            with tempfile.TemporaryDirectory(dir=folder.name) as one:
                target = Path(one) / "copy"
                plain_module("data").delete_classes(root, "train", target, CONFIGURATIONS[configurations[0]])

        return run if plain else lambda: (fast(), folder)[0]  # the folder lives as long as the function

    return made


def _drawing(args: argparse.Namespace) -> Callable[[], Any]:
    mask, phrases = plain_module("data").polygon_mask, data_work.phrase_polygons(20_316)
    return lambda: sum(int(mask(*phrase).sum()) for phrase in phrases)


def _mapper(args: argparse.Namespace) -> Callable[[], Any]:
    return data_work.training_mapper(data_work.city_images(_FOLDER, IMAGES))


def _within(seconds: float) -> Callable[[dict], bool]:
    return lambda line: line["seconds"] <= seconds


def _inference_row(size: tuple[int, int], target: str, met: Callable[[dict], bool], *, bf16: bool = False) -> Row:
    if bf16:
        return Row(_inference(*size, *_BF16), _inference(*size), "float32", target, met, torch.bfloat16, images=1)
    return Row(_inference(*size), _plain(_inference(*size)), PLAIN, target, met, torch.float32, images=1)


FULL, HALF = (1024, 2048), (512, 1024)
ROWS: dict[str, Row] = {
    "inference-1024": _inference_row(FULL, "9 s, 3.5 GB", lambda r: r["seconds"] <= 9 and r["memory_gb"] <= 3.5),
    "inference-512": _inference_row(HALF, "2 s", _within(2)),
    "inference-1024-bf16": _inference_row(FULL, "5 s", _within(5), bf16=True),
    "inference-512-bf16": _inference_row(HALF, "1.2 s", _within(1.2), bf16=True),
    "text-rows": Row(_text_rows(True), _text_rows(False), "first start", "0.1 s", _within(0.1)),
    "deformable": Row(_sampling(*FULL, False), _plain(_sampling(*FULL, False)), PLAIN),
    "deformable-backward": Row(_sampling(512, 512, True), _plain(_sampling(512, 512, True)), PLAIN),
    "training-step": Row(
        _step(),
        _plain(_step()),
        PLAIN,
        "half, half the memory",
        lambda r: r["ratio"] <= 0.5 and r["memory_ratio"] <= 0.5,
        torch.float32,
        relative=True,
        images=2,
    ),
    "combined-step": Row(
        _step("MODEL.META_ARCHITECTURE", "CombinedFCCLIP"),
        _step(),
        "single model",
        "1.6 times",
        lambda r: r["ratio"] <= 1.6,
        torch.float32,
        relative=True,
        images=2,
    ),
    "evaluation": Row(
        lambda a: data_work.panoptic_evaluation(), _counting, "cityscapesscripts", "15 ms", _within(0.015)
    ),
    "deletion": Row(
        _deletion(("008",)),
        _deletion(("008",), plain=True),
        PLAIN,
        "8 images/s",
        lambda r: r["rate"] >= 8,
        images=IMAGES,
    ),
    "deletion-nine": Row(
        _deletion(tuple(CONFIGURATIONS)),
        _deletion(("008",)),
        "one configuration",
        "3 times",
        lambda r: r["ratio"] < 3,
        relative=True,
        images=IMAGES,
    ),
    "phrase-masks": Row(lambda a: data_work.phrase_masks(), _drawing, PLAIN, "30 s", _within(30)),
    "compiled-pixel-decoder": _compiled("pixel decoder"),
    "compiled-query-decoder": _compiled("query decoder"),
    "mapper": Row(_mapper, images=1),
}
