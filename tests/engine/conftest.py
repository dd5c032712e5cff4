"""The tiny tasks, on disk and registered, for every test of the engine."""

from __future__ import annotations

import pytest

from . import tiny_phrases, tiny_task


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


@pytest.fixture(scope="session")
def phrase_data(tmp_path_factory):
    """``tiny_phrases_{train,val,test}``."""
    return tiny_phrases.register(tmp_path_factory.mktemp("tiny_phrases"))


@pytest.fixture
def phrase_config(phrase_data, tmp_path):
    """``phrase_config(KEY, VALUE, …)``: as ``make_config``, of a model of phrases."""
    return lambda *options, output="out", **rest: tiny_phrases.config(tmp_path / output, *options, **rest)
