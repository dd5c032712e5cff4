"""The evaluator of referring segmentation: files, subsets, refusals, and the same bits from any number of processes."""

from __future__ import annotations

import json
import logging
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from zsseg_d2.data import register_phrasecut
from zsseg_d2.evaluation import EvaluationError
from zsseg_d2.evaluation.referring.referring_evaluator import ReferringEvaluator
from zsseg_d2.evaluation.referring.referring_report import SCORES
from zsseg_d2.evaluation.referring.subset_words import ATTRIBUTE_KINDS, COCO_NAMES, STUFF_NAMES
from zsseg_d2.evaluation.referring.subsets import SUBSETS, SubsetFinder

from ..data.tiny_phrasecut import SQUARE, H, W, make_tiny_phrasecut, task

DATASET = "tests_referring"
OTHER = [[[[10, 2], [19, 2], [19, 11], [10, 11]]]]  # 100 pixels


def structure(name="car", attributes=(), relations=(), kind="name"):
    return {
        "name": name,
        "attributes": list(attributes),
        "relation_ids": [],
        "relation_descriptions": [list(r) for r in relations],
        "type": kind,
    }


TASKS = [
    task(1, 10, "red car"),  # 25 of 600 pixels
    task(1, 11, "sky", OTHER, phrase_structure=structure("sky")),
    task(2, 12, "two cars", SQUARE + OTHER, phrase_structure=structure("cars", ["two", "red"], kind="attribute")),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make_tiny_phrasecut(tmp_path_factory.mktemp("referring"), test=TASKS, val=TASKS)
    for split in ("test", "val"):
        register_phrasecut(f"{DATASET}_{split}", root, split)
        register_phrasecut(f"{DATASET}_{split}_images", root, split, by_image=True)
    yield root
    for split in ("test", "val", "test_images", "val_images"):
        DatasetCatalog.remove(f"{DATASET}_{split}")
        MetadataCatalog.remove(f"{DATASET}_{split}")


def predictions() -> dict[str, dict]:
    """Right; half of the region; the region and as many pixels next to it."""
    right, half, large = (torch.zeros(H, W) for _ in range(3))
    right[2:7, 2:7] = 0.9
    half[2:12, 10:15] = 0.7
    large[2:7, 2:7] = large[2:12, 10:20] = 0.6
    large[12:17, :25] = 0.8
    return {
        TASKS[0]["task_id"]: {"mask_prob": right},
        TASKS[1]["task_id"]: {"mask_logits": torch.logit(half.clamp(1e-6, 1 - 1e-6))},
        TASKS[2]["task_id"]: {"mask_prob": large},
    }


def evaluate(evaluator: ReferringEvaluator, outputs: dict[str, dict] | None = None):
    for task_id, output in (outputs or predictions()).items():
        evaluator.process([{"task_id": task_id}], [output])
    return evaluator.evaluate()


def test_files(root, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        scores = evaluate(ReferringEvaluator(f"{DATASET}_test", str(tmp_path), save_predictions=True))["referring"]
    folder = tmp_path / "inference" / f"{DATASET}_test"
    report = json.loads((folder / "referring.json").read_text())
    assert tuple(scores) == SCORES and all(report[key] == scores[key] for key in SCORES)
    assert report["mean_iou"] == pytest.approx(100 * (1 + 0.5 + 0.5) / 3)
    assert report["cum_iou"] == pytest.approx(100 * (25 + 50 + 125) / (25 + 100 + 250))
    assert report["acc@0.5"] == pytest.approx(100 / 3)
    assert (report["dataset"], report["num_tasks"], report["num_images"]) == (f"{DATASET}_test", 3, 2)
    assert (report["threshold"], report["empty_truth"], report["empty_prediction"]) == (0.5, 0, 0)
    assert set(report["subsets"]) == set(SUBSETS) and set(report["versions"]) == {"zsseg_d2", "detectron2", "torch"}
    assert report["subsets"]["t_stuff"] == {
        "n": 1,
        "mean_iou": 50.0,
        "cum_iou": 50.0,
        "acc@0.5": 0.0,
        "acc@0.6": 0.0,
        "acc@0.7": 0.0,
        "acc@0.8": 0.0,
        "acc@0.9": 0.0,
    }
    assert report["subsets"]["s_large"]["n"] == 1 and report["subsets"]["c500+"]["mean_iou"] == 50
    assert report["subsets"]["a_shape"] == dict.fromkeys(report["subsets"]["a_shape"], None) | {"n": 0}
    assert "threshold_sweep" not in report  # a test split chooses nothing
    assert "mean_iou" in caplog.text and "t_stuff" in caplog.text and "a_shape" not in caplog.text
    # As the official reader reads it.
    for task_id, truth in ((TASKS[0]["task_id"], np.s_[2:7, 2:7]), (TASKS[1]["task_id"], np.s_[2:12, 10:15])):
        image = Image.open(folder / "predictions" / f"{task_id}.png")
        expected = np.zeros((H, W), bool)
        expected[truth] = True
        assert image.size == (W, H) and np.array_equal(np.asarray(image), expected * 255)


def test_sweep_on_validation_only(root, tmp_path):
    evaluate(ReferringEvaluator(f"{DATASET}_val", str(tmp_path)))
    sweep = json.loads((tmp_path / "inference" / f"{DATASET}_val" / "referring.json").read_text())["threshold_sweep"]
    assert sweep["mean_iou"]["best_threshold"] == 0.5 and len(sweep["dice"]["curve"]) == len(sweep["thresholds"]) == 99


def test_records_by_image_and_another_truth(root):
    expected = evaluate(ReferringEvaluator(f"{DATASET}_test"))
    assert evaluate(ReferringEvaluator(f"{DATASET}_test_images")) == expected
    nothing = evaluate(
        ReferringEvaluator(f"{DATASET}_test", load_mask=lambda r: np.zeros((r["height"], r["width"]), bool))
    )
    assert nothing["referring"]["mean_iou"] == 0


def test_threshold_and_reset(root, tmp_path):
    evaluator = ReferringEvaluator(f"{DATASET}_test", str(tmp_path), threshold=0.75, save_predictions=True)
    scores = evaluate(evaluator)["referring"]
    assert scores["acc@0.9"] == pytest.approx(100 / 3) and scores["mean_iou"] == pytest.approx(100 / 3)
    folder = tmp_path / "inference" / f"{DATASET}_test" / "predictions"
    assert not np.asarray(Image.open(folder / f"{TASKS[1]['task_id']}.png")).any()
    evaluator.reset()
    assert evaluate(evaluator)["referring"] == scores


def test_errors_name_the_task(root):
    evaluator = ReferringEvaluator(f"{DATASET}_test")
    first = TASKS[0]["task_id"]
    for output, message in (
        ({"mask_prob": torch.zeros(2, 3)}, f"'{first}' .*3x2 pixels, but the ground truth is {W}x{H}"),
        ({"mask_prob": torch.full((H, W), 7.0)}, "probabilities are in"),
        ({"mask_logits": torch.full((H, W), float("nan"))}, "probabilities are in"),
        ({"sem_seg": 1}, "neither 'mask_prob' nor 'mask_logits' .it has sem_seg"),
    ):
        with pytest.raises(EvaluationError, match=message):
            evaluator.process([{"task_id": first}], [output])
    with pytest.raises(EvaluationError, match="'9__9' is not in the dataset"):
        evaluator.process([{"task_id": "9__9"}], [{}])
    with pytest.raises(EvaluationError, match="No task of"):
        evaluator.evaluate()
    with pytest.raises(EvaluationError, match="2 of 3 tasks .* have no prediction"):
        evaluate(evaluator, {first: predictions()[first]})
    with pytest.raises(EvaluationError, match="output folder"):
        ReferringEvaluator(f"{DATASET}_test", save_predictions=True)
    with pytest.raises(EvaluationError, match="is not one of them"):
        ReferringEvaluator(f"{DATASET}_test", threshold=0.333)


def _process(rank: int, world: int, port: int, shares: list[list[int]], folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    try:
        pairs = list(predictions().items())
        evaluator = ReferringEvaluator(f"{DATASET}_test", folder, save_predictions=True)
        scores = evaluate(evaluator, dict(pairs[i] for i in shares[rank]))
        assert (scores is not None) == (rank == 0)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    "shares", [[[0, 2], [1, 0]], [[2], [1], [0, 1]]]
)  # some twice, as a padding sampler gives them
def test_several_processes(root, tmp_path, shares):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked, because a new interpreter would spend seconds on importing torch.
    torch.multiprocessing.start_processes(
        _process, (len(shares), port, shares, str(tmp_path / "several")), nprocs=len(shares), start_method="fork"
    )
    evaluate(ReferringEvaluator(f"{DATASET}_test", str(tmp_path / "one"), save_predictions=True))
    one, several = (tmp_path / n / "inference" / f"{DATASET}_test" for n in ("one", "several"))
    files = sorted(p.relative_to(one) for p in one.rglob("*.*"))
    assert len(files) == 4 and all((one / f).read_bytes() == (several / f).read_bytes() for f in files)


COUNTS = {
    "cat": {**{f"word{n}": 1 for n in range(600)}},
    "att": {**{f"att{n}": 1 for n in range(300)}},
}


@pytest.mark.parametrize(
    "record, size, expected",
    [
        (
            {"phrase_structure": structure("word19"), "num_instances": 1, "coco_id": 5},
            0.0199,
            "c20 c100 c500 i_single p_name t_obj s_small a200+ d_cocotv",
        ),
        (
            {"phrase_structure": structure("word20", ["att19"], (), "attribute"), "num_instances": 2, "coco_id": None},
            0.02,
            "c100 c500 c21-100 i_multi p_att p_att+ t_obj s_mid a20 a100 a200 d_notcocotv",
        ),
        (
            {
                "phrase_structure": structure("word100", ["att250", "att100"], [("on", "x")], "relation"),
                "num_instances": 4,
            },
            0.2,
            "c500 c101-500 i_multi p_att p_rel p_rel+ p_attm p_att_rel t_obj s_mid a200 a101-200",
        ),
        (
            {
                "phrase_structure": structure("word500", ["red"], [("on", "x"), ("by", "y")], "verbose"),
                "num_instances": 5,
            },
            0.21,
            "c500+ i_many p_att p_rel p_verbose p_relm p_att_rel t_obj s_large a200+ a_color",
        ),
        ({"phrase_structure": structure("person")}, 0.1, "c_coco c500+ p_name t_obj s_mid a200+"),
        (
            {"phrase_structure": structure("toilet seat", ["light", "many", "wooden"])},
            0.1,
            "c500+ p_name p_att p_attm t_stuff s_mid a200+ a_material a_adj a_count",
        ),
    ],
)
def test_subsets(record, size, expected):
    assert SubsetFinder(COUNTS)(record, size) == sorted(expected.split(), key=list(SUBSETS).index)


def test_subsets_that_are_not_known_are_left_out():
    assert SubsetFinder()({"phrase_structure": structure("car", ["red"])}, 0.1) == [
        "c_coco",
        "p_name",
        "p_att",
        "t_obj",
        "s_mid",
        "a_color",
    ]


def test_word_lists():
    assert len(COCO_NAMES) == 80 and len(STUFF_NAMES) == 84
    sizes = {
        "a_color": 50,
        "a_shape": 65,
        "a_material": 49,
        "a_texture": 40,
        "a_state": 78,
        "a_adj": 79,
        "a_noun": 40,
        "a_loc": 21,
        "a_count": 14,
        "a_bad": 10,
    }
    assert {key: len(words) for key, words in ATTRIBUTE_KINDS.items()} == sizes
