"""Two processes with one image each give the losses and gradients of one process with both."""

from __future__ import annotations

import copy

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor

from tests.tiny import name_in_every_query, record_taught, tiny_config, tiny_dataset, training_item
from tests.two_processes import on_two_processes
from zsseg_d2.modeling.distillation import mask_distillation
from zsseg_d2.modeling.fcclip.criterion import SetCriterion
from zsseg_d2.modeling.fcclip.set_losses import class_loss
from zsseg_d2.modeling.fcclip.targets import Prediction, Target

TRAIN = tiny_dataset("tiny_train_processes", deleted=(2, 3))
TAUGHT = ("ZSSEG.PSEUDO_LABELS.MIN_VISIBLE", 0.0, "ZSSEG.MEAN_TEACHER.STRENGTH", 0.0)
WORLD = tiny_dataset("tiny_world_processes", ("person", "tree, bush", "cars", "a bench", "sky", "hat"))
REPLAYED = ("ZSSEG.REPLAY.DATASET", WORLD)
OUT = ("ZSSEG.DISTILLATION.MASK_WEIGHT", 1.0, "ZSSEG.DISTILLATION.WEIGHT", 0.01)


@pytest.fixture
def same_points(monkeypatch):
    """The same points for every image, whoever draws them."""
    rand = torch.rand

    def draw(*size: int, device: torch.device | None = None) -> Tensor:
        return rand(*size, generator=torch.Generator().manual_seed(0)).to(device or "cpu")

    monkeypatch.setattr(torch, "rand", draw)


def step(model: torch.nn.Module, items: list[dict]) -> dict[str, Tensor]:
    """Losses by name, and gradients by parameter."""
    model.zero_grad()
    losses = model.train()(copy.deepcopy(items))
    sum(losses.values()).backward()
    found = {name: value.detach() for name, value in losses.items()}
    return found | {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("FCCLIP", ("ZSSEG.DELETED_PIXELS", "ignore")),
        ("CombinedFCCLIP", ("ZSSEG.FUSION.PAIRING", "hungarian")),
        ("DistilledFCCLIP", OUT),
        ("DistilledFCCLIP", (*OUT, *REPLAYED)),
        ("MeanTeacherFCCLIP", TAUGHT),
        ("MeanTeacherFCCLIP", (*TAUGHT, *REPLAYED)),
        ("FrozenQueriesFCCLIP", ()),
        ("AnchoredFCCLIP", ()),
    ],
)
def test_a_step_does_not_depend_on_how_the_batch_is_shared(architecture, options, same_points, tmp_path, monkeypatch):
    """With one target in one image and two in the other, and of pixels to ignore; replay puts all it has on one."""
    torch.manual_seed(0)
    model = build_model(tiny_config("MODEL.META_ARCHITECTURE", architecture, *options, train=TRAIN))
    if architecture == "DistilledFCCLIP":  # teachers name different numbers of Out queries
        with torch.no_grad():
            model.teacher.void_embedding.weight.neg_()
            for parameter in model.teacher.sem_seg_head.predictor.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    if architecture == "MeanTeacherFCCLIP":
        name_in_every_query(model.teacher, "car")
    items = [training_item(classes=(0, 1)), training_item(64, 96, (1,), ignore=True)]
    items[1]["image"] = 255 - items[1]["image"]
    items[1]["ignore"][:, :20] = True
    names = (TRAIN, WORLD if "ZSSEG.REPLAY.DATASET" in options else TRAIN)
    items = [{**item, "dataset_name": name} for item, name in zip(items, names)]
    for item in items if architecture == "MeanTeacherFCCLIP" else ():
        item["instances"].gt_masks[0, :, :30] = False  # where the teacher names cars
        item.pop("ignore", None)
    taught = record_taught(monkeypatch)
    together = step(model, items)
    expected = [True, WORLD not in names] if architecture == "MeanTeacherFCCLIP" else []
    assert [number > 0 for number in taught] == expected
    shared = on_two_processes(lambda rank: step(model, [items[rank]]), tmp_path)
    assert together.keys() == shared[0].keys()
    largest = max(float(value.abs().max()) for name, value in together.items() if "loss" not in name)
    for name, value in together.items():
        mean = (shared[0][name] + shared[1][name]) / 2  # as DistributedDataParallel averages gradients
        # A bias before a norm has a gradient of 0, up to rounding in the sum of large ones.
        absolute = 1e-6 if "loss" in name else 2e-5 * largest
        assert float((mean - value).abs().max()) <= 2e-3 * float(value.abs().max()) + absolute, name
    assert any(float((shared[0][n] - shared[1][n]).abs().max()) > 1e-2 for n in together if "loss" in n)


