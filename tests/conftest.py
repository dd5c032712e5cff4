"""Shared set-up: zsseg_d2 first (it makes the pure-Python Detectron2 importable), two threads, no user cache."""

from __future__ import annotations

import os

import pytest
import torch

import zsseg_d2  # noqa: F401

torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(autouse=True)
def _private_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("ZSSEG_D2_CACHE", str(tmp_path / "cache"))
