"""WiSE-FT as a program, behind ``tools/wise_ft.py``: weights between zero-shot and fine-tuned ones, evaluated."""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import Tensor, nn
from tqdm import tqdm

from ...evaluation.panoptic.alpha_curve import alpha_name, alpha_table, plot_alpha_curve
from ...evaluation.panoptic.report import write_json
from ...files import atomic_path, file_digest
from ...reading import MB, read_json
from ..config.packaged import config_names
from ..config.setup import setup_cfg
from ..errors import CheckpointError, ConfigError, one_line_errors
from ..evaluators import PANOPTIC, evaluator_type
from ..launch import launch
from ..run import output_lock, prepare
from ..run_record import RunRecord
from ..training.hooks import logs_above_bars, show_bars
from ..training.trainer import Trainer
from .loading import load_state
from .provenance import ENTRY, Provenance, derived
from .reading import read_checkpoint
from .weight_arithmetic import check_interpolable, interpolate
from .weights_files import SUFFIX, find_weights, write_weights

logger = logging.getLogger(__name__)

NAME = "wise_ft"  # of the files that are written
_SCORES = {"pq_all": "PQ", "pq_in": "PQ_in", "pq_out": "PQ_out", "harmonic_mean": "PQ_hm"}
_WITHOUT_EFFECT = ("OUTPUT_DIR", "SEED", "SOLVER", "DATALOADER", "VERSION")  # on an evaluation


@dataclass(frozen=True)
class Pair:
    """The two ends of the curve: weights, paths as the user gave them, digests of their files, and their origin."""

    states: tuple[dict[str, Tensor], dict[str, Tensor]]
    paths: tuple[str, str]
    digests: tuple[str, str]
    provenance: Provenance

    @classmethod
    def read(cls, zero_shot: str, fine_tuned: str) -> Pair:
        """Read two weights files.

        Raises:
            CheckpointError: a file is missing, damaged or of the wrong kind, or the two do not belong together.
        """
        states: list[dict[str, Tensor]] = []
        files = []
        for flag, path in (("--zero-shot", zero_shot), ("--fine-tuned", fine_tuned)):
            try:
                local = find_weights(path)
                states.append(read_checkpoint(str(local))["model"])
            except CheckpointError as error:
                raise CheckpointError(f"{flag}: {error}") from error
            files.append(local)
        digests = file_digest(files[0]), file_digest(files[1])
        pair = cls((states[0], states[1]), (zero_shot, fine_tuned), digests, derived(NAME, files))
        check_interpolable(*pair.states, sources=pair.sources)
        return pair

    @property
    def sources(self) -> tuple[str, str]:
        return f"--zero-shot '{self.paths[0]}'", f"--fine-tuned '{self.paths[1]}'"

    def at(self, alpha: float) -> dict[str, Tensor]:
        """Return the weights at α."""
        return interpolate(*self.states, alpha, sources=self.sources)


def run_wise_ft(args: argparse.Namespace) -> list[dict] | None:
    """Evaluate the weights at every α as the command line says, in as many processes as it asks for.

    Args:
        args: ``config_file``, ``opts``, ``zero_shot``, ``fine_tuned``, ``alphas``, ``save``, and what
            :func:`zsseg_d2.engine.launch.launch` reads.
    Returns:
        The points of the curve, where this process did the work itself.
    Raises:
        SystemExit: 130 after Ctrl-C, 1 with one message for whatever the user can mend.
    """
    with one_line_errors(debug=getattr(args, "debug", False)):
        cfg = settings(args)
        Pair.read(args.zero_shot, args.fine_tuned)  # errors in the files are reported before a folder is made
        with output_lock(cfg, args, "an evaluation of WiSE-FT"):
            return launch(wise_ft_process, args, cfg.MODEL.DEVICE, timeout=cfg.ZSSEG.PROCESS_TIMEOUT)


def settings(args: argparse.Namespace) -> CfgNode:
    """Return the config of the evaluations. OUTPUT_DIR is ``wise_ft`` in the config's own, unless `args` give it.

    Raises:
        ConfigError: see the message.
    """
    for alpha in (*args.alphas, *args.save):
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha={alpha:g}: it must be in [0, 1], from zero-shot to fine-tuned.")
    cfg = setup_cfg(args).clone()
    if len(cfg.DATASETS.TEST) != 1:
        raise ConfigError(f"DATASETS.TEST={tuple(cfg.DATASETS.TEST)}: the curve is of one dataset. Fix: name one")
    if evaluator_type(cfg, cfg.DATASETS.TEST[0]) != PANOPTIC or not cfg.MODEL.MASK_FORMER.TEST.PANOPTIC_ON:
        raise ConfigError(
            f"DATASETS.TEST={tuple(cfg.DATASETS.TEST)}: the curve is of panoptic quality. Fix: name a panoptic "
            "dataset, with MODEL.MASK_FORMER.TEST.PANOPTIC_ON True."
        )
    if "OUTPUT_DIR" not in args.opts[::2]:
        cfg.defrost()
        cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / NAME)
        cfg.freeze()
    return cfg


