"""What is written, what is read, and what is said when the two do not fit."""

from __future__ import annotations

import logging
import os
import pickle

import pytest
import torch
from torch import nn

from zsseg_d2.engine.checkpoints.checkpointer import ZssegCheckpointer
from zsseg_d2.engine.checkpoints.loading import load_state
from zsseg_d2.engine.errors import CheckpointError


class Small(nn.Module):
    """``backbone.clip_model`` is frozen, ``head`` is not."""

    def __init__(self, out: int = 3) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.clip_model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(2, out), nn.LayerNorm(out))


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO, logger="zsseg_d2")


@pytest.fixture
def saved(tmp_path):
    model = Small()
    ZssegCheckpointer(model, str(tmp_path)).save("model_0000001", iteration=1)
    return model, tmp_path / "model_0000001.pth"


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_round_trip_without_the_frozen_clip(saved, caplog):
    model, path = saved
    content = torch.load(path, weights_only=True)
    assert content["iteration"] == 1 and set(content["model"]) == {
        k for k in model.state_dict() if k.startswith("head")
    }
    assert (path.parent / "last_checkpoint").read_text() == path.name
    other = Small()
    ZssegCheckpointer(other).load(str(path))
    assert same(other.head, model.head) and not same(other.backbone, model.backbone)
    told = [r.message for r in caplog.records if "backbone.clip_model" in r.message]
    assert len(told) == 1 and "as expected" in told[0]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_clip_that_is_random_or_trained_is_saved(tmp_path):
    model = Small()
    ZssegCheckpointer(model, str(tmp_path), save_frozen=True).save("random")
    assert set(torch.load(tmp_path / "random.pth")["model"]) == set(model.state_dict())
    model.backbone.clip_model[0].weight.requires_grad_(True)
    ZssegCheckpointer(model, str(tmp_path)).save("trained")
    assert set(torch.load(tmp_path / "trained.pth")["model"]) == set(model.state_dict())
    other = Small()
    ZssegCheckpointer(other).load(str(tmp_path / "trained.pth"))
    assert same(other, model)


def test_an_interrupted_save_leaves_the_old_checkpoint(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()

    def half(data, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        ZssegCheckpointer(model, str(path.parent)).save("model_0000001")
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["last_checkpoint", "model_0000001.pth"]


def test_safetensors_half_precision_and_module_prefix(tmp_path):
    from safetensors.torch import save_file

    model = Small()
    state = {f"module.{k}": v.half().contiguous() for k, v in model.state_dict().items() if k.startswith("head")}
    save_file(state, tmp_path / "w.safetensors")
    other = Small()
    ZssegCheckpointer(other).load(str(tmp_path / "w.safetensors"))
    assert other.head[0].weight.dtype == torch.float32
    torch.testing.assert_close(other.head[0].weight, model.head[0].weight, atol=1e-3, rtol=1e-3)


def test_missing_and_unexpected_names_are_one_readable_message(caplog):
    state = Small().head.state_dict(prefix="head.")
    state |= {"predecessor.a.weight": torch.zeros(1), "predecessor.a.bias": torch.zeros(1)}
    load_state(Small(), state)
    assert "2 in predecessor.a" in caplog.text and "missing" not in caplog.text
    caplog.clear()
    del state["head.1.weight"], state["head.1.bias"]
    with pytest.raises(CheckpointError, match=r"2 in head\.1 [\s\S]*ZSSEG\.STRICT_WEIGHTS False"):
        load_state(Small(), state)
    load_state(Small(), state, strict=False)
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "2 in head.1 (head.1.weight, head.1.bias)" in warnings[0]
    assert "2 in predecessor.a (predecessor.a.weight, predecessor.a.bias)" in warnings[0]


def test_constants_of_released_checkpoints_are_passed_over(caplog):
    model = Small()
    state = {
        **model.head.state_dict(prefix="head."),
        "criterion.empty_weight": torch.zeros(134),
        "pixel_mean": torch.ones(3),
    }
    load_state(Small(), state)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_shapes_that_do_not_fit_are_an_error_that_names_them():
    model = Small()
    before = model.head[0].weight.clone()
    with pytest.raises(CheckpointError, match=r"head\.0\.weight \(5, 2\), model \(3, 2\)"):
        load_state(model, Small(out=5).state_dict())
    assert torch.equal(model.head[0].weight, before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(bad, caplog):
    state = Small().head.state_dict(prefix="head.")
    state["head.0.bias"] = torch.tensor([0.0, bad, 0.0])
    model = Small()
    before = model.head[0].bias.clone()
    with pytest.raises(CheckpointError, match=r"1 weights .* not finite: 1 in head\.0 \(head\.0\.bias\)"):
        load_state(model, state)
    assert torch.equal(model.head[0].bias, before)
    load_state(model, state, strict=False)
    assert not torch.isfinite(model.head[0].bias).all() and "not finite" in caplog.text


def test_values_beyond_the_models_type_are_refused():
    state = Small().head.state_dict(prefix="head.")
    state["head.0.bias"] = torch.full((3,), 1e300, dtype=torch.float64)
    with pytest.raises(CheckpointError, match="not finite"):
        load_state(Small(), state)


def test_integers_in_the_place_of_numbers_are_refused():
    state = Small().head.state_dict(prefix="head.")
    state["head.0.weight"] = state["head.0.weight"].to(torch.int64)
    with pytest.raises(CheckpointError, match=r"kind of number: head\.0\.weight is int64, in the model float32"):
        load_state(Small(), state)


def test_a_checkpoint_of_another_model_is_an_error():
    with pytest.raises(CheckpointError, match="another model.*roi_heads"):
        load_state(Small(), {"roi_heads.box.weight": torch.zeros(2)})
    with pytest.raises(CheckpointError, match="another model"):
        load_state(Small(), {})


def test_pickles_are_refused_unread(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    for name in ("w.pkl", "w.pth"):
        (tmp_path / name).write_bytes(pickle.dumps({"model": Bomb()}))
        with pytest.raises(CheckpointError, match="pickle"):
            ZssegCheckpointer(Small()).load(str(tmp_path / name))
    torch.save({"model": Bomb()}, tmp_path / "z.pth")
    with pytest.raises(CheckpointError, match="z.pth"):
        ZssegCheckpointer(Small()).load(str(tmp_path / "z.pth"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 half a zip"])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_files_are_one_clear_error(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        ZssegCheckpointer(Small()).load(str(tmp_path / name))


def test_files_without_weights_are_told(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    for name in ("list.pth", "numbers.pth"):
        with pytest.raises(CheckpointError, match="holds no weights"):
            ZssegCheckpointer(Small()).load(str(tmp_path / name))


def test_a_missing_file_says_what_to_get_and_where_to_put_it(tmp_path):
    with pytest.raises(CheckpointError, match=r"no weights 'weights/none.pth'.*fc-clip.*MODEL.WEIGHTS"):
        ZssegCheckpointer(Small()).load("weights/none.pth")
    (tmp_path / "last_checkpoint").write_text("gone.pth")
    with pytest.raises(CheckpointError, match="gone.pth"):
        ZssegCheckpointer(Small(), str(tmp_path)).resume_or_load("", resume=True)


def test_an_address_that_does_not_answer_says_so():
    with pytest.raises(CheckpointError, match="MODEL.WEIGHTS: .*could not be fetched.*Fix: download"):
        ZssegCheckpointer(Small()).load("http://127.0.0.1:9/fcclip.pth")


def test_no_weights_at_all(caplog):
    assert ZssegCheckpointer(Small()).load("") == {}
    assert "random weights" in caplog.text
