"""Every config key that a model reads is seen to arrive: as an attribute, or as an argument of the called function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

import tests.auto_vocabulary.fake  # noqa: F401  (registers a captioner)
from tests.tiny import random_image, tiny_config, tiny_dataset, training_item
from tests.tiny_referring import referring_config
from zsseg_d2 import add_zsseg_config

TRAIN = tiny_dataset("tiny_train_keys", deleted=(2, 3))
FORMER, HEAD, CLIP, Z, PHRASES = (
    "MODEL.MASK_FORMER.",
    "MODEL.SEM_SEG_HEAD.",
    "MODEL.FC_CLIP.",
    "ZSSEG.",
    "MODEL.REFERRING.",
)
D = "ZSSEG.DISTILLATION."
AUTO = "MODEL.AUTO_VOCABULARY."
T = "ZSSEG.MEAN_TEACHER."
FUSED, TAUGHT, MERGED = "CombinedFCCLIP", "DistilledFCCLIP", "NaiveIntersection"
AVERAGED = "MeanTeacherFCCLIP"


class Attribute(NamedTuple):
    """A key whose value is read off the model: ``read(model)`` is the value, or ``expected``."""

    key: str
    value: Any
    read: Callable[[Any], Any]
    architecture: str = "FCCLIP"
    more: tuple = ()
    expected: Any = None


class Argument(NamedTuple):
    """A key whose value is an argument of a function that the model calls, in training or at test time."""

    key: str
    value: Any
    function: str
    argument: str
    train: bool = False
    architecture: str = "FCCLIP"
    more: tuple = ()


def predictor(model):
    return model.sem_seg_head.predictor


def pixels(model):
    return model.sem_seg_head.pixel_decoder


def encoder(model):
    return pixels(model).transformer.encoder.layers


def normalized(model):
    """One pixel of color 10, 20, 30."""
    image = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1)
    return [round(v, 4) for v in model.padded_batches([{"image": image}])[0].images[0, :, 0, 0].tolist()]


def padded_size(model):
    return model.padded_batches([{"image": random_image(65, 3)}])[0].images.shape[2:]


def seen(model):
    return model.classes.evaluation().seen


def first_update(model):
    return predictor(model).transformer_ffn_layers[0].linear1.parametrizations.weight[0]


def adapter_width(model):
    return model.kept.sem_seg_head.pixel_decoder.mask_adapter.down.out_channels


WIDE = (HEAD + "CONVS_DIM", 64)
UNIT, CENTERED = ("MODEL.PIXEL_STD", [1.0, 1.0, 1.0]), ("MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0])
ATTRIBUTES = [
    Attribute("MODEL.META_ARCHITECTURE", TAUGHT, lambda m: type(m).__name__),
    Attribute("MODEL.PRECISION", "bfloat16", lambda m: m.precision),
    Attribute("MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0], normalized, more=UNIT, expected=[9, 18, 27]),
    Attribute("MODEL.PIXEL_STD", [2.0, 4.0, 5.0], normalized, more=CENTERED, expected=[5, 5, 6]),
    Attribute(FORMER + "SIZE_DIVISIBILITY", 64, padded_size, expected=(128, 64)),
    Attribute(FORMER + "DEEP_SUPERVISION", False, lambda m: m.deep_supervision),
    Attribute(FORMER + "NHEADS", 2, lambda m: predictor(m).transformer_self_attention_layers[0].self_attn.num_heads),
    Attribute(FORMER + "DIM_FEEDFORWARD", 24, lambda m: predictor(m).transformer_ffn_layers[0].linear1.out_features),
    Attribute(FORMER + "DEC_LAYERS", 3, lambda m: len(predictor(m).transformer_ffn_layers) + 1),
    Attribute(FORMER + "HIDDEN_DIM", 64, lambda m: predictor(m).level_embed.embedding_dim, more=WIDE),
    Attribute(FORMER + "NUM_OBJECT_QUERIES", 7, lambda m: predictor(m).query_feat.num_embeddings),
    Attribute(FORMER + "TEST.SEMANTIC_ON", False, lambda m: m.results.semantic),
    Attribute(FORMER + "TEST.INSTANCE_ON", True, lambda m: m.results.instance),
    Attribute(FORMER + "TEST.PANOPTIC_ON", False, lambda m: m.results.panoptic),
    Attribute(FORMER + "TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE", True, lambda m: m.results.semantic_at_full_size),
    Attribute(HEAD + "MASK_DIM", 24, lambda m: pixels(m).mask_features.out_channels),
    Attribute(HEAD + "CONVS_DIM", 64, lambda m: pixels(m).layer_1.out_channels, more=(FORMER + "HIDDEN_DIM", 64)),
    Attribute(HEAD + "TRANSFORMER_ENC_LAYERS", 2, lambda m: len(encoder(m))),
    Attribute(HEAD + "TRANSFORMER_ENC_DIM_FEEDFORWARD", 40, lambda m: encoder(m)[0].linear1.out_features),
    Attribute(HEAD + "DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS", 3, lambda m: encoder(m)[0].self_attn.points),
    Attribute(HEAD + "DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS", 4, lambda m: encoder(m)[0].self_attn.heads),
    Attribute(CLIP + "ENSEMBLE_ON_VALID_MASK", False, lambda m: m.scoring.on_valid_mask),
    Attribute(Z + "ENSEMBLE", False, lambda m: m.scoring.ensemble),
    Attribute(Z + "VOID_RULE", False, lambda m: m.scoring.void_rule),
    Attribute(Z + "VOID_SUPPRESSION", 0.3, lambda m: m.scoring.void_suppression),
    Attribute(Z + "TRAINING_VOCABULARY", "kept", lambda m: m.classes.training.kept, expected=(0, 1)),
    Attribute(Z + "SEEN_CLASSES", "training", seen, expected=(True, True, False, False)),
    Attribute(Z + "MERGE.PRIORITY", "in_first", lambda m: m.priority, MERGED),
    Attribute(Z + "MERGE.MIN_VISIBLE", 0.25, lambda m: m.min_visible, MERGED),
    Attribute(Z + "MODEL_ONE.WEIGHTS", "a.pth", lambda m: m.initial_weights["model_one"].path, FUSED),
    Attribute(Z + "MODEL_TWO.WEIGHTS", "b.pth", lambda m: m.initial_weights["model_two"].path, FUSED),
    Attribute(Z + "FUSION.NAME", "weighted", lambda m: m.fusion.settings.name, FUSED),
    Attribute(Z + "FUSION.WEIGHT", 0.9, lambda m: m.fusion.settings.weight, FUSED),
    Attribute(Z + "FUSION.THRESHOLD", 0.6, lambda m: m.fusion.settings.threshold, FUSED),
    Attribute(Z + "FUSION.TOP_K", 3, lambda m: m.fusion.settings.top_k, FUSED),
    Attribute(Z + "FUSION.SCALE", 20.0, lambda m: m.fusion.settings.scale, FUSED),
    Attribute(Z + "FUSION.PAIRING", "hungarian", lambda m: m.pairing, FUSED),
    Attribute(Z + "FUSION.PREDICTION", "two", lambda m: m.prediction, FUSED),
    Attribute(Z + "FUSION.DEEP_SUPERVISION", True, lambda m: m.deep_supervision, FUSED),
    Attribute(Z + "FUSION.MEAN_TEACHER", True, lambda m: hasattr(m.model_one, "teacher"), FUSED),
    Attribute(D + "TEACHER_WEIGHTS", "t.pth", lambda m: m.initial_weights["teacher"].path, TAUGHT),
    Attribute(D + "WEIGHT", 3.0, lambda m: m.distillation.weight, TAUGHT),
    Attribute(D + "MASK_WEIGHT", 0.5, lambda m: m.distillation.mask_weight, TAUGHT),
    Attribute(D + "PAIRING", "hungarian", lambda m: m.distillation.pairing, TAUGHT),
]  # fmt: skip

MEAN_TEACHER = [
    Attribute(T + "MOMENTUM", 0.5, lambda m: m.mean_teacher.momentum, AVERAGED),
    Attribute(T + "STRENGTH", 0.25, lambda m: m.mean_teacher.strength, AVERAGED),
    Attribute(T + "ENSEMBLE", False, lambda m: m.mean_teacher.ensemble, AVERAGED),
    Attribute(T + "PREDICTION", "student", lambda m: m.mean_teacher.prediction, AVERAGED),
    Attribute(T + "WEIGHT", 0.7, lambda m: m.teaching.weight, AVERAGED),
    Attribute(T + "MIN_CONFIDENCE", 0.2, lambda m: m.teaching.min_confidence, AVERAGED),
    Attribute(Z + "PSEUDO_LABELS.MIN_AREA", 7, lambda m: m.teaching.min_area, AVERAGED),
    Attribute(Z + "PSEUDO_LABELS.MIN_VISIBLE", 0.3, lambda m: m.teaching.min_visible, AVERAGED),
]
ELASTIC, MIXED = "ElasticFCCLIP", "InterpolatedFCCLIP"


def part_weights(part):
    return lambda m: m.initial_weights[part].path


REPLAYED = tiny_dataset("tiny_world_keys", ("person", "hat"))
ATTRIBUTES += [
    *MEAN_TEACHER,
    Attribute(Z + "FROZEN_QUERIES.ADAPTER", 5, adapter_width, "FrozenQueriesFCCLIP"),
    Attribute(Z + "ANCHOR.WEIGHT", 0.5, lambda m: m.weight, "AnchoredFCCLIP"),
    Attribute(Z + "ANCHOR.WEIGHTS", "a.pth", lambda m: m.initial_weights["anchor"].path, "AnchoredFCCLIP"),
    Attribute(Z + "EWC.DATASET", REPLAYED, lambda m: len(m.anchor.classes.training.vocabulary), ELASTIC, expected=2),
    *(
        Attribute(Z + f"INTERPOLATION.STATISTICS_{n.upper()}", "s.safetensors", part_weights(f"statistics_{n}"), MIXED)
        for n in ("one", "two")
    ),
    Attribute(Z + "INTERPOLATION.SHRINKAGE", 0.3, lambda m: m.shrinkage, MIXED),
    Attribute(Z + "INTERPOLATION.TEMPERATURE", 4.0, lambda m: m.temperature, MIXED),
    Attribute(Z + "LOW_RANK.RANK", 3, lambda m: first_update(m).a.shape[0], "LowRankFCCLIP"),
    Attribute(Z + "LOW_RANK.ALPHA", 4.0, lambda m: first_update(m).scale, "LowRankFCCLIP", expected=0.5),
    Attribute(Z + "REPLAY.DATASET", REPLAYED, lambda m: len(m.classes.replay.vocabulary), expected=2),
]


def clustering(name):
    return lambda m: getattr(m.finder.cluster_settings, name)


COLORS = (AUTO + "CAPTIONER", "colors")
AUTO_ATTRIBUTES = [
    (AUTO + "CAPTIONER", "colors", lambda m: {"ColorCaptioner": "colors"}[type(m.finder.captioner).__name__]),
    (AUTO + "CAPTIONER_WEIGHTS", "some/folder", lambda m: m.finder.captioner.weights),
    (AUTO + "SIZES", [64], lambda m: list(m.finder.cluster_settings.sizes)),
    (AUTO + "SQUARE", False, clustering("square")),
    (AUTO + "CLUSTERS", [3, 9], lambda m: list(m.finder.cluster_settings.counts)),
    (AUTO + "POSITION_WIDTH", 32, clustering("position_width")),
    (AUTO + "POSITION_WEIGHT", 0.25, clustering("position_weight")),
    (AUTO + "KMEANS_RESTARTS", 3, clustering("restarts")),
    (AUTO + "KMEANS_ITERATIONS", 11, clustering("iterations")),
    (AUTO + "KMEANS_TOLERANCE", 0.5, clustering("tolerance")),
    (AUTO + "VOTE_FLOOR", 0.125, clustering("vote_floor")),
    (AUTO + "CRF_TAPS", 7, clustering("crf_taps")),
    (AUTO + "CRF_ITERATIONS", 2, clustering("crf_iterations")),
    (AUTO + "CRF_WEIGHT", 1.5, clustering("crf_weight")),
    (AUTO + "CRF_THETA", 2.5, clustering("crf_theta")),
    (AUTO + "MAJORITY_ROUNDS", 4, clustering("majority_rounds")),
    (AUTO + "SEED", 13, clustering("seed")),
    (AUTO + "PASSES", 6, lambda m: m.finder.passes),
    (AUTO + "MIN_TOKENS", 2, lambda m: m.finder.captioner.decoding.min_tokens),
    (AUTO + "MAX_TOKENS", 12, lambda m: m.finder.captioner.decoding.max_tokens),
    (AUTO + "TOP_P", 0.75, lambda m: m.finder.captioner.decoding.top_p),
    (AUTO + "NO_REPEAT", 5, lambda m: m.finder.captioner.decoding.no_repeat),
    (AUTO + "MIN_LETTERS", 7, lambda m: m.finder.word_settings.min_letters),
    (AUTO + "MIN_SHARE", 0.1, lambda m: m.finder.word_settings.min_share),
    (AUTO + "MIN_SCORE", 0.3, lambda m: m.finder.word_settings.min_score),
    (AUTO + "GIVEN_NAMES", False, lambda m: m.given_names),
]
ATTRIBUTES += [Attribute(*row, "AutoVocabularyFCCLIP", COLORS) for row in AUTO_ATTRIBUTES]

SCORES, RESULTS, CRITERION = "modeling.fcclip.ensemble.", "meta_arch.results.", "modeling.fcclip.criterion."
DISTILL, MERGE = "meta_arch.distilled.class_distillation", "meta_arch.naive_intersection.merge_panoptic"
INSTANCES = (FORMER + "TEST.INSTANCE_ON", True)
ARGUMENTS = [
    Argument(CLIP + "GEOMETRIC_ENSEMBLE_ALPHA", 0.3, SCORES + "geometric_ensemble", "alpha"),
    Argument(CLIP + "GEOMETRIC_ENSEMBLE_BETA", 0.7, SCORES + "geometric_ensemble", "beta"),
    Argument(Z + "VOID_SUPPRESSION", 0.3, SCORES + "suppress_void", "weight"),
    Argument(FORMER + "TEST.OBJECT_MASK_THRESHOLD", 0.05, RESULTS + "panoptic_inference", "object_mask_threshold"),
    Argument(FORMER + "TEST.OVERLAP_THRESHOLD", 0.35, RESULTS + "panoptic_inference", "overlap_threshold"),
    Argument("TEST.DETECTIONS_PER_IMAGE", 4, RESULTS + "instance_inference", "top", more=INSTANCES),
    Argument(FORMER + "CLASS_WEIGHT", 3.0, CRITERION + "matching_cost", "class_weight", True),
    Argument(FORMER + "MASK_WEIGHT", 7.0, CRITERION + "matching_cost", "mask_weight", True),
    Argument(FORMER + "DICE_WEIGHT", 1.5, CRITERION + "matching_cost", "dice_weight", True),
    Argument(FORMER + "NO_OBJECT_WEIGHT", 0.3, CRITERION + "class_loss", "no_object_weight", True),
    Argument(FORMER + "TRAIN_NUM_POINTS", 50, CRITERION + "uncertain_points", "number", True),
    Argument(FORMER + "OVERSAMPLE_RATIO", 2.5, CRITERION + "uncertain_points", "oversample", True),
    Argument(FORMER + "IMPORTANCE_SAMPLE_RATIO", 0.5, CRITERION + "uncertain_points", "importance", True),
    Argument(D + "LOSS", "kl", DISTILL, "loss", True, TAUGHT),
    Argument(D + "TEMPERATURE", 5.0, DISTILL, "temperature", True, TAUGHT),
    Argument(D + "CLASSES", "all", DISTILL, "classes", True, TAUGHT),
    Argument(Z + "MERGE.PRIORITY", "score", MERGE, "priority", architecture=MERGED),
    Argument(Z + "MERGE.MIN_VISIBLE", 0.25, MERGE, "min_visible", architecture=MERGED),
]  # fmt: skip

EXPECTED_ARGUMENTS = {D + "CLASSES": None}

# Keys that are seen to arrive elsewhere, or that no model reads.
ELSEWHERE = {
    "below": (Z + "PRETRAINING_VOCABULARY", Z + "TEXT_CACHE"),
    "tests/meta_arch/test_fcclip.py": (
        *(Z + "VOCABULARY", HEAD + "NUM_CLASSES", CLIP + "EMBED_DIM", CLIP + "CLIP_MODEL_NAME"),
        *(CLIP + "CLIP_PRETRAINED_WEIGHTS", FORMER + "PRE_NORM", HEAD + "PIXEL_DECODER_NAME"),
    ),
    "tests/meta_arch/test_auto_vocabulary.py": (AUTO + "WORD_LISTS",),
    "tests/engine/test_config_files.py": (Z + "OUT_CLASSES",),
    "tests/engine/test_replay.py": (Z + "REPLAY.SHARE", Z + "REPLAY.SIZE"),
    "tests/engine/test_methods.py": (Z + "EWC.IMAGES",),
    "tests/modeling/test_query_decoder.py": (FORMER + "TRANSFORMER_DECODER_NAME",),
    "tests/data/test_mappers.py": (Z + "DELETED_PIXELS",),
    "tests/engine/test_evaluators.py": tuple(Z + key for key in ("SAVE_PREDICTIONS", "VIS_IMAGES", "WORD_MAPPING")),
    "tests/engine/test_semantic_sets.py": (Z + "MEASURES",),
    "tests/engine/test_towers.py": (Z + "TOWER.NAME", Z + "TOWER.WEIGHTS"),
    "tests/engine/test_pseudo_labelling.py": (Z + "PSEUDO_LABELS.REGIONS",),
    "tests/engine/test_referring.py": (Z + "SAMPLES.PERIOD", Z + "SAMPLES.COUNT"),
    "tests/engine/test_keys_arrive.py": (
        *(Z + "PSEUDO_LABELS." + key for key in ("MIN_SCORE", "MIN_SHARE", "MIN_DELETED")),
        *(Z + "WORD_COSINE", Z + "STRICT_WEIGHTS", Z + "PROCESS_TIMEOUT"),
    ),
    "FC-CLIP's and Mask2Former's, read by nobody": (
        *(FORMER + "DROPOUT", FORMER + "ENC_LAYERS", FORMER + "TRANSFORMER_IN_FEATURE"),
        *(FORMER + "ENFORCE_INPUT_PROJ", HEAD + "NORM", HEAD + "IN_FEATURES", HEAD + "NAME"),
        *(HEAD + "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES", HEAD + "COMMON_STRIDE", HEAD + "IGNORE_VALUE"),
        *(HEAD + "LOSS_WEIGHT", HEAD + "LOSS_TYPE", HEAD + "USE_DEPTHWISE_SEPARABLE_CONV", HEAD + "PROJECT_CHANNELS"),
        *(HEAD + "PROJECT_FEATURES", HEAD + "ASPP_CHANNELS", HEAD + "ASPP_DILATIONS", HEAD + "ASPP_DROPOUT"),
    ),
}


def build(row: Attribute | Argument):
    torch.manual_seed(0)
    options = () if row.key == "MODEL.META_ARCHITECTURE" else ("MODEL.META_ARCHITECTURE", row.architecture)
    return build_model(tiny_config(*options, *row.more, row.key, row.value, train=TRAIN))


@pytest.mark.parametrize("row", ATTRIBUTES, ids=lambda row: row.key)
def test_the_model_has_it(row):
    found = row.read(build(row))
    expected = row.value if row.expected is None else row.expected
    assert found == (list(expected) if isinstance(found, list) else expected)
    default = value_of(tiny_config(train=TRAIN), row.key)
    assert default != row.value, "a default that arrives proves nothing"


@pytest.mark.parametrize("row", ARGUMENTS, ids=lambda row: f"{row.key}-{row.function.rpartition('.')[2]}")
def test_the_called_function_has_it(row):
    model = build(row)
    module, _, name = row.function.rpartition(".")
    owner = importlib.import_module(f"zsseg_d2.{module}")
    function = getattr(owner, name)
    with mock.patch.object(owner, name, side_effect=function) as spy, torch.set_grad_enabled(row.train):
        model.train(row.train)([training_item(classes=(0, 1))] if row.train else [{"image": random_image(64, 96)}])
    assert spy.called
    signature = inspect.signature(function)
    for call in spy.call_args_list:
        bound = signature.bind(*call.args, **call.kwargs)
        assert bound.arguments[row.argument] == EXPECTED_ARGUMENTS.get(row.key, row.value)


@pytest.mark.parametrize(("key", "loss"), [("CLASS_WEIGHT", "ce"), ("MASK_WEIGHT", "mask"), ("DICE_WEIGHT", "dice")])
def test_a_weight_of_the_loss_scales_it_and_no_other(key, loss):
    model = build(Attribute(FORMER + key, 1000.0, lambda m: None))
    assert model.criterion.weights == {"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0, f"loss_{loss}": 1000.0}


def test_the_pretraining_vocabulary_decides_what_is_seen(tmp_path):
    (tmp_path / "words.txt").write_text("clouds\nred car\ncars\n")
    assert seen(build(Attribute(Z + "PRETRAINING_VOCABULARY", str(tmp_path / "words.txt"), seen))) == (
        *(False, True, False, True),
    )


@pytest.mark.parametrize("used", [True, False])
def test_text_rows_are_kept_in_the_folder_of_the_cache(used, tmp_path):
    folder = tmp_path / "rows"
    model = build(Attribute(Z + "TEXT_CACHE", str(folder) if used else "", seen))
    model.text_rows(model.classes.training.vocabulary)
    assert (folder.is_dir() and len(list(folder.rglob("*.safetensors"))) > 0) == used


def value_of(cfg: CfgNode, key: str) -> Any:
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def leaves(node: CfgNode, prefix: str) -> list[str]:
    found = []
    for key, value in node.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else [prefix + key]
    return found


def test_no_key_of_a_model_is_forgotten():
    cfg = get_cfg()
    add_zsseg_config(cfg)
    seen = {row.key for row in (*ATTRIBUTES, *ARGUMENTS)} | {key for keys in ELSEWHERE.values() for key in keys}
    known = [key for prefix in (FORMER, HEAD, CLIP, Z, AUTO) for key in leaves(value_of(cfg, prefix[:-1]), prefix)]
    assert not sorted(set(known) - seen), "a new key: add a row, or say where it is read in ELSEWHERE"
    own = {key for key in seen if key.startswith((FORMER, HEAD, CLIP, Z, AUTO))}
    assert not sorted(own - set(known)), "keys that are no more"


def test_keys_that_arrive_elsewhere_are_named_there():
    root = Path(__file__).resolve().parents[2]
    files = {name: keys for name, keys in ELSEWHERE.items() if name.startswith("tests/")}
    assert len(files) > 10
    for name, keys in files.items():
        text = (root / name).read_text(encoding="utf-8")
        assert not [key for key in keys if key.rpartition(".")[2] not in text], name


PHRASE_ATTRIBUTES = [
    Attribute(PHRASES + "DECODER", "rd64", lambda m: type(m.decoder).__name__, expected="CLIPSegDecoder"),
    Attribute(PHRASES + "FEEDFORWARD", 20, lambda m: m.decoder.layers[0].linear1.out_features),
    Attribute(PHRASES + "DROPOUT", 0.25, lambda m: m.decoder.layers[0].dropout.p),
    Attribute(PHRASES + "LOSS", "focal", lambda m: list(m.loss.weights), expected=["focal"]),
    Attribute(PHRASES + "FOCAL_GAMMA", 3.0, lambda m: m.loss.functions["focal"].keywords["gamma"]),
    Attribute(PHRASES + "FOCAL_ALPHA", 0.25, lambda m: m.loss.functions["focal"].keywords["alpha"]),
    Attribute(PHRASES + "CONDITION", "mixed", lambda m: m.condition),
    Attribute(PHRASES + "TEXT_SHARE", 0.2, lambda m: m.text_share),
    Attribute("INPUT.PHRASE.SIZE", 64, lambda m: m.image_size),
    Attribute("INPUT.PHRASE.PROMPTS_TEST", "plain", lambda m: m.test_prompts),
]


@pytest.mark.parametrize("row", PHRASE_ATTRIBUTES, ids=lambda row: row.key)
def test_the_model_of_phrases_has_it(row, tmp_path):
    kernels = (PHRASES + "KERNELS", [8]) if row.value == "rd64" else ()
    found = row.read(build_model(referring_config(tmp_path, row.key, row.value, *kernels)))
    assert found == (row.value if row.expected is None else row.expected)
