"""The tiny task, on disk and registered, for every test of the engine."""

from __future__ import annotations

import pytest

from . import tiny_task


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """``tiny_engine_train`` (car deleted in the metadata) and ``tiny_engine_val``."""
    folder = tmp_path_factory.mktemp("tiny_engine")
    tiny_task.register("tiny_engine_train", folder / "train", 5)
    tiny_task.register("tiny_engine_deleted", folder / "deleted", 2, deleted_contiguous_ids=(3,))
    tiny_task.register("tiny_engine_val", folder / "val", 3)
    return folder


@pytest.fixture
def make_config(tiny_data, tmp_path):
    """``make_config(KEY, VALUE, …)``: a config of the tiny task that writes below the test's own folder."""
    return lambda *options, output="out": tiny_task.config(tmp_path / output, *options)
