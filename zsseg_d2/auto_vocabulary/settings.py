"""MODEL.AUTO_VOCABULARY of a config: its checks, and the word finder that it describes."""

from __future__ import annotations

from detectron2.config import CfgNode

from .clusters import ClusterSettings
from .finder import WordFinder
from .registry import Decoding, build_captioner
from .word_lists import read_word_lists
from .words import WordSettings

_NODE = "MODEL.AUTO_VOCABULARY"


def check_auto_vocabulary(cfg: CfgNode) -> None:
    """Check what the ranges of single keys cannot say; reads the word lists.

    Raises:
        ValueError: the message names the key.
    """
    auto = cfg.MODEL.AUTO_VOCABULARY
    if auto.POSITION_WIDTH % 4:
        raise ValueError(f"{_NODE}.POSITION_WIDTH={auto.POSITION_WIDTH}: it must be a multiple of 4.")
    if auto.CRF_TAPS % 2 == 0:
        raise ValueError(f"{_NODE}.CRF_TAPS={auto.CRF_TAPS}: it must be odd, so that the kernel has a center.")
    if auto.MIN_TOKENS > auto.MAX_TOKENS:
        raise ValueError(
            f"{_NODE}.MIN_TOKENS={auto.MIN_TOKENS}: it must not be above {_NODE}.MAX_TOKENS={auto.MAX_TOKENS}."
        )
    read_word_lists(auto.WORD_LISTS)


def build_word_finder(cfg: CfgNode) -> WordFinder:
    """Build the word finder of a config, on MODEL.DEVICE.

    Raises:
        ValueError: a key is wrong, or the captioner's weights do not fit.
        FileNotFoundError: the captioner's weights are missing.
    """
    check_auto_vocabulary(cfg)
    auto = cfg.MODEL.AUTO_VOCABULARY
    decoding = Decoding(auto.MIN_TOKENS, auto.MAX_TOKENS, auto.TOP_P, auto.NO_REPEAT)
    return WordFinder(
        build_captioner(auto.CAPTIONER, auto.CAPTIONER_WEIGHTS, decoding, cfg.MODEL.DEVICE),
        ClusterSettings(
            sizes=tuple(auto.SIZES),
            square=auto.SQUARE,
            counts=tuple(auto.CLUSTERS),
            position_width=auto.POSITION_WIDTH,
            position_weight=auto.POSITION_WEIGHT,
            restarts=auto.KMEANS_RESTARTS,
            iterations=auto.KMEANS_ITERATIONS,
            tolerance=auto.KMEANS_TOLERANCE,
            vote_floor=auto.VOTE_FLOOR,
            crf_taps=auto.CRF_TAPS,
            crf_iterations=auto.CRF_ITERATIONS,
            crf_weight=auto.CRF_WEIGHT,
            crf_theta=auto.CRF_THETA,
            majority_rounds=auto.MAJORITY_ROUNDS,
            seed=auto.SEED,
        ),
        WordSettings(auto.MIN_LETTERS, auto.MIN_SHARE, auto.MIN_SCORE),
        passes=auto.PASSES,
        lists=read_word_lists(auto.WORD_LISTS),
    )