def test_the_number_of_masks_is_a_mean_over_processes(tmp_path):
    """Three targets here and one there: two a process; losses by hand, of features of one value."""

    def losses(rank: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        number = (3, 1)[rank]
        prediction = Prediction(torch.zeros(3, 3), (torch.zeros(3, 1),))
        target = Target(torch.zeros(number, dtype=torch.int64), torch.ones(number, 8, 8, dtype=torch.bool))
        return SetCriterion(num_points=10)([[prediction]], [(torch.ones(1, 8, 8),)], [target])

    found = on_two_processes(losses, tmp_path)
    ln2 = torch.log(torch.tensor(2.0))
    # Logits are 0: ln 2 for every mask, at weight 5, over two masks.
    torch.testing.assert_close(found[0]["loss_mask"], 5 * 3 * ln2 / 2)
    torch.testing.assert_close(found[1]["loss_mask"], 5 * 1 * ln2 / 2)
    # Class logits are 0: ln 3 for every query; weights 3 here and 1.2 there, 2.1 a process.
    ln3 = torch.log(torch.tensor(3.0))
    torch.testing.assert_close(found[0]["loss_ce"], 2 * 3.0 * ln3 / 2.1)
    torch.testing.assert_close(found[1]["loss_ce"], 2 * 1.2 * ln3 / 2.1)


def test_one_target_in_all_counts_as_on_one_process(tmp_path):
    """ln 2 for its mask, at weight 5; half a mask a process, so that the mean of both is that of one mask."""

    def losses(rank: int) -> dict[str, Tensor]:
        number = (1, 0)[rank]
        prediction = Prediction(torch.zeros(3, 3), (torch.zeros(3, 1),))
        target = Target(torch.zeros(number, dtype=torch.int64), torch.ones(number, 8, 8, dtype=torch.bool))
        return SetCriterion(num_points=10)([[prediction]], [(torch.ones(1, 8, 8),)], [target])

    found = on_two_processes(losses, tmp_path)
    assert [of_rank["loss_mask"].item() for of_rank in found] == pytest.approx([2 * 5 * 0.6931472, 0.0])


@pytest.mark.parametrize("counts", [(3, 1), (3, 0)])
def test_masks_of_distillation_are_counted_over_processes(counts, tmp_path):
    """Logits of 0: ln 2 for every mask; dice of P = 10 points 1 - (2 · 2.5 + 1) / (5 + 5 + 1)."""

    def losses(rank: int) -> dict[str, Tensor]:
        masks = torch.zeros(counts[rank], 10)
        entropy, dice = mask_distillation(masks, masks)
        return {"entropy": entropy, "dice": dice}

    found = on_two_processes(losses, tmp_path)
    number = sum(counts) / 2
    for count, of_rank in zip(counts, found):
        assert of_rank["entropy"].item() == pytest.approx(0.6931472 * count / number)
        assert of_rank["dice"].item() == pytest.approx(5 / 11 * count / number)


def test_one_process_divides_by_its_own_weights():
    assert class_loss(torch.zeros(2, 3), torch.tensor([0, 2]), 0.1).item() == pytest.approx(1.0986123)
