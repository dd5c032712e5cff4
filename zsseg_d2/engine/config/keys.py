"""Every config key: what it accepts, which module reads it, and the keys that nothing reads."""

from __future__ import annotations

import logging
from typing import NamedTuple

from detectron2.config import CfgNode, get_cfg

from ...config import add_zsseg_config
from ...data.images.opening import LARGEST_MAX_PIXELS
from ..errors import ConfigError
from .kinds import AnyOf, Anything, Flag, Kind, Listed, Number, Text
from .references import leaves

logger = logging.getLogger(__name__)


class Key(NamedTuple):
    """A key that something reads."""

    kind: Kind
    reader: str  # file of zsseg_d2, "detectron2", or "configs": config files that refer to it
    training: bool = False  # read in training only, so that evaluation does not check it


SHARE = Number(0, 1)
WEIGHT = Number(0, 1e6)
POSITIVE = Number(0, 1e6, above_low=True)
SIZE = Number(1, 65536, whole=True)  # pixels
WIDTH = Number(1, 65536, whole=True)  # channels
FEW = Number(1, 256, whole=True)  # heads, layers, points
ITERATIONS = Number(0, 10**9, whole=True)
COUNT = Number(0, 10**6, whole=True)
FLAG, TEXT, NAME = Flag(), Text(), Text(named=True)
NAMES = Listed(NAME, what="names")
CHOICE = Anything()  # one of validation.CHOICES, or of a registry
_COLOR = Number(-1e6, 1e6)

_FCCLIP, _REFERRING, _FUSION = "meta_arch/fcclip.py", "meta_arch/referring.py", "meta_arch/combined.py"
_SCORES, _RESULTS = "modeling/fcclip/ensemble.py", "meta_arch/results.py"
_MASKS_AND_DEPTHS, _PLATEAU = "meta_arch/mask_depth_unet.py", "engine/training/plateau.py"
_DISTILLED, _MERGED, _CLASSES = "meta_arch/distilled.py", "meta_arch/naive_intersection.py", "class_sets.py"
_MEAN_TEACHER, _INTERPOLATED = "meta_arch/mean_teacher.py", "meta_arch/interpolated.py"
_HEAD, _PIXELS = "modeling/fcclip/head.py", "modeling/fcclip/pixel_decoder.py"
_QUERIES, _CLIP = "modeling/fcclip/query_decoder.py", "modeling/clip/backbone.py"
_CLIPSEG, _UNET = "modeling/referring/clipseg_decoder.py", "modeling/referring/unet_decoder.py"
_IMAGES, _MAPPER = "data/panoptic/augmentations.py", "data/panoptic/mapper.py"
_SOLVER, _LOADERS, _TRAINER = "engine/training/solver.py", "engine/training/loaders.py", "engine/training/trainer.py"
_SAMPLES, _PHRASES, _EVALUATORS = "engine/training/samples.py", "engine/referring_task.py", "engine/evaluators.py"
_AUTO = "auto_vocabulary/settings.py"
_LABELS, _RUN, _CHECKS = "engine/pseudo_labeling/labeling.py", "engine/run.py", "engine/config/validation.py"
_COMPOSITES, _CANVAS = "engine/composite_task.py", "data/composites/settings.py"
_DISTURBANCE, _PAIRS = "data/composites/disturbance.py", "data/composites/augmentation.py"

