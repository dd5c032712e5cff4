"""The shuffled-phrase baseline: predictions for one phrase, scored as if they were of another about the same image."""

from __future__ import annotations

import json
import math
import socket

import pytest
import torch
import torch.multiprocessing
from detectron2.data import DatasetCatalog, MetadataCatalog

from zsseg_d2.data import register_phrasecut
from zsseg_d2.evaluation.referring.referring_evaluator import ReferringEvaluator
from zsseg_d2.evaluation.referring.referring_report import format_table

from ..data.tiny_phrasecut import H, W, make_tiny_phrasecut, task

OTHER = [[[[10, 2], [19, 2], [19, 11], [10, 11]]]]  # rows 2 .. 11, columns 10 .. 19: 100 pixels
TASKS = {
    "car": task(1, 10, "red car"),  # rows 2 .. 6, columns 2 .. 6: 25 pixels
    "sky": task(1, 11, "sky", OTHER),
    "bus": task(2, 12, "bus", OTHER),
    "van": task(2, 13, "van"),
    "twin": task(3, 14, "dog"),
    "twin2": task(3, 15, "dog", OTHER),
    "cat": task(3, 16, "cat", OTHER),
    "alone": task(4, 17, "tree"),
}
SIZES = {2: (30, 40)}
DATASET = "tests_shuffled_phrase"


def box(size: tuple[int, int], rows: slice, columns: slice, value: float = 0.9) -> dict:
    probability = torch.zeros(size)
    probability[rows, columns] = value
    return {"mask_prob": probability}


