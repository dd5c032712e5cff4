"""Training and evaluation as a program: from parsed arguments to results, behind ``tools/train_net.py``."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import detectron2
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from ..files import atomic_path
from ..folder_lock import writing
from .checkpoints.leaks import check_weights_saw_no_labels
from .checkpoints.resuming import checkpoint_to_resume, untag_checkpoints
from .checkpoints.sources import local_weights, weights_to_read
from .config.packaged import config_names
from .config.renamed import rename_keys
from .config.setup import setup_cfg
from .config.yaml_files import read_yaml
from .datasets import check_datasets_exist, present_name
from .errors import USER_ERRORS, ConfigError, one_line_errors
from .launch import launch
from .log_files import log_to
from .referring_task import is_referring
from .run_record import RunRecord, count_parameters, earlier_checkpoints, recorded_seed
from .training.hooks import Interrupted
from .training.trainer import Trainer, with_seed

logger = logging.getLogger(__name__)

__all__ = ["USER_ERRORS", "check_resumed", "prepare", "run", "run_process"]

_SAME_ON_RESUME = (
    "SEED",
    "SOLVER.IMS_PER_BATCH",
    "DATALOADER.ASPECT_RATIO_GROUPING",
    "DATASETS.TRAIN",
    "ZSSEG.TRAINING_VOCABULARY",
    "ZSSEG.DELETED_PIXELS",
    "MODEL.META_ARCHITECTURE",
    "MODEL.FC_CLIP.CLIP_MODEL_NAME",
    "ZSSEG.FUSION.NAME",
    "ZSSEG.FUSION.SCALE",
    "ZSSEG.FUSION.WEIGHT",
    "ZSSEG.FUSION.THRESHOLD",
    "ZSSEG.FUSION.TOP_K",
    "ZSSEG.FUSION.PAIRING",
    "ZSSEG.FUSION.DEEP_SUPERVISION",
    "ZSSEG.FUSION.MEAN_TEACHER",
    "ZSSEG.DISTILLATION",
    "ZSSEG.MEAN_TEACHER",
    "ZSSEG.FROZEN_QUERIES",
    "ZSSEG.ANCHOR",
    "ZSSEG.EWC",
    "ZSSEG.LOW_RANK",
    "ZSSEG.REPLAY",
    "MODEL.REFERRING.DECODER",
    "MODEL.REFERRING.CLIP_LAYERS",
    "MODEL.REFERRING.LOSS",
    "MODEL.REFERRING.CONDITION",
    "MODEL.REFERRING.UNET_SIMILARITY",
    "INPUT.PHRASE",
)
_SAME_WITH_MEAN_TEACHER = (
    "ZSSEG.PSEUDO_LABELS.MIN_AREA",
    "ZSSEG.PSEUDO_LABELS.MIN_VISIBLE",
)
_SAME_WITH_ENSEMBLED_TEACHER = (
    "ZSSEG.SEEN_CLASSES",
    "ZSSEG.PRETRAINING_VOCABULARY",
    "ZSSEG.VOID_RULE",
    "ZSSEG.VOID_SUPPRESSION",
    "MODEL.FC_CLIP.GEOMETRIC_ENSEMBLE_ALPHA",
    "MODEL.FC_CLIP.GEOMETRIC_ENSEMBLE_BETA",
)


def run(args: argparse.Namespace) -> dict | None:
    """Train or evaluate as the command line says, in as many processes as it asks for.

    Args:
        args: as parsed by :mod:`zsseg_d2.cli.train_net`, or by Detectron2's ``default_argument_parser``.

    Returns:
        The results of the evaluation, if this process did the work itself.

    Raises:
        SystemExit: 130 after Ctrl-C; a message for errors that the user can fix.
    """
    with one_line_errors(debug=getattr(args, "debug", False)):
        cfg = setup_cfg(args)
        with output_lock(cfg, args, "an evaluation" if args.eval_only else "a training"):
            return launch(run_process, args, cfg.MODEL.DEVICE, timeout=cfg.ZSSEG.PROCESS_TIMEOUT)


def output_lock(cfg: CfgNode, args: argparse.Namespace, program: str) -> AbstractContextManager[None]:
    """Return the lock of OUTPUT_DIR; of several machines, the first one has it.

    Raises:
        FolderInUse: another process writes OUTPUT_DIR.
    """
    return writing(cfg.OUTPUT_DIR, program) if args.machine_rank == 0 else nullcontext()


def run_process(args: argparse.Namespace) -> dict | None:
    """Do the work of one process, and return the results of the evaluation."""
    alone = comm.get_world_size() == 1  # then run() explains errors
    with one_line_errors(debug=alone or getattr(args, "debug", False)):
        cfg = prepare(setup_cfg(args), args)
        check_datasets_exist(cfg, training=not args.eval_only)
        for key, path in weights_to_read(cfg, eval_only=args.eval_only, resume=args.resume).items():
            local_weights(path, key, phrases=is_referring(cfg))  # what is missing is told before CLIP is fetched
        resumed = _checkpoint_to_resume(cfg) if args.resume else None
        check_weights_saw_no_labels(cfg, eval_only=args.eval_only, resumed=str(resumed or ""))
        record = RunRecord(
            cfg.OUTPUT_DIR,
            mode="eval" if args.eval_only else "train",
            seed=cfg.SEED,
            device=cfg.MODEL.DEVICE,
            config_files=config_names(args.config_file),
        )
        return _evaluate(cfg, args, record) if args.eval_only else _train(cfg, args, record)


def prepare(cfg: CfgNode, args: argparse.Namespace) -> CfgNode:
    """Set up the output folder, log files and the seed; of an evaluation, write the config.

    A training's ``config.yaml`` is written when it begins: it belongs to the checkpoints that are there.

    Returns:
        `cfg` with a SEED: its own, that of the resumed run, or a new one.

    Raises:
        ConfigError: see :func:`check_resumed`.
    """
    resumed = _checkpoint_to_resume(cfg) if args.resume else None
    seed = recorded_seed(cfg.OUTPUT_DIR) if args.resume and cfg.SEED < 0 else None
    if seed is None and resumed is not None and cfg.SEED < 0 and not args.eval_only:
        raise ConfigError(
            f"--resume: {cfg.OUTPUT_DIR} has no run.json, which holds the seed of the training. Fix: give the SEED "
            "that its log.txt names."
        )
    if seed is not None:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SEED = seed
        cfg.freeze()
    cfg = with_seed(cfg)
    output = Path(cfg.OUTPUT_DIR)
    trained = output / "config.yaml"
    if args.resume and not args.eval_only:
        check_resumed(cfg, trained)
    # The config of a training stays with its weights; an evaluation in the same folder writes its own.
    settings = output / "eval_config.yaml" if args.eval_only and trained.is_file() else trained
    comm.synchronize()
    if comm.is_main_process():
        output.mkdir(parents=True, exist_ok=True)
        if args.eval_only:
            _write_config(cfg, settings)
    comm.synchronize()
    log_to(output)
    logger.info(
        "zsseg_d2 with Detectron2 %s and torch %s on %s; %d process(es); seed %d; config %s; all settings in %s",
        detectron2.__version__,
        torch.__version__,
        cfg.MODEL.DEVICE,
        comm.get_world_size(),
        cfg.SEED,
        " ".join(config_names(args.config_file)) or "(defaults)",
        settings,
    )
    seed_all_rng(cfg.SEED)  # the same on every process: weights that are not loaded must agree
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not args.eval_only
    return cfg


def _write_config(cfg: CfgNode, path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(cfg.dump(), encoding="utf-8")


def _checkpoint_to_resume(cfg: CfgNode) -> Path | None:
    return checkpoint_to_resume(cfg.OUTPUT_DIR, earlier=earlier_checkpoints(cfg.OUTPUT_DIR))


def check_resumed(cfg: CfgNode, path: Path) -> None:
    """Refuse to resume with other labels or another model.

    Args:
        cfg: the config of the present run.
        path: the ``config.yaml`` of the run to resume; without it nothing is compared.

    Raises:
        ConfigError: naming the key, both values and the remedy.
    """
    if not path.is_file():
        return
    before = rename_keys(read_yaml(path))
    for key in (*_SAME_ON_RESUME, *_same_for_teacher(cfg)):
        old, new = _comparable(before, key), _comparable(cfg, key)
        if old is not None and old != new:
            raise ConfigError(
                f"--resume: {key} was {old} in {path}, and is {new} now. Fix: give the same config and KEY VALUE pairs "
                "as before, or another OUTPUT_DIR and the old checkpoint as MODEL.WEIGHTS."
            )


def _same_for_teacher(cfg: CfgNode) -> tuple[str, ...]:
    """Return the keys of predictions that a mean teacher makes targets of."""
    if not (cfg.MODEL.META_ARCHITECTURE == "MeanTeacherFCCLIP" or cfg.ZSSEG.FUSION.MEAN_TEACHER):
        return ()
    return _SAME_WITH_MEAN_TEACHER + (_SAME_WITH_ENSEMBLED_TEACHER if cfg.ZSSEG.MEAN_TEACHER.ENSEMBLE else ())


def _comparable(values: Mapping, key: str) -> Any:
    """Return the value of a key, tuples as lists and dataset names as they are now; None if it is missing."""
    found: Any = values
    for part in key.split("."):
        found = (found or {}).get(part)
    if key == "DATASETS.TRAIN" and found is not None:
        return [present_name(name) for name in found]
    return list(found) if isinstance(found, tuple) else found


def _evaluate(cfg: CfgNode, args: argparse.Namespace, record: RunRecord) -> dict | None:
    model = Trainer.build_model(cfg)
    record.content["parameters"] = count_parameters(model)
    Trainer.build_checkpointer(cfg, model, read_frozen_parts=False).resume_or_load(
        cfg.MODEL.WEIGHTS, resume=args.resume
    )
    results = None
    try:
        results = Trainer.final_test(cfg, model)
    finally:
        if comm.is_main_process():
            record.finish("failed" if results is None else "finished", metrics=results)
    return results


def _train(cfg: CfgNode, args: argparse.Namespace, record: RunRecord) -> dict | None:
    trainer = Trainer(cfg)
    record.content["parameters"] = count_parameters(trainer.model)
    trainer.resume_or_load(resume=args.resume)
    main = comm.is_main_process()
    if main:
        record.content["resumed_at"] = trainer.start_iter or None
        record.content["earlier_checkpoints"] = (
            earlier_checkpoints(cfg.OUTPUT_DIR) if args.resume else untag_checkpoints(cfg.OUTPUT_DIR)
        )
        _write_config(cfg, Path(cfg.OUTPUT_DIR) / "config.yaml")
        record.write()
    status, results, stopped = "failed", None, False
    try:
        results = trainer.train()
        status = "finished"
        return results
    except KeyboardInterrupt as stop:
        status, stopped = "interrupted", isinstance(stop, Interrupted)
        if main:
            after = f"after {trainer.iter + 1} iterations" if stopped else "at once"
            logger.info("Stopped %s. Resume from the last checkpoint with:\n  %s", after, _resume_command())
        raise SystemExit(130) from None
    finally:
        if main:
            saved = trainer.iter + stopped  # the iteration of any other ending was not finished
            record.finish(status, iterations=min(max(saved, trainer.start_iter), trainer.max_iter), metrics=results)


def _resume_command() -> str:
    program, *words = (word for word in sys.argv if word != "--resume")
    start = ["zsseg-d2", words.pop(0)] if Path(program).stem == "zsseg-d2" and words else ["python", program]
    return shlex.join([*start, "--resume", *words])