KEYS: dict[str, Key] = {
    "MODEL.DEVICE": Key(NAME, _RUN),
    "MODEL.META_ARCHITECTURE": Key(CHOICE, _CHECKS),
    "MODEL.WEIGHTS": Key(TEXT, "engine/checkpoints/sources.py"),
    "MODEL.PIXEL_MEAN": Key(Listed(_COLOR, 3, 3, "numbers"), _FCCLIP),
    "MODEL.PIXEL_STD": Key(Listed(POSITIVE, 3, 3, "positive numbers"), _FCCLIP),
    "MODEL.BACKBONE.NAME": Key(CHOICE, "detectron2"),
    "MODEL.PRECISION": Key(CHOICE, "meta_arch/base.py"),
    "MODEL.SEM_SEG_HEAD.NAME": Key(CHOICE, "detectron2"),
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": Key(Number(0, 65536, whole=True), _CLASSES),
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": Key(WIDTH, _PIXELS),
    "MODEL.SEM_SEG_HEAD.MASK_DIM": Key(WIDTH, _PIXELS),
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": Key(Number(0, 256, whole=True), _PIXELS),
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_DIM_FEEDFORWARD": Key(WIDTH, _PIXELS),
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": Key(CHOICE, _HEAD),
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS": Key(FEW, _PIXELS),
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": Key(FEW, _PIXELS),
    "MODEL.MASK_FORMER.DEEP_SUPERVISION": Key(FLAG, _FCCLIP),
    "MODEL.MASK_FORMER.NO_OBJECT_WEIGHT": Key(WEIGHT, _FCCLIP, training=True),
    "MODEL.MASK_FORMER.CLASS_WEIGHT": Key(WEIGHT, _FCCLIP, training=True),
    "MODEL.MASK_FORMER.DICE_WEIGHT": Key(WEIGHT, _FCCLIP, training=True),
    "MODEL.MASK_FORMER.MASK_WEIGHT": Key(WEIGHT, _FCCLIP, training=True),
    "MODEL.MASK_FORMER.NHEADS": Key(FEW, _QUERIES),
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": Key(WIDTH, _QUERIES),
    "MODEL.MASK_FORMER.DEC_LAYERS": Key(Number(2, 256, whole=True), _QUERIES),
    "MODEL.MASK_FORMER.PRE_NORM": Key(FLAG, _QUERIES),
    "MODEL.MASK_FORMER.HIDDEN_DIM": Key(WIDTH, _QUERIES),
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": Key(Number(1, 10_000, whole=True), _QUERIES),
    "MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ": Key(FLAG, _QUERIES),
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": Key(CHOICE, _HEAD),
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY": Key(Number(1, 4096, whole=True), _FCCLIP),
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": Key(Number(1, 10**7, whole=True), _FCCLIP),
    "MODEL.MASK_FORMER.OVERSAMPLE_RATIO": Key(Number(1, 100), _FCCLIP),
    "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO": Key(SHARE, _FCCLIP),
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": Key(FLAG, _RESULTS),
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON": Key(FLAG, _RESULTS),
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON": Key(FLAG, _RESULTS),
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD": Key(SHARE, _RESULTS),
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD": Key(SHARE, _RESULTS),
    "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": Key(FLAG, _RESULTS),
    "MODEL.FC_CLIP.CLIP_MODEL_NAME": Key(NAME, _CLIP),
    "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS": Key(TEXT, _CLIP),
    "MODEL.FC_CLIP.EMBED_DIM": Key(WIDTH, _QUERIES),
    "MODEL.FC_CLIP.GEOMETRIC_ENSEMBLE_ALPHA": Key(SHARE, _SCORES),
    "MODEL.FC_CLIP.GEOMETRIC_ENSEMBLE_BETA": Key(SHARE, _SCORES),
    "MODEL.FC_CLIP.ENSEMBLE_ON_VALID_MASK": Key(FLAG, _SCORES),
    "MODEL.AUTO_VOCABULARY.CAPTIONER": Key(CHOICE, _AUTO),
    "MODEL.AUTO_VOCABULARY.CAPTIONER_WEIGHTS": Key(NAME, _AUTO),
    "MODEL.AUTO_VOCABULARY.SIZES": Key(
        Listed(Number(1, 4096, whole=True), 1, 8, "sizes in pixels", rising=True), _AUTO
    ),
    "MODEL.AUTO_VOCABULARY.SQUARE": Key(FLAG, _AUTO),
    "MODEL.AUTO_VOCABULARY.CLUSTERS": Key(
        Listed(Number(1, 256, whole=True), 1, 256, "numbers of clusters", rising=True), _AUTO
    ),
    "MODEL.AUTO_VOCABULARY.POSITION_WIDTH": Key(Number(4, 4096, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.POSITION_WEIGHT": Key(WEIGHT, _AUTO),
    "MODEL.AUTO_VOCABULARY.KMEANS_RESTARTS": Key(Number(1, 1000, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.KMEANS_ITERATIONS": Key(Number(1, 10_000, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.KMEANS_TOLERANCE": Key(SHARE, _AUTO),
    "MODEL.AUTO_VOCABULARY.VOTE_FLOOR": Key(SHARE, _AUTO),
    "MODEL.AUTO_VOCABULARY.CRF_TAPS": Key(Number(1, 101, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.CRF_ITERATIONS": Key(Number(0, 1000, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.CRF_WEIGHT": Key(WEIGHT, _AUTO),
    "MODEL.AUTO_VOCABULARY.CRF_THETA": Key(Number(0, 1000, above_low=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.MAJORITY_ROUNDS": Key(Number(0, 1000, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.PASSES": Key(Number(1, 100, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.MIN_TOKENS": Key(Number(0, 256, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.MAX_TOKENS": Key(Number(1, 256, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.TOP_P": Key(Number(0, 1, above_low=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.NO_REPEAT": Key(Number(0, 256, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.MIN_LETTERS": Key(Number(1, 100, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.MIN_SHARE": Key(SHARE, _AUTO),
    "MODEL.AUTO_VOCABULARY.MIN_SCORE": Key(SHARE, _AUTO),
    "MODEL.AUTO_VOCABULARY.WORD_LISTS": Key(TEXT, _AUTO),
    "MODEL.AUTO_VOCABULARY.SEED": Key(Number(0, 2**31 - 1, whole=True), _AUTO),
    "MODEL.AUTO_VOCABULARY.GIVEN_NAMES": Key(FLAG, "meta_arch/auto_vocabulary.py"),
    "MODEL.REFERRING.DECODER": Key(CHOICE, _REFERRING),
    "MODEL.REFERRING.CLIP_LAYERS": Key(Listed(Number(0, 255, whole=True), what="blocks", rising=True), _CLIPSEG),
    "MODEL.REFERRING.KERNELS": Key(Listed(Number(1, 64, whole=True), most=8, what="kernel sizes"), _CLIPSEG),
    "MODEL.REFERRING.FEEDFORWARD": Key(Number(0, 65536, whole=True, above_low=True), _CLIPSEG),
    "MODEL.REFERRING.DROPOUT": Key(SHARE, _CLIPSEG),
    "MODEL.REFERRING.UNET_DIMS": Key(Listed(WIDTH, 1, 16, "positive whole numbers"), _UNET),
    "MODEL.REFERRING.UNET_SIMILARITY": Key(FLAG, _UNET),
    "MODEL.REFERRING.LOSS": Key(TEXT, _REFERRING),
    "MODEL.REFERRING.FOCAL_GAMMA": Key(Number(1, others=(0,)), _REFERRING),
    "MODEL.REFERRING.FOCAL_ALPHA": Key(Number(0, 1, others=(-1,)), _REFERRING),
    "MODEL.REFERRING.CONDITION": Key(CHOICE, _REFERRING),
    "MODEL.REFERRING.TEXT_SHARE": Key(SHARE, _REFERRING),
    "MODEL.REFERRING.THRESHOLD": Key(Number(-1e6, 1e6), _EVALUATORS),
    "MODEL.COMPOSITES.NET": Key(CHOICE, _MASKS_AND_DEPTHS),
    "MODEL.COMPOSITES.INPUT": Key(CHOICE, _MASKS_AND_DEPTHS),
    "MODEL.COMPOSITES.DEPTH": Key(FLAG, _MASKS_AND_DEPTHS),
    "MODEL.COMPOSITES.DEPTH_MAX": Key(POSITIVE, _MASKS_AND_DEPTHS),
    "MODEL.COMPOSITES.MASK_LOSS": Key(TEXT, _MASKS_AND_DEPTHS),
    "MODEL.COMPOSITES.DEPTH_LOSS": Key(TEXT, _MASKS_AND_DEPTHS),
    "MODEL.COMPOSITES.THRESHOLD": Key(Number(0, 1), _EVALUATORS),
    "INPUT.MIN_SIZE_TRAIN": Key(AnyOf(Listed(SIZE, 1, what="sizes in pixels"), SIZE), _IMAGES, training=True),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": Key(CHOICE, _IMAGES, training=True),
    "INPUT.MAX_SIZE_TRAIN": Key(Number(0, 65536, whole=True, above_low=True), _IMAGES, training=True),
    "INPUT.MIN_SIZE_TEST": Key(Number(0, 65536, whole=True, above_low=True), _IMAGES),
    "INPUT.MAX_SIZE_TEST": Key(Number(0, 65536, whole=True, above_low=True), _IMAGES),
    "INPUT.RANDOM_FLIP": Key(CHOICE, _IMAGES),
    "INPUT.CROP.ENABLED": Key(FLAG, _IMAGES),
    "INPUT.CROP.TYPE": Key(CHOICE, _IMAGES),
    "INPUT.CROP.SIZE": Key(Listed(Number(0, 65536, above_low=True), 2, 2, "positive numbers"), _IMAGES),
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": Key(Number(0, 1, above_low=True), _IMAGES),
    "INPUT.FORMAT": Key(CHOICE, _CHECKS),
    "INPUT.DATASET_MAPPER_NAME": Key(CHOICE, _MAPPER),
    "INPUT.COLOR_AUG_SSD": Key(FLAG, _IMAGES),
    "INPUT.MAX_PIXELS": Key(Number(1, LARGEST_MAX_PIXELS, whole=True), "data/images/reading.py"),
    "INPUT.EXIF_ORIENTATION": Key(CHOICE, "data/images/reading.py"),
    "INPUT.IMAGE_SIZE": Key(Number(0, 65536, whole=True, above_low=True), _IMAGES, training=True),
    "INPUT.MIN_SCALE": Key(Number(0, 100, above_low=True), _IMAGES, training=True),
    "INPUT.MAX_SCALE": Key(Number(0, 100, above_low=True), _IMAGES, training=True),
    "INPUT.PHRASE.SIZE": Key(Number(0, 16384, whole=True, above_low=True), _PHRASES),
    "INPUT.PHRASE.CROP": Key(FLAG, _PHRASES),
    "INPUT.PHRASE.MIN_VISIBLE": Key(SHARE, _PHRASES),
    "INPUT.PHRASE.PER_IMAGE": Key(Number(0, 1000, whole=True, above_low=True), _PHRASES),
    "INPUT.PHRASE.NEGATIVE_PROBABILITY": Key(SHARE, _PHRASES),
    "INPUT.PHRASE.PROMPTS_TRAIN": Key(CHOICE, _PHRASES),
    "INPUT.PHRASE.PROMPTS_TEST": Key(CHOICE, _PHRASES),
    "INPUT.COMPOSITES.FOREGROUNDS": Key(TEXT, _COMPOSITES),
    "INPUT.COMPOSITES.BACKGROUNDS": Key(TEXT, _COMPOSITES),
    "INPUT.COMPOSITES.FOREGROUND_DEPTH": Key(TEXT, _COMPOSITES),
    "INPUT.COMPOSITES.BACKGROUND_DEPTH": Key(TEXT, _COMPOSITES),
    "INPUT.COMPOSITES.DEPTH_KIND": Key(CHOICE, _COMPOSITES),
    "INPUT.COMPOSITES.DEPTH_UNIT": Key(POSITIVE, _COMPOSITES),
    "INPUT.COMPOSITES.DEPTH_NEAR_IS": Key(CHOICE, _COMPOSITES),
    "INPUT.COMPOSITES.SIZE": Key(Number(8, 8192, whole=True), _CANVAS),
    "INPUT.COMPOSITES.STAGES": Key(
        Listed(Listed(ITERATIONS, 2, 2, "numbers"), what="stages [first iteration, side]"), _COMPOSITES, training=True
    ),
    "INPUT.COMPOSITES.SCALE": Key(Listed(Number(0, 4, above_low=True), 2, 2, "shares of the side"), _CANVAS),
    "INPUT.COMPOSITES.POSITIONS": Key(CHOICE, _CANVAS),
    "INPUT.COMPOSITES.PER_PAIR": Key(Number(1, 10**6, whole=True), _CANVAS),
    "INPUT.COMPOSITES.GRID_STEP": Key(COUNT, _CANVAS),
    "INPUT.COMPOSITES.OVERHANG": Key(Number(0, 0.99), _CANVAS),
    "INPUT.COMPOSITES.FLIPS": Key(FLAG, _CANVAS),
    "INPUT.COMPOSITES.SEED": Key(Number(0, 2**32 - 1, whole=True), _CANVAS),
    "INPUT.COMPOSITES.TEST_IMAGES": Key(COUNT, _COMPOSITES),
    "INPUT.COMPOSITES.DISTURBANCE.ENABLED": Key(FLAG, _DISTURBANCE),
    "INPUT.COMPOSITES.DISTURBANCE.SHIFT": Key(COUNT, _DISTURBANCE),
    "INPUT.COMPOSITES.DISTURBANCE.EXPOSURE": Key(Number(0, 0.99), _DISTURBANCE),
    "INPUT.COMPOSITES.DISTURBANCE.NOISE": Key(Number(0, 255), _DISTURBANCE),
    "INPUT.COMPOSITES.DISTURBANCE.JPEG": Key(Listed(Number(0, 100, whole=True), 2, 2, "qualities"), _DISTURBANCE),
    "INPUT.COMPOSITES.AUGMENT.CROP": Key(Number(0, 1, above_low=True), _PAIRS, training=True),
    "INPUT.COMPOSITES.AUGMENT.MIRROR": Key(SHARE, _PAIRS, training=True),
    "DATASETS.TRAIN": Key(NAMES, _LOADERS),
    "DATASETS.TEST": Key(NAMES, _TRAINER),
    "DATASETS.FINAL_TEST": Key(NAMES, _TRAINER),
    "DATASETS.FILES": Key(NAMES, "engine/config/dataset_files.py"),
    "DATALOADER.NUM_WORKERS": Key(Number(0, 1024, whole=True), _LOADERS),
    "DATALOADER.ASPECT_RATIO_GROUPING": Key(FLAG, _LOADERS),
    "DATALOADER.SAMPLER_TRAIN": Key(CHOICE, _CHECKS),
    "SOLVER.LR_SCHEDULER_NAME": Key(CHOICE, "detectron2"),
    "SOLVER.OPTIMIZER": Key(CHOICE, _SOLVER),
    "SOLVER.MAX_ITER": Key(Number(0, 10**9, whole=True, above_low=True), _TRAINER, training=True),
    "SOLVER.BASE_LR": Key(Number(0, 1000, above_low=True), _SOLVER, training=True),
    "SOLVER.MOMENTUM": Key(SHARE, _SOLVER, training=True),
    "SOLVER.NESTEROV": Key(FLAG, _SOLVER, training=True),
    "SOLVER.WEIGHT_DECAY": Key(WEIGHT, _SOLVER, training=True),
    "SOLVER.WEIGHT_DECAY_NORM": Key(WEIGHT, _SOLVER, training=True),
    "SOLVER.WEIGHT_DECAY_EMBED": Key(WEIGHT, _SOLVER, training=True),
    "SOLVER.BACKBONE_MULTIPLIER": Key(WEIGHT, _SOLVER, training=True),
    "SOLVER.GAMMA": Key(WEIGHT, "detectron2", training=True),
    "SOLVER.STEPS": Key(Listed(ITERATIONS, what="iterations", rising=True), "detectron2", training=True),
    "SOLVER.WARMUP_FACTOR": Key(SHARE, "detectron2", training=True),
    "SOLVER.WARMUP_ITERS": Key(ITERATIONS, "detectron2", training=True),
    "SOLVER.WARMUP_METHOD": Key(CHOICE, "detectron2"),
    "SOLVER.PLATEAU.DATASET": Key(TEXT, _PLATEAU, training=True),
    "SOLVER.PLATEAU.METRIC": Key(NAME, _PLATEAU, training=True),
    "SOLVER.PLATEAU.MODE": Key(CHOICE, _PLATEAU),
    "SOLVER.PLATEAU.PERIOD": Key(Number(1, 10**9, whole=True), _PLATEAU, training=True),
    "SOLVER.PLATEAU.FACTOR": Key(Number(0, 0.999, above_low=True), _PLATEAU, training=True),
    "SOLVER.PLATEAU.PATIENCE": Key(COUNT, _PLATEAU, training=True),
    "SOLVER.PLATEAU.THRESHOLD": Key(SHARE, _PLATEAU, training=True),
    "SOLVER.PLATEAU.COOLDOWN": Key(COUNT, _PLATEAU, training=True),
    "SOLVER.PLATEAU.MIN_FACTOR": Key(SHARE, _PLATEAU, training=True),
    "SOLVER.CHECKPOINT_PERIOD": Key(Number(0, 10**9, whole=True, above_low=True), _TRAINER, training=True),
    "SOLVER.IMS_PER_BATCH": Key(Number(0, 65536, whole=True, above_low=True), _LOADERS, training=True),
    "SOLVER.REFERENCE_WORLD_SIZE": Key(COUNT, "detectron2", training=True),
    "SOLVER.CLIP_GRADIENTS.ENABLED": Key(FLAG, _SOLVER, training=True),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Key(CHOICE, _SOLVER),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": Key(POSITIVE, _SOLVER, training=True),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Key(POSITIVE, _SOLVER, training=True),
    "SOLVER.AMP.ENABLED": Key(FLAG, _TRAINER),
    "SOLVER.POLY_LR_POWER": Key(Number(0, 100), "detectron2", training=True),
    "SOLVER.POLY_LR_CONSTANT_ENDING": Key(SHARE, "detectron2", training=True),
    "TEST.EXPECTED_RESULTS": Key(Listed(Listed(Anything(), 4, 5, "values"), what="results"), _TRAINER),
    "TEST.EVAL_PERIOD": Key(ITERATIONS, _TRAINER),
    "TEST.DETECTIONS_PER_IMAGE": Key(Number(1, 10**6, whole=True), _RESULTS),
    "OUTPUT_DIR": Key(NAME, _RUN),
    "SEED": Key(Number(-1, 2**32 - 1, whole=True), _RUN),
    "CUDNN_BENCHMARK": Key(FLAG, _RUN),
    "ZSSEG.VOCABULARY": Key(TEXT, _CLASSES),
    "ZSSEG.PRETRAINING_VOCABULARY": Key(TEXT, _CLASSES),
    "ZSSEG.SEEN_CLASSES": Key(CHOICE, _CLASSES),
    "ZSSEG.TRAINING_VOCABULARY": Key(CHOICE, _CLASSES),
    "ZSSEG.DELETED_PIXELS": Key(CHOICE, _MAPPER),
    "ZSSEG.OUT_CLASSES": Key(Listed(AnyOf(NAME, Number(0, 10**9, whole=True)), what="names or label ids"), _CLASSES),
    "ZSSEG.TEXT_CACHE": Key(TEXT, _FCCLIP),
    "ZSSEG.PROCESS_TIMEOUT": Key(Number(0, 10**6, above_low=True), _RUN),
    "ZSSEG.STRICT_WEIGHTS": Key(FLAG, _TRAINER),
    "ZSSEG.SAVE_PREDICTIONS": Key(FLAG, _EVALUATORS),
    "ZSSEG.MEASURES": Key(NAMES, _EVALUATORS),
    "ZSSEG.WORD_MAPPING": Key(TEXT, _EVALUATORS),
    "ZSSEG.WORD_COSINE": Key(Number(-1, 1), _EVALUATORS),
    "ZSSEG.VIS_IMAGES": Key(COUNT, _EVALUATORS),
    "ZSSEG.ENSEMBLE": Key(FLAG, _SCORES),
    "ZSSEG.VOID_RULE": Key(FLAG, _SCORES),
    "ZSSEG.TOWER.NAME": Key(TEXT, "engine/config/setup.py"),
    "ZSSEG.TOWER.WEIGHTS": Key(TEXT, "configs"),
    "ZSSEG.VOID_SUPPRESSION": Key(SHARE, _SCORES),
    "ZSSEG.PSEUDO_LABELS.MIN_SCORE": Key(SHARE, _LABELS),
    "ZSSEG.PSEUDO_LABELS.MIN_AREA": Key(Number(0, 10**9, whole=True), _LABELS),
    "ZSSEG.PSEUDO_LABELS.MIN_VISIBLE": Key(SHARE, _LABELS),
    "ZSSEG.PSEUDO_LABELS.REGIONS": Key(FLAG, _LABELS),
    "ZSSEG.PSEUDO_LABELS.MIN_SHARE": Key(SHARE, _LABELS),
    "ZSSEG.PSEUDO_LABELS.MIN_DELETED": Key(SHARE, _LABELS),
    "ZSSEG.MODEL_ONE.WEIGHTS": Key(TEXT, "meta_arch/two_models.py"),
    "ZSSEG.MODEL_TWO.WEIGHTS": Key(TEXT, "meta_arch/two_models.py"),
    "ZSSEG.MERGE.PRIORITY": Key(CHOICE, _MERGED),
    "ZSSEG.MERGE.MIN_VISIBLE": Key(SHARE, _MERGED),
    "ZSSEG.DISTILLATION.TEACHER_WEIGHTS": Key(TEXT, _DISTILLED),
    "ZSSEG.DISTILLATION.LOSS": Key(CHOICE, _DISTILLED),
    "ZSSEG.DISTILLATION.WEIGHT": Key(Number(0), _DISTILLED),
    "ZSSEG.DISTILLATION.TEMPERATURE": Key(Number(0, above_low=True), _DISTILLED),
    "ZSSEG.DISTILLATION.CLASSES": Key(CHOICE, _DISTILLED),
    "ZSSEG.DISTILLATION.PAIRING": Key(CHOICE, _DISTILLED),
    "ZSSEG.DISTILLATION.MASK_WEIGHT": Key(Number(0), _DISTILLED),
    "ZSSEG.MEAN_TEACHER.MOMENTUM": Key(SHARE, _MEAN_TEACHER),
    "ZSSEG.MEAN_TEACHER.WEIGHT": Key(WEIGHT, _MEAN_TEACHER),
    "ZSSEG.MEAN_TEACHER.MIN_CONFIDENCE": Key(SHARE, _MEAN_TEACHER),
    "ZSSEG.MEAN_TEACHER.STRENGTH": Key(SHARE, _MEAN_TEACHER),
    "ZSSEG.MEAN_TEACHER.ENSEMBLE": Key(FLAG, _MEAN_TEACHER),
    "ZSSEG.MEAN_TEACHER.PREDICTION": Key(CHOICE, _MEAN_TEACHER),
    "ZSSEG.FROZEN_QUERIES.ADAPTER": Key(Number(0, 65536, whole=True), "meta_arch/frozen_queries.py"),
    "ZSSEG.ANCHOR.WEIGHTS": Key(TEXT, "meta_arch/anchored.py"),
    "ZSSEG.ANCHOR.WEIGHT": Key(WEIGHT, "meta_arch/anchored.py", training=True),
    "ZSSEG.EWC.DATASET": Key(TEXT, "meta_arch/elastic.py", training=True),
    "ZSSEG.EWC.IMAGES": Key(Number(0, 10**9, whole=True), "meta_arch/elastic.py", training=True),
    "ZSSEG.INTERPOLATION.STATISTICS_ONE": Key(TEXT, _INTERPOLATED),
    "ZSSEG.INTERPOLATION.STATISTICS_TWO": Key(TEXT, _INTERPOLATED),
    "ZSSEG.INTERPOLATION.SHRINKAGE": Key(SHARE, _INTERPOLATED),
    "ZSSEG.INTERPOLATION.TEMPERATURE": Key(POSITIVE, _INTERPOLATED),
    "ZSSEG.LOW_RANK.RANK": Key(WIDTH, "meta_arch/low_rank.py"),
    "ZSSEG.LOW_RANK.ALPHA": Key(WEIGHT, "meta_arch/low_rank.py"),
    "ZSSEG.REPLAY.DATASET": Key(TEXT, _LOADERS),
    "ZSSEG.REPLAY.SHARE": Key(Number(0, 1, above_low=True), _LOADERS, training=True),
    "ZSSEG.REPLAY.SIZE": Key(Number(0, 10**9, whole=True), _LOADERS, training=True),
    "ZSSEG.FUSION.NAME": Key(CHOICE, _FUSION),
    "ZSSEG.FUSION.WEIGHT": Key(SHARE, _FUSION),
    "ZSSEG.FUSION.THRESHOLD": Key(SHARE, _FUSION),
    "ZSSEG.FUSION.TOP_K": Key(Number(0, whole=True, above_low=True), _FUSION),
    "ZSSEG.FUSION.SCALE": Key(Number(0, above_low=True), _FUSION),
    "ZSSEG.FUSION.PAIRING": Key(CHOICE, _FUSION),
    "ZSSEG.FUSION.PREDICTION": Key(CHOICE, _FUSION),
    "ZSSEG.FUSION.DEEP_SUPERVISION": Key(FLAG, _FUSION),
    "ZSSEG.FUSION.MEAN_TEACHER": Key(FLAG, _FUSION),
    "ZSSEG.SAMPLES.PERIOD": Key(ITERATIONS, _TRAINER),
    "ZSSEG.SAMPLES.COUNT": Key(COUNT, _SAMPLES),
}
"""Keys that something reads."""

UNREAD_NODES = (
    *("GLOBAL", "MODEL.ANCHOR_GENERATOR", "MODEL.FPN", "MODEL.PANOPTIC_FPN", "MODEL.PROPOSAL_GENERATOR"),
    *("MODEL.RESNETS", "MODEL.RETINANET", "MODEL.ROI_BOX_CASCADE_HEAD", "MODEL.ROI_BOX_HEAD", "MODEL.ROI_HEADS"),
    *("MODEL.ROI_KEYPOINT_HEAD", "MODEL.ROI_MASK_HEAD", "MODEL.RPN", "MODEL.SWIN", "TEST.AUG", "TEST.PRECISE_BN"),
)
"""Nodes of Detectron2 and Mask2Former of which nothing is read."""

_FOUR = ["res2", "res3", "res4", "res5"]
UNREAD: dict[str, tuple] = {
    **dict.fromkeys(
        (
            *("VERSION", "VIS_PERIOD", "MODEL.LOAD_PROPOSALS", "MODEL.MASK_ON", "MODEL.KEYPOINT_ON"),
            *("MODEL.BACKBONE.FREEZE_AT", "INPUT.MASK_FORMAT", "INPUT.SIZE_DIVISIBILITY", "TEST.KEYPOINT_OKS_SIGMAS"),
            *("DATASETS.PROPOSAL_FILES_TRAIN", "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN"),
            *("DATASETS.PROPOSAL_FILES_TEST", "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST"),
            *("DATALOADER.REPEAT_THRESHOLD", "DATALOADER.FILTER_EMPTY_ANNOTATIONS"),
            *("SOLVER.BIAS_LR_FACTOR", "SOLVER.WEIGHT_DECAY_BIAS"),
            *(f"MODEL.MASK_FORMER.{name}" for name in ("DROPOUT", "ENC_LAYERS", "TRANSFORMER_IN_FEATURE")),
            *(f"MODEL.SEM_SEG_HEAD.{name}" for name in ("NORM", "IN_FEATURES", "IGNORE_VALUE", "COMMON_STRIDE")),
            *(f"MODEL.SEM_SEG_HEAD.{name}" for name in ("LOSS_WEIGHT", "LOSS_TYPE", "PROJECT_FEATURES")),
            *(f"MODEL.SEM_SEG_HEAD.{name}" for name in ("PROJECT_CHANNELS", "ASPP_CHANNELS", "ASPP_DILATIONS")),
            *(f"MODEL.SEM_SEG_HEAD.{name}" for name in ("ASPP_DROPOUT", "USE_DEPTHWISE_SEPARABLE_CONV")),
            "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES",
        ),
        (),
    ),
    "MODEL.RESNETS.STEM_TYPE": ("basic",),
    "MODEL.RESNETS.STRIDE_IN_1X1": (False,),
    "MODEL.RESNETS.OUT_FEATURES": (_FOUR,),
    "MODEL.RESNETS.RES5_MULTI_GRID": ([1, 1, 1],),
}
"""Other keys that nothing reads -> values besides the default that FC-CLIP's own files give them."""

_told: set[str] = set()


def check_values(cfg: CfgNode, *, eval_only: bool = False) -> None:
    """Check every key that is read, and tell once of values that have no effect.

    Args:
        cfg: the merged config.
        eval_only: leave keys of training out.

    Raises:
        ConfigError: the first key whose value is of the wrong type or out of its range.
    """
    values = dict(leaves(cfg))
    for name, key in KEYS.items():
        problem = None if eval_only and key.training else key.kind.problem(values.get(name))
        if problem is not None:
            raise ConfigError(f"{name}={values.get(name)}: it must be {problem}.")
    tell_unread(values)


def tell_unread(values: dict[str, object]) -> None:
    """Warn of values other than the default that nothing reads; those of FC-CLIP's own files are one quiet line."""
    standard = get_cfg()
    add_zsseg_config(standard)
    odd: list[str] = []
    shipped: list[str] = []
    for name, default in leaves(standard):
        value = values.get(name, default)
        if name not in KEYS and _plain(value) != _plain(default):
            (shipped if _plain(value) in map(_plain, UNREAD.get(name, ())) else odd).append(f"{name}={value}")
    if odd:
        _tell(logging.WARNING, f"No part of this program reads these keys, so they change nothing: {', '.join(odd)}")
    if shipped:
        _tell(logging.INFO, f"Keys of FC-CLIP's files that are not read: {', '.join(shipped)}")


def _tell(level: int, text: str) -> None:
    if text not in _told:
        _told.add(text)
        logger.log(level, "%s", text)


def _plain(value: object) -> object:
    """Return tuples as lists, which yacs takes for one another."""
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value
