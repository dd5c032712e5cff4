"""Interpolation against NumPy, splitting and joining as inverses, and messages about files that do not fit."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import load_file

from zsseg_d2.engine.checkpoints.weight_arithmetic import (
    interpolate,
    join_parts,
    kind_of,
    split_parts,
    teacher_of,
)
from zsseg_d2.engine.checkpoints.weights_files import check_output, holds_already, read_weights, write_weights
from zsseg_d2.engine.errors import CheckpointError, ConfigError

numbers = st.floats(-1e4, 1e4, width=32)
names = st.text("abc.0", min_size=1, max_size=8).map("sem_seg_head.{}".format)
dtypes = st.sampled_from((torch.float32, torch.float16, torch.bfloat16))


@st.composite
def states(draw) -> dict[str, torch.Tensor]:
    """An ordinary checkpoint: a few names of the head, void, and now and then a CLIP."""
    keys = draw(st.sets(names, min_size=1, max_size=4)) | {"void_embedding.weight"}
    keys |= draw(st.sets(st.just("backbone.clip_model.proj")))
    shapes = hnp.array_shapes(min_dims=0, max_dims=2, max_side=3)
    return {k: torch.from_numpy(draw(hnp.arrays(np.float32, shapes, elements=numbers))) for k in sorted(keys)}


def another(state: dict, draw) -> dict:
    """Other trained weights of the same names and shapes, on the same CLIP."""
    drawn = {k: draw(hnp.arrays(np.float32, tuple(v.shape), elements=numbers)) for k, v in state.items()}
    return {k: v if k.startswith("backbone") else torch.from_numpy(drawn[k]) for k, v in state.items()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


@given(states(), st.floats(0, 1), dtypes, dtypes, st.data())
def test_interpolation_is_equation_1(start, alpha, dtype_start, dtype_end, data):
    end = another(start, data.draw)
    start, end = ({k: v.to(d) for k, v in s.items()} for s, d in ((start, dtype_start), (end, dtype_end)))
    clip = "backbone.clip_model.proj"
    if clip in start:
        end[clip] = start[clip]
    mixed = interpolate(start, end, alpha)
    assert mixed.keys() == start.keys()
    for name, value in mixed.items():
        a, b = start[name].float().numpy(), end[name].float().numpy()
        if name == clip:
            assert torch.equal(value, start[name])
            continue
        assert value.dtype == torch.float32
        weight = np.float32(1 - alpha), np.float32(alpha)
        expected = weight[0] * a + weight[1] * b
        np.testing.assert_allclose(
            value.numpy(), expected, rtol=1e-5, atol=1e-6 * max(np.abs(a).max(), np.abs(b).max(), 1)
        )


@given(states(), st.data())
def test_the_ends_are_exact(start, data):
    end = another(start, data.draw)
    assert same(interpolate(start, end, 0), start) and same(interpolate(start, end, 1), end)


def test_the_ends_are_exact_where_the_formula_is_not():
    start, end = {"a": torch.tensor([-0.0, 1.0])}, {"a": torch.tensor([1.0, float("inf")])}
    assert torch.signbit(interpolate(start, end, 0)["a"])[0] and interpolate(start, end, 0)["a"][1] == 1
    double = {"a": torch.tensor([1 / 3], dtype=torch.float64)}
    assert torch.equal(interpolate(double, {"a": torch.ones(1)}, 0)["a"], double["a"])


def test_alpha_has_ends():
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="it must be in .0, 1., from zero-shot"):
            interpolate({}, {}, alpha)


HEAD = {"sem_seg_head.w": torch.ones(2, 3), "void_embedding.weight": torch.zeros(1, 4)}
CLIP = {"backbone.clip_model.w": torch.full((2,), 1 / 3), "backbone.clip_model.n": torch.tensor(5)}


def test_clip_is_taken_over_from_whichever_has_it():
    for start, end in ((HEAD, {**HEAD, **CLIP}), ({**HEAD, **CLIP}, HEAD), ({**HEAD, **CLIP},) * 2):
        mixed = interpolate(start, end, 0.5)
        assert all(torch.equal(mixed[k], v) for k, v in CLIP.items()) and mixed.keys() == {**HEAD, **CLIP}.keys()
    half = {k: v.half() if v.is_floating_point() else v for k, v in CLIP.items()}
    for start, end in (({**HEAD, **half}, {**HEAD, **CLIP}), ({**HEAD, **CLIP}, {**HEAD, **half})):
        assert torch.equal(interpolate(start, end, 0.5)["backbone.clip_model.w"], CLIP["backbone.clip_model.w"])


def test_wrapper_names_and_constants_are_passed_over():
    wrapped = {f"module.{k}": v for k, v in {**HEAD, "criterion.empty_weight": torch.ones(134)}.items()}
    assert same(interpolate(wrapped, HEAD, 0.5), HEAD) and same(interpolate(HEAD, wrapped, 0.5), HEAD)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"sem_seg_head.extra": torch.ones(1)},
            "not of one architecture. 1 names are in b.pth alone: sem_seg_head.extra",
        ),
        ({"sem_seg_head.w": torch.ones(3, 3)}, "weights of different shapes: sem_seg_head.w (2, 3) and (3, 3)"),
        ({"sem_seg_head.w": torch.ones(2, 3).int()}, "integers in one alone: sem_seg_head.w"),
        ({"sem_seg_head.n": torch.tensor(2)}, "integer tensors that differ: sem_seg_head.n"),
        ({"backbone.clip_model.w": torch.zeros(2)}, "frozen CLIP that differ"),
        ({"backbone.clip_model.n": torch.tensor(6)}, "frozen CLIP that differ"),
        (None, "b.pth is a checkpoint of two models"),
    ],
)
def test_weights_that_do_not_belong_together(changed, told):
    start = {**HEAD, **CLIP}
    if changed is not None and "sem_seg_head.n" in changed:
        start["sem_seg_head.n"] = torch.tensor(1)
    end = {**start, **changed} if changed is not None else join_parts(start, start)
    with pytest.raises(CheckpointError, match=re.escape(told)):
        interpolate(start, end, 0.5, sources=("a.pth", "b.pth"))


# two models in one file


@given(states(), st.data())
def test_split_and_join_are_inverses(one, data):
    two = another(one, data.draw)
    combined = join_parts(one, two)
    assert (kind_of(one), kind_of(combined)) == ("single", "combined") and len(combined) == len(one) + len(two)
    parts = split_parts(combined)
    assert same(parts[0], one) and same(parts[1], two) and same(join_parts(*parts), combined)
    wrapped = {f"module.{k}": v for k, v in combined.items()}
    assert kind_of(wrapped) == "combined" and same(split_parts(wrapped)[1], two)


def test_kinds_by_name():
    assert kind_of({}) == kind_of({"roi_heads.w": 0}) == kind_of({"model_one.sem_seg_head.w": 0}) == "other"
    assert kind_of({"module.void_embedding.weight": 0}) == kind_of({"teacher.sem_seg_head.w": 0, **HEAD}) == "single"


def test_of_a_mean_teacher_the_student_is_read_unless_the_teacher_is_asked_for():
    teacher = {k: v + 2 for k, v in HEAD.items()}
    both = {**HEAD, **{f"teacher.{k}": v for k, v in teacher.items()}}
    two = {**{f"model_one.{k}": v for k, v in both.items()}, **{f"model_two.{k}": v for k, v in HEAD.items()}}
    assert same(teacher_of(both), teacher) and same(teacher_of(two), teacher)
    assert same(teacher_of({f"module.{k}": v for k, v in two.items()}), teacher)
    assert same(split_parts(two)[0], HEAD) and same(join_parts(both, HEAD), join_parts(HEAD, HEAD))
    assert same(interpolate(HEAD, both, 1), HEAD)
    with pytest.raises(CheckpointError, match="a.pth holds no mean teacher: no name begins with teacher. or model_one"):
        teacher_of(HEAD, "a.pth")


def test_files_of_the_wrong_kind():
    half = {f"model_one.{k}": v for k, v in HEAD.items()}
    with pytest.raises(CheckpointError, match="a.pth is an ordinary FC-CLIP checkpoint: there is nothing to split"):
        split_parts(HEAD, "a.pth")
    for state, told in (
        ({"roi_heads.w": torch.ones(1)}, "it has roi_heads.w"),
        (half, "both must occur, and it has model_one"),
        ({**join_parts(HEAD, HEAD), "teacher.w": torch.ones(1)}, "it has teacher.w"),
    ):
        with pytest.raises(CheckpointError, match=f"a.pth is not a checkpoint of two models.*{told}"):
            split_parts(state, "a.pth")
    for state, told in (
        (join_parts(HEAD, HEAD), "already one of two models"),
        ({"w": torch.ones(1)}, "none: it has w"),
    ):
        with pytest.raises(CheckpointError, match=f"is needed, and b.pth is {told}"):
            join_parts(HEAD, state, sources=("a.pth", "b.pth"))
    fewer_queries = {**HEAD, "sem_seg_head.w": torch.ones(1, 3)}
    with pytest.raises(CheckpointError, match="different shapes"):
        join_parts(HEAD, fewer_queries)


# files


def test_weights_are_written_whole(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    line = write_weights(
        tmp_path / "new" / "w.safetensors", {"a": shared, "b": shared, "t": shared.T, "n": torch.tensor(3)}
    )
    read = read_weights(tmp_path / "new" / "w.safetensors")
    assert "4 tensors" in line and torch.equal(read["t"], shared.T) and torch.equal(read["b"], shared)
    write_weights(tmp_path / "half.safetensors", {"a": shared, "n": torch.tensor(3)}, half=True)
    half = read_weights(tmp_path / "half.safetensors")
    assert half["a"].dtype == torch.float16 and half["n"].dtype == torch.int64
    with pytest.raises(FileExistsError, match="--overwrite"):
        check_output(tmp_path / "half.safetensors", overwrite=False)
    with pytest.raises(ConfigError, match="must end in .safetensors"):
        check_output("w.pth")
    with pytest.raises(CheckpointError, match="no file of weights 'none.pth'"):
        read_weights("none.pth")


def tool(name: str, *arguments) -> None:
    importlib.import_module(f"zsseg_d2.cli.{name}").main([str(a) for a in arguments])


def test_the_tool_splits_and_joins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two = {k: v + 1 for k, v in HEAD.items()}
    torch.save({"model": join_parts(HEAD, two), "iteration": 3}, "model_final.pth")
    tool("combined_weights", "split", "model_final.pth")
    assert same(load_file("model_final_one.safetensors"), HEAD) and same(load_file("model_final_two.safetensors"), two)
    before = Path("model_final_one.safetensors").stat().st_mtime_ns
    Path("model_final_two.safetensors").unlink()  # as if the program had been killed between its two files
    tool("combined_weights", "split", "model_final.pth")
    assert same(load_file("model_final_two.safetensors"), two)
    assert Path("model_final_one.safetensors").stat().st_mtime_ns == before
    Path("model_final_one.safetensors").unlink()
    Path("model_final_two.safetensors").write_bytes(b"something else")
    with pytest.raises(SystemExit, match="error: 'model_final_two.safetensors' exists already"):
        tool("combined_weights", "split", "model_final.pth")
    assert not Path("model_final_one.safetensors").exists()
    with pytest.raises(SystemExit, match="error: --output-one and --output-two are the same file"):
        outputs = ("--output-one", "a.safetensors", "--output-two", "a.safetensors")
        tool("combined_weights", "split", "model_final.pth", *outputs)
    tool("combined_weights", "split", "model_final.pth", "--overwrite")
    with pytest.raises(SystemExit, match="error: 'model_final_one.safetensors' is an ordinary FC-CLIP checkpoint"):
        tool("combined_weights", "split", "model_final_one.safetensors")
    tool(
        "combined_weights",
        "join",
        "model_final_one.safetensors",
        "model_final_two.safetensors",
        "joined.safetensors",
    )
    assert same(load_file("joined.safetensors"), join_parts(HEAD, two))
    tool("combined_weights", "join", "model_final_one.safetensors", "model_final_two.safetensors", "joined.safetensors")
    with pytest.raises(SystemExit, match="error: 'joined.safetensors' exists already"):
        others = ("model_final_two.safetensors", "model_final_one.safetensors")
        tool("combined_weights", "join", *others, "joined.safetensors")


def test_the_tool_takes_out_a_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {**HEAD, "teacher.sem_seg_head.w": torch.zeros(2)}}, "model_final.pth")
    tool("combined_weights", "teacher", "model_final.pth")
    assert same(load_file("model_final_teacher.safetensors"), {"sem_seg_head.w": torch.zeros(2)})
    tool("combined_weights", "teacher", "model_final.pth")  # it is there already
    with pytest.raises(SystemExit, match="error: 'model_final_teacher.safetensors' holds no mean teacher"):
        tool("combined_weights", "teacher", "model_final_teacher.safetensors", "--output", "again.safetensors")


def test_files_count_as_written_by_all_that_they_hold(tmp_path):
    path, entries = tmp_path / "w.safetensors", {"made_by": ["x", "y"]}
    write_weights(path, HEAD, metadata=entries)
    assert holds_already(path, HEAD, entries) and holds_already(path, HEAD, {"made_by": ("x", "y")})
    assert not holds_already(path, {name: value + 1 for name, value in HEAD.items()}, entries)
    assert not holds_already(path, HEAD, {"made_by": ["z"]}) and not holds_already(tmp_path / "none", HEAD, entries)
    path.write_bytes(b"something else")
    assert not holds_already(path, HEAD, entries)


def test_the_export_tool_and_its_messages(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": HEAD}, "model_final.pth")
    tool("export_weights", "model_final.pth", "w.safetensors", "--half")
    assert load_file("w.safetensors")["sem_seg_head.w"].dtype == torch.float16
    assert "wrote w.safetensors: 2 tensors" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="error: There is no file of weights 'none.pth'"):
        tool("export_weights", "none.pth", "w.safetensors")
