"""Memory and files are bounded over many vocabularies; ``tests/engine/many_vocabularies.py`` is the long form."""

from __future__ import annotations

from tests.engine import many_vocabularies
from zsseg_d2.modeling.clip import text_classifier


def test_names_buffers_and_files_stay_within_their_limits(tmp_path, monkeypatch):
    """Limits of 40 names and files are reached by the fourteenth vocabulary of three new names each."""
    monkeypatch.setattr(text_classifier, "NAMES", 40)
    monkeypatch.setattr(text_classifier, "compute_text_row", many_vocabularies.row)
    monkeypatch.setattr("zsseg_d2.text_cache.ENTRIES", 40)
    monkeypatch.setattr("zsseg_d2.text_cache.TextCache.__init__.__defaults__", (40,))
    early, middle, late = many_vocabularies.samples(60, tmp_path, every=20)
    assert (early.vocabularies, late.vocabularies) == (20, 60)
    assert early.names == middle.names == late.names == 40
    assert early.buffers == late.buffers == text_classifier.VOCABULARIES
    assert 30 <= max(early.files, middle.files, late.files) <= 40