def wise_ft_process(args: argparse.Namespace) -> list[dict]:
    """Do the work of one process."""
    alone = comm.get_world_size() == 1  # then run_wise_ft() explains errors
    with one_line_errors(debug=alone or getattr(args, "debug", False)):
        cfg = settings(args)
        pair = Pair.read(args.zero_shot, args.fine_tuned)
        cfg = prepare(cfg, args)
        record = RunRecord(
            cfg.OUTPUT_DIR,
            mode="eval",
            seed=cfg.SEED,
            device=cfg.MODEL.DEVICE,
            config_files=config_names(args.config_file),
        )
        status, main = "failed", comm.is_main_process()
        if main:
            record.write()
        try:
            if main:
                for alpha in sorted(set(args.save)):
                    path = Path(cfg.OUTPUT_DIR) / f"{NAME}_{alpha_name(alpha)}{SUFFIX}"
                    metadata = {ENTRY: pair.provenance.as_entry()}
                    logger.info(write_weights(path, pair.at(alpha), metadata=metadata))
            points = evaluate_alphas(cfg, pair, args.alphas, config_file=" ".join(config_names(args.config_file)))
            status = "finished"
            return points
        except KeyboardInterrupt:
            status = "interrupted"
            if main:
                logger.info("Stopped. The same command resumes after the last finished alpha.")
            raise SystemExit(130) from None
        finally:
            if main:
                record.finish(status, metrics={})


def evaluate_alphas(cfg: CfgNode, pair: Pair, alphas: Sequence[float], *, config_file: str = "") -> list[dict]:
    """Evaluate the weights at every α on the test set, with one model; write the curve after each.

    ``wise_ft.json``, ``.md`` and ``.png`` are written to OUTPUT_DIR, and each evaluation's own files to ``alpha_<α>``
    below it. Existing points of the same files and config are kept, not computed again.

    Args:
        cfg: the config of the evaluation.
        pair: the two ends.
        alphas: in [0, 1].
        config_file: names of the config files, for the record.

    Returns:
        The points, in the order of α: see :mod:`zsseg_d2.evaluation.panoptic.alpha_curve`.
    """
    folder = Path(cfg.OUTPUT_DIR)
    about = {
        "dataset": cfg.DATASETS.TEST[0],
        "zero_shot": pair.paths[0],
        "fine_tuned": pair.paths[1],
        "config_file": config_file,
        "sha256": {"zero_shot": pair.digests[0], "fine_tuned": pair.digests[1], "config": _config_digest(cfg)},
    }
    points = comm.all_gather(finished_points(folder, about["sha256"]))[0]
    done = {point["alpha"] for point in points}
    missing = sorted(set(alphas) - done)
    if done:
        logger.info("%d of %d alphas are done already.", len(set(alphas) & done), len(set(alphas)))
    with logs_above_bars():
        model = Trainer.build_model(cfg) if missing else nn.Identity()
        for alpha in tqdm(missing, desc=NAME, unit="alpha", dynamic_ncols=True, disable=not show_bars()):
            logger.info("alpha %s", alpha_name(alpha))
            state = getattr(model, "complete_state", dict)(pair.at(alpha))
            load_state(model, state, strict=cfg.ZSSEG.STRICT_WEIGHTS)
            results = Trainer.test(_below(cfg, f"alpha_{alpha_name(alpha)}"), model)
            if comm.is_main_process():
                points = sorted([*points, _point(alpha, results["panoptic_seg"])], key=lambda point: point["alpha"])
                write_json(folder / f"{NAME}.json", {**about, "points": points})
    if points and comm.is_main_process():
        _write_report(folder, about, points)
    return points


def finished_points(folder: Path, digests: Mapping[str, str]) -> list[dict]:
    """Read the points in a folder's ``wise_ft.json``, if they are of the same files and config."""
    path = folder / f"{NAME}.json"
    try:
        content = read_json(path, dict[str, Any], limit=MB)
        same = content["sha256"] == digests
        points = [{"alpha": float(p["alpha"]), **{key: p[key] for key in _SCORES}} for p in content["points"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        logger.warning("%s cannot be read; starting again.", path)
        return []
    if not same:
        logger.warning("%s is of other weights or another config; starting again.", path)
    return points if same else []


def _write_report(folder: Path, about: Mapping, points: Sequence[Mapping]) -> None:
    table = alpha_table(points)
    text = (
        f"# WiSE-FT on {about['dataset']}\n\n"
        "θ = (1 − α)·θ_ZS + α·θ_FT over the trained parts; "
        f"α = 0: `{about['zero_shot']}`, α = 1: `{about['fine_tuned']}`.\n\n"
        f"{table}\n\n![PQ over α, and Out over In]({NAME}.png)\n"
    )
    with atomic_path(folder / f"{NAME}.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    title = f"WiSE-FT on {about['dataset']}: θ = (1 − α)·zero-shot + α·fine-tuned"
    plot_alpha_curve(folder / f"{NAME}.png", points, title=title)
    logger.info("WiSE-FT on %s (%s):\n%s", about["dataset"], folder, table)


def _point(alpha: float, scores: Mapping[str, float]) -> dict:
    values = {key: float(scores[name]) for key, name in _SCORES.items()}
    return {"alpha": float(alpha), **{key: None if math.isnan(v) else v for key, v in values.items()}}


def _below(cfg: CfgNode, folder: str) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / folder)
    cfg.freeze()
    return cfg


def _config_digest(cfg: CfgNode) -> str:
    """Hash all keys but those without effect on an evaluation."""
    cfg = cfg.clone()
    cfg.defrost()
    for key in _WITHOUT_EFFECT:
        cfg.pop(key, None)
    cfg.MODEL.pop("WEIGHTS", None)
    cfg.ZSSEG.pop("TOWER", None)
    return hashlib.sha256(cfg.dump().encode()).hexdigest()
