"""A damaged file is one sentence, whichever process of a loader reads it."""

from __future__ import annotations

import pickle

import pytest
from torch.utils.data import DataLoader

from zsseg_d2.data import DatasetError
from zsseg_d2.data.images.reading import read_rgb


class Files(list):
    def __getitem__(self, index):
        return read_rgb(super().__getitem__(index))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_workers_error_is_the_sentence_alone(tmp_path, workers):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DatasetError) as caught:
        next(iter(DataLoader(Files([tmp_path / "a.png"]), num_workers=workers)))
    assert str(caught.value).startswith(f"The image {tmp_path / 'a.png'} is truncated or damaged")
    assert "\n" not in str(caught.value) and "Caught" not in str(caught.value)


def test_errors_survive_pickling():
    again = pickle.loads(pickle.dumps(DatasetError("a.png is missing: restore it.")))
    assert type(again) is DatasetError and str(again) == "a.png is missing: restore it."


def test_other_messages_stay_as_they_are():
    assert str(DatasetError("Caught DatasetError in DataLoader worker process 0.")) == (
        "Caught DatasetError in DataLoader worker process 0."
    )
    assert str(DatasetError()) == ""
