"""Shared set-up: zsseg_d2 first (it makes the pure-Python Detectron2 importable), one thread, no user cache."""

from __future__ import annotations

import os
import sys

# Tests run in several processes; threads that share their cores spend their time waiting for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

import zsseg_d2  # noqa: F401  (stands in for the compiled part of detectron2)
from tests.data.tiny_garden import make_garden
from zsseg_d2.data import PANOPTIC_FAMILIES, unregister_panoptic_family

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _private_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("ZSSEG_D2_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _log_of_its_own():
    """No test writes to the log of another, whose standard output is closed by then."""
    yield
    log_files = sys.modules.get("zsseg_d2.engine.log_files")
    if log_files is not None:
        log_files.stop_logging()


@pytest.fixture
def only_old_families():
    """Datasets that a test registers are gone after it."""
    before = set(PANOPTIC_FAMILIES)
    yield
    for prefix in set(PANOPTIC_FAMILIES) - before:
        unregister_panoptic_family(prefix)


@pytest.fixture
def garden(tmp_path):
    """The YAML file of the garden dataset."""
    return make_garden(tmp_path / "garden")
