"""Files of tensors: what is refused and why, every flipped bit, and equal bytes for equal content."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from zsseg_d2.reading import UnusableFile
from zsseg_d2.tensor_files import read_tensors, save_checkpoint, tensor_digest, write_tensors

ROOT = Path(__file__).resolve().parents[1]
STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3), "b": torch.ones(0, 4)}


def same(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(v, expected[k]) and v.dtype == expected[k].dtype for k, v in found.items()
    )


def saved(path: Path, content: object, **options) -> Path:
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_tensors_and_the_rest(tmp_path, key):
    content = STATE if key is None else {key: STATE, "iteration": 4}
    found = read_tensors(saved(tmp_path / "w.pth", content))
    assert same(found.tensors, STATE) and found.rest == ({} if key is None else {"iteration": 4})


def test_safetensors_with_metadata(tmp_path):
    write_tensors(tmp_path / "w.safetensors", STATE, {"b": 1, "a": ["x"]})
    found = read_tensors(tmp_path / "w.safetensors")
    assert same(found.tensors, STATE) and found.rest == {"a": ["x"], "b": 1}
    save_file(STATE, tmp_path / "theirs.safetensors", {"format": "pt"})
    assert read_tensors(tmp_path / "theirs.safetensors").rest == {"format": "pt"}


def sparse() -> dict:
    return {"w": torch.eye(2).to_sparse()}


def quantized() -> dict:
    return {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({0: torch.ones(1)}, "'0' is not a name but a number"),
        (sparse, "'w' is a sparse, quantized or nested tensor"),
        (quantized, "'w' is a sparse, quantized or nested tensor"),
        ({"w": torch.ones(2, device="meta")}, "'w' is a tensor without values"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, "'w' has the type complex64"),
        ({"w": torch.ones(1).expand(10**6, 10**6)}, "'w' claims more values than the file has"),
        ({"model": {"w": [1.0, 2.0]}}, "'w' is no tensor"),
        ({"model": {}}, "holds no weights"),
        ([torch.ones(1)], "holds no weights"),
        ({"w\x1b[2K": [1]}, r"'w\\x1b\[2K' is no tensor"),
    ],
    ids=lambda value: value.split()[-1] if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_what_is_not_plain_tensors_is_refused(tmp_path, content, told):
    content = content() if callable(content) else content
    with pytest.raises(UnusableFile, match=rf"w\.pth: .*{told}"):
        read_tensors(saved(tmp_path / "w.pth", content))


def test_an_archive_that_expands_is_refused_before_it_is_read(tmp_path):
    saved(tmp_path / "plain.pth", {"w": torch.zeros(4_000_000)})
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "bomb.pth", "w") as bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name), zipfile.ZIP_DEFLATED)
    assert os.path.getsize(tmp_path / "bomb.pth") < 100_000
    with pytest.raises(UnusableFile, match=r"bomb\.pth: is a compressed archive.*Fix"):
        read_tensors(tmp_path / "bomb.pth")


def test_special_files_do_not_block(tmp_path):
    for suffix in ("pth", "safetensors"):
        os.mkfifo(tmp_path / f"w.{suffix}")
        with pytest.raises(UnusableFile, match="a device or a pipe"):
            read_tensors(tmp_path / f"w.{suffix}")


class Exploit:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_pickle_that_runs_code_is_refused(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"model": Exploit()}))
    for _ in range(2):
        with pytest.raises(UnusableFile, match="does not load") as caught:
            read_tensors(path)
        assert "weights_only" not in str(caught.value)
        torch.save({"model": Exploit()}, path)
    assert "code ran" not in capsys.readouterr().out


class Scripted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_archive_is_refused_with_the_conversion(tmp_path):
    torch.jit.script(Scripted()).save(str(tmp_path / "RN50.pt"))
    with pytest.raises(UnusableFile, match="convert it once"):
        read_tensors(tmp_path / "RN50.pt")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["w.pth", "w.safetensors"]))
def test_a_flipped_bit_is_told_or_changes_nothing(tmp_path_factory, data, kind):
    folder = tmp_path_factory.mktemp("flip")
    state = {"w": torch.arange(200.0)}
    if kind == "w.pth":
        save_checkpoint({"model": state}, folder / kind)
    else:
        write_tensors(folder / kind, state, {"note": "x"})
    content = bytearray((folder / kind).read_bytes())
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    content[place // 8] ^= 1 << place % 8
    (folder / kind).write_bytes(content)
    try:
        found = read_tensors(folder / kind).tensors
    except UnusableFile:
        return
    assert same(found, state)


def test_equal_content_gives_equal_bytes(tmp_path):
    """Also under another name, by another process, and where equal parts are one object here and two there."""
    code = (
        "import sys, torch; from zsseg_d2.tensor_files import save_checkpoint, write_tensors\n"
        "pair = (0.9, 0.999); name = ''.join(['st', 'ep'])\n"
        "content = {'model': {'w': torch.ones(3)}, 'groups': [{'betas': pair, name: 1}, {'betas': pair, 'step': 2}]}\n"
        "save_checkpoint(content, sys.argv[1] + '/theirs.pth')\n"
        "write_tensors(sys.argv[1] + '/theirs.safetensors', {'w': torch.ones(3)}, {'a': 1, 'b': 2})\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=ROOT)
    groups = [{"betas": (0.9, 0.999), "step": 1}, {"betas": (0.9, 0.999), "step": 2}]
    save_checkpoint({"model": {"w": torch.ones(3)}, "groups": groups}, tmp_path / "ours.pth")
    write_tensors(tmp_path / "ours.safetensors", {"w": torch.ones(3)}, {"b": 2, "a": 1})
    for suffix in ("pth", "safetensors"):
        assert (tmp_path / f"ours.{suffix}").read_bytes() == (tmp_path / f"theirs.{suffix}").read_bytes()


def test_the_digest_sees_names_types_shapes_and_values():
    changed = [
        {"a": torch.zeros(2)},
        {"b": torch.zeros(2)},
        {"a": torch.zeros(2, dtype=torch.int32)},
        {"a": torch.zeros(1, 2)},
        {"a": torch.tensor([0.0, -0.0])},
    ]
    assert len({tensor_digest(state) for state in changed}) == len(changed)