SMALL_BOX, LARGE_BOX, WIDE = (slice(2, 7), slice(2, 7)), (slice(2, 12), slice(10, 20)), (slice(2, 7), slice(2, 12))
PREDICTED = {
    "car": box((H, W), *LARGE_BOX),  # wrong, and right of the sky
    "sky": box((H, W), *WIDE, 0.6),  # 50 pixels, 25 of them of the car, 10 of the sky
    "bus": box((30, 40), *LARGE_BOX),
    "van": box((30, 40), *LARGE_BOX),  # ignores the phrase: the same mask for both phrases
    "twin": box((H, W), *SMALL_BOX),
    "twin2": box((H, W), *LARGE_BOX),
    "cat": box((H, W), *WIDE),
    "alone": box((H, W), *SMALL_BOX),
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """``sets(names)``: a registered dataset of some of the tasks."""
    made = []

    def make(*names: str) -> str:
        name = f"{DATASET}_{len(made)}"
        entries = [TASKS[n] for n in names]
        root = make_tiny_phrasecut(tmp_path_factory.mktemp("shuffled"), sizes=SIZES, test=entries)
        register_phrasecut(name, root, "test")
        made.append(name)
        return name

    yield make
    for name in made:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def process(evaluator: ReferringEvaluator, *batches: str) -> None:
    for batch in batches:
        names = batch.split()
        evaluator.process([{"task_id": TASKS[n]["task_id"]} for n in names], [PREDICTED[n] for n in names])


def baseline(folder, name: str, *batches: str, **options) -> dict:
    """``shuffled_phrase_baseline`` of the report after batches of task names."""
    evaluator = ReferringEvaluator(name, str(folder), **options)
    process(evaluator, *batches)
    evaluator.evaluate()
    return json.loads((folder / "inference" / name / "referring.json").read_text())["shuffled_phrase_baseline"]


def test_two_tasks_by_hand(sets, tmp_path):
    name = sets("car", "sky")
    found = baseline(tmp_path, name, "car sky")
    # The sky's mask on the car: 25 of 50. The car's mask on the sky: 100 of 100.
    assert (
        found["n"] == 2
        and found["mean_iou"] == pytest.approx(75)
        and found["cum_iou"] == pytest.approx(100 * 125 / 150)
    )
    assert found["acc@0.5"] == 50 and found["acc@0.9"] == 50
    # At 0.75 the sky's prediction is empty.
    found = baseline(tmp_path, name, "car sky", threshold=0.75)
    assert (
        found["n"] == 2
        and found["mean_iou"] == pytest.approx(50)
        and found["cum_iou"] == pytest.approx(100 * 100 / 125)
    )


def test_it_does_not_change_the_scores(sets, tmp_path):
    name = sets("car", "sky")
    evaluator = ReferringEvaluator(name, str(tmp_path))
    process(evaluator, "car sky")
    scores = evaluator.evaluate()["referring"]
    assert scores["mean_iou"] == pytest.approx(100 * (0 + 10 / 140) / 2)
    one_by_one = ReferringEvaluator(name)
    process(one_by_one, "car", "sky")
    assert one_by_one.evaluate()["referring"] == scores
    evaluator.reset()
    process(evaluator, "car", "sky")
    evaluator.evaluate()
    report = json.loads((tmp_path / "inference" / name / "referring.json").read_text())
    assert report["shuffled_phrase_baseline"]["n"] == 0, "nothing of an earlier evaluation is left"


def test_images_with_one_task_have_no_other_phrase(sets, tmp_path):
    found = baseline(tmp_path, sets("alone"), "alone")
    assert found.pop("n") == 0 and set(found.values()) == {None} and "mean_iou" in found
    assert baseline(tmp_path, sets("alone", "car", "sky"), "alone", "car sky")["n"] == 2


def test_tasks_with_the_same_phrase_are_not_compared(sets, tmp_path):
    assert baseline(tmp_path, sets("twin", "twin2"), "twin twin2")["n"] == 0
    # The second dog against the cat's mask (10 of 140), the cat against the first dog's (0 of 125).
    found = baseline(tmp_path, sets("twin", "twin2", "cat"), "twin twin2 cat")
    assert found["n"] == 2 and found["mean_iou"] == pytest.approx(100 * (10 / 140) / 2)


def test_tasks_that_come_twice_count_once(sets, tmp_path):
    name = sets("car", "sky")
    once = baseline(tmp_path, name, "car sky")
    assert baseline(tmp_path, name, "car sky", "car sky") == once == baseline(tmp_path, name, "car sky car sky")


def test_images_in_one_batch_are_not_mixed(sets, tmp_path):
    """They differ in size, so that a mixture would be an error."""
    name = sets("car", "sky", "bus", "van")
    apart = baseline(tmp_path, name, "car sky", "bus van")
    # A model that ignores the phrase scores the same with another phrase: the bus 100 of 100, the van 0 of 125.
    assert apart["n"] == 4 and apart["mean_iou"] == pytest.approx((50 + 100 + 100 + 0) / 4)
    together = baseline(tmp_path, name, "car sky bus van")
    assert 2 <= together["n"] <= 4 and together["mean_iou"] > 0
    assert baseline(tmp_path, name, "car bus sky van")["n"] == 0


def test_the_table_shows_it():
    scores = dict.fromkeys(("mean_iou", "cum_iou", "acc@0.5", "acc@0.7", "acc@0.9"), 1.0)
    rest = dict.fromkeys(("acc@0.6", "acc@0.8", "pixel_accuracy", "dice", "iou_fg", "iou_bin", "miou", "ap"), 1.0)
    report = {**scores, **rest, "threshold": 0.5, "subsets": {}}
    row = {"n": 2, **scores, "mean_iou": 75.0}
    line = format_table({**report, "shuffled_phrase_baseline": row}).splitlines()[-1]
    assert line.split() == ["shuffled", "phrase", "2", "75.00", "1.00", "1.00", "1.00", "1.00"]
    nothing = {"n": 0, **dict.fromkeys(scores, math.nan)}
    assert "shuffled phrase" not in format_table({**report, "shuffled_phrase_baseline": nothing})
    assert "shuffled phrase" not in format_table(report)


def _share(rank: int, port: int, name: str, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        evaluator = ReferringEvaluator(name, folder)
        process(evaluator, *(("car sky",), ("bus van", "car sky"))[rank])
        evaluator.evaluate()
    finally:
        torch.distributed.destroy_process_group()


def test_processes_share_it(sets, tmp_path):
    name = sets("car", "sky", "bus", "van")
    expected = baseline(tmp_path / "one", name, "car sky", "bus van")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(_share, (port, name, str(tmp_path / "two")), nprocs=2, start_method="fork")
    found = json.loads((tmp_path / "two" / "inference" / name / "referring.json").read_text())[
        "shuffled_phrase_baseline"
    ]
    assert found == expected
