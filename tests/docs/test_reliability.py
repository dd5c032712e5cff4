"""docs/reliability.md says what is there: the tests behind its promises, the number of their cases, and the limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zsseg_d2 import tensor_files, vocabulary
from zsseg_d2.auto_vocabulary import word_lists
from zsseg_d2.cli import arguments, image_arguments, page
from zsseg_d2.data.dataset_files import description
from zsseg_d2.data.images import opening
from zsseg_d2.data.panoptic import split_writer
from zsseg_d2.data.phrasecut import folder, json_stream
from zsseg_d2.data.synthetic import folders
from zsseg_d2.engine import run_record
from zsseg_d2.engine.config import yaml_files
from zsseg_d2.experiments import job_record
from zsseg_d2.page import storage
from zsseg_d2.reading import JSON_LIMIT, MB, TEXT_LIMIT

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
PROMISES, LIMITS = PAGE.split("\n## Limits\n")

GB, MILLION = 1024 * MB, 1_000_000
LIMIT_ROWS = {
    "pixels of an image or of a frame, compared before it is decoded": (
        f"{opening.MAX_PIXELS // MILLION} million; settable up to {opening.LARGEST_MAX_PIXELS // MILLION} million"
    ),
    "image files": f"{opening._BYTES_PER_PIXEL} bytes for each pixel that is allowed, and {MB // MB * 64} MB",
    "frames of a video": f"{arguments.MAX_FRAMES:,}",
    "uploads to the page": f"{page.parse_arguments([]).max_upload:g} MB",
    "files that the page keeps": f"{storage.DISK_LIMIT // GB} GB",
    "weights and checkpoints": f"{tensor_files.LIMIT // GB} GB",
    "JSON files": f"{JSON_LIMIT // GB} GB",
    "an entry of PhraseCut's JSON files": f"{json_stream.ENTRY_LIMIT // MB} million characters",
    "PhraseCut's counts of words": f"{folder.WORDS_LIMIT // MB} MB",
    "manifests, journals and `run.json`": f"{split_writer.MANIFEST_LIMIT // MB} MB",
    "records of a suite's runs": f"{job_record._LARGEST // MB} MB",
    "config files and descriptions of datasets (YAML)": f"{yaml_files.LIMIT // MB} MB",
    "vocabularies and lists of words": f"{vocabulary.WORDS_LIMIT // MB} MB",
    "other text files": f"{TEXT_LIMIT // MB} MB",
}


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of the tables in a text, without their heads."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row, after in zip(lines, [*lines[1:], [""]]) if set(row[0]) != {"-"} and set(after[0]) != {"-"}]


def test_the_limits_are_those_of_the_program():
    table = LIMITS.split("\n\n")[0]
    assert {row[0]: row[1] for row in rows(table)} == LIMIT_ROWS
    assert folders.LIMIT == run_record._LARGEST == split_writer.MANIFEST_LIMIT
    assert description.LIMIT == yaml_files.LIMIT and word_lists._LIMIT == vocabulary.WORDS_LIMIT
    assert image_arguments.MAX_PIXELS == opening.MAX_PIXELS


class Collected:
    """A plugin that keeps the tests that pytest finds."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.items = list(items)


def cases(items: list[pytest.Item]) -> str:
    """The number of cases, and that of the examples that hypothesis tries."""
    settings = [getattr(item.obj, "_hypothesis_internal_use_settings", None) for item in items]
    examples = sum(s.max_examples for s in settings if s)
    return f"{len(items)}" + (f" ({examples:,} examples)" if examples else "")


def test_every_promise_has_tests_and_says_how_many():
    cited = {row[0]: re.findall(r"`(tests/[^`]+)`", row[1]) for row in rows(PROMISES)}
    assert len(cited) > 15 and all(cited.values())
    names = sorted({name for found in cited.values() for name in found})
    collected = Collected()
    words = ["--collect-only", "-n0", "-p", "no:terminal", "-p", "no:cacheprovider"]
    status = pytest.main([*words, *(str(ROOT / name) for name in names)], plugins=[collected])
    assert status == pytest.ExitCode.OK, "a test that is cited is missing"
    found = {item.nodeid: item for item in collected.items}

    def count(names: list[str]) -> str:
        return cases([i for full, i in found.items() if _is_of(full, names)])

    assert {row[0]: row[2] for row in rows(PROMISES)} == {promise: count(names) for promise, names in cited.items()}


def _is_of(full: str, names: list[str]) -> bool:
    """Whether a test is one of a file, or a case of a function."""
    return any(full == name or full.startswith((f"{name}::", f"{name}[")) for name in names)
