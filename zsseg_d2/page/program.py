"""The page as a program, behind ``tools/page.py``."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from detectron2.config import CfgNode

from ..engine.config.setup import setup_cfg
from ..engine.errors import USER_ERRORS, ConfigError, explanation
from ..engine.prediction import phrase_segmentation
from ..engine.prediction.auto_words import AUTO
from ..engine.prediction.embedded import DRAWN_STREETS, is_embedded
from ..engine.prediction.predictor import DEFAULT_CONFIG, Predictor
from ..engine.referring_task import is_referring
from ..folder_lock import FolderInUse, writing
from ..process import keep_freed_memory
from ..reading import MB, UnusableFile
from .auto_tab import AutoTab
from .phrase_tab import PhraseTab
from .storage import Storage
from .tabs import Tab
from .words_tab import WordsTab

_FOLDER = "zsseg_d2_page_"
_STARTING_SECONDS = 60  # a younger folder may not have its lock yet
_DRAWN_THINGS = (
    "The embedded model knows drawn scenes. For photographs, take model.safetensors of "
    "https://huggingface.co/CIDAS/clipseg-rd64-refined, and start the page with --tab phrase --config-file "
    "configs/phrasecut/clipseg_rd64.yaml MODEL.WEIGHTS model.safetensors "
    'MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS "" (docs/page.md).'
)


def run_page(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Args:
        args: as parsed by :mod:`zsseg_d2.cli.page`.

    Raises:
        ConfigError, CheckpointError: before anything is served.
        KeyboardInterrupt: the page is closed, and its files are removed.
    """
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    keep_freed_memory()
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("The page needs Gradio, which is not installed. Fix: pip install 'zsseg_d2[page]'")
    tabs = build_tabs(args)
    signal.signal(signal.SIGTERM, _end)
    remove_orphans(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_FOLDER, ignore_cleanup_errors=True) as name, writing(name, "the page"):
        folder = Path(name).resolve() / "files"
        folder.mkdir()
        _prepare_gradio(folder)
        from .site import launch  # imports Gradio, which reads the environment

        limit = round(args.max_upload * MB)
        site = launch(tabs, Storage(folder), host=args.host, port=args.port, upload_limit=limit)
        print(f"The page is at {site.local_url} (Ctrl-C ends it).", flush=True)
        try:
            while True:
                time.sleep(3600)
        finally:
            site.close(verbose=False)


def build_tabs(args: argparse.Namespace) -> list[Tab]:
    """Build the model of each tab that is asked for.

    ``--config-file`` and the options are of the tabs that its kind of model belongs to; the others have their embedded
    model. The tab that finds words needs a captioner; unless it is named, it is left out where that is missing.
    """
    given = args.config_file
    device = ["MODEL.DEVICE", args.device] if args.device else []
    options = [*args.opts, *device]
    own = ("phrase",) if given and is_referring(_config(given, options)) else ("words", "auto")
    wanted = args.tab or list(_TABS)
    if (given or args.opts) and not set(own) & set(wanted):
        raise ConfigError(f"--tab {' '.join(wanted)}: the config is of the tab {own[0]}. Fix: add --tab {own[0]}.")
    tabs = []
    for name in wanted:
        try:
            tabs.append(_TABS[name](given, options) if name in own else _TABS[name]([], device))
        except USER_ERRORS as error:
            if name != "auto" or args.tab:
                raise
            print(f"note: the tab without words is left out. {explanation(error)}", file=sys.stderr)
    return tabs


def _words_tab(given: Sequence[str], options: Sequence[str]) -> Tab:
    predictor, about = _predictor(tuple(given), tuple(options))
    return WordsTab(predictor, about)


def _auto_tab(given: Sequence[str], options: Sequence[str]) -> Tab:
    predictor, about = _predictor(tuple(given), tuple(options))
    return AutoTab(predictor.with_words(AUTO), about)


@lru_cache(maxsize=1)
def _predictor(given: tuple[str, ...], options: tuple[str, ...]) -> tuple[Predictor, str]:
    """Build the model that two tabs share, and say what it is."""
    predictor = Predictor(given or DEFAULT_CONFIG, options=options)
    embedded = is_embedded(given or DEFAULT_CONFIG, DEFAULT_CONFIG, options)
    return predictor, DRAWN_STREETS if embedded else _about(predictor.cfg)


def _phrase_tab(given: Sequence[str], options: Sequence[str]) -> Tab:
    default = phrase_segmentation.DEFAULT_CONFIG
    cfg = phrase_segmentation.segmentor_config(given or default, options)
    about = _DRAWN_THINGS if is_embedded(given or default, default, options) else _about(cfg)
    model = phrase_segmentation.build_segmentor(cfg)
    return PhraseTab(model, about, threshold=cfg.MODEL.REFERRING.THRESHOLD, max_pixels=cfg.INPUT.MAX_PIXELS)


_TABS: dict[str, Callable[[Sequence[str], Sequence[str]], Tab]] = {
    "words": _words_tab,
    "auto": _auto_tab,
    "phrase": _phrase_tab,
}


def _config(files: Sequence[str], options: Sequence[str]) -> CfgNode:
    return setup_cfg(argparse.Namespace(config_file=files, opts=options, eval_only=True))


def _about(cfg: CfgNode) -> str:
    """Name a model for visitors, without the folder of its weights."""
    return f"Model: {cfg.MODEL.META_ARCHITECTURE} with the weights `{Path(cfg.MODEL.WEIGHTS).name}`."


def remove_orphans(parent: Path) -> None:
    """Remove the folders of this user's pages that were killed (``kill -9``); those of running ones are locked."""
    for folder in parent.glob(f"{_FOLDER}*"):
        with suppress(OSError, FolderInUse, UnusableFile):
            status = folder.lstat()
            own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            if own and stat.S_ISDIR(status.st_mode) and time.time() - status.st_mtime > _STARTING_SECONDS:
                with writing(folder, "the page"):
                    shutil.rmtree(folder, ignore_errors=True)


def _end(number: int, frame: object) -> None:
    """End as after Ctrl-C, with the exit status that shells give to a signal."""
    raise SystemExit(128 + number)


def _prepare_gradio(folder: Path) -> None:
    """Tell Gradio where its files go; nothing else from its environment changes the page, and it reports nothing."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ.update(GRADIO_TEMP_DIR=str(folder), GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
