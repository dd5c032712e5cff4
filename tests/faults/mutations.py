"""Damaging files: bytes of any file, values of JSON and YAML, tensors of weights, and what is no file at all."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

ODD = [
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, 2**70, -(2**40), 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "-1", "nan", "../../../etc/passwd", "/etc/passwd", "a\0b", "\x1b[2Jred", "汽车", "a" * 5000),
    *([], [[]], [None], ["a", "a"], [1, "a", {}], {}, {"a": 1}, {"": {}}, [0] * 300),
]
"""Values in the place of any other; JSON and YAML can write all of them."""


def mutate(path: Path, rng: random.Random) -> str:
    """Damage a file in one random way, by its format or whatever its format.

    Returns:
        What was done.
    """
    kinds: list[Callable[[Path, random.Random], str]] = [damage_bytes, damage_bytes, replace_file]
    if path.suffix in (".json", ".yaml", ".yml"):
        kinds += [damage_structure] * 5
    if path.suffix in (".pth", ".safetensors"):
        kinds += [damage_tensors] * 5
    for kind in rng.sample(kinds, len(kinds)):
        try:
            return kind(path, rng)
        except (ValueError, TypeError, KeyError, RuntimeError, yaml.YAMLError):
            continue  # the file is empty or its values cannot be written: another way
    return replace_file(path, rng)


def damage_bytes(path: Path, rng: random.Random) -> str:
    """Flip, cut, repeat or insert bytes."""
    content = bytearray(path.read_bytes())
    if not content:
        raise ValueError("nothing to damage")
    at = rng.randrange(len(content))
    end = min(len(content), at + rng.choice((1, 2, 8, 100, 5000)))
    kind = rng.choice(("flip", "flip", "cut off", "remove", "repeat", "insert", "zero"))
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 1, 5, 50))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "cut off":
        del content[at:]
    elif kind == "remove":
        del content[at:end]
    elif kind == "repeat":
        content[at:at] = content[at:end]
    elif kind == "insert":
        content[at:at] = rng.randbytes(end - at)
    else:
        content[at:end] = bytes(end - at)
    path.write_bytes(content)
    return f"{kind} at byte {at}"


def replace_file(path: Path, rng: random.Random) -> str:
    """Put something else in the place of the file."""
    kind = rng.choice(
        ("nothing", "empty", "noise", "folder", "pipe", "device", "loop", "dead link", "terabyte", "text")
    )
    path.unlink()
    if kind == "empty":
        path.touch()
    elif kind == "noise":
        path.write_bytes(rng.randbytes(rng.randrange(1, 3000)))
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dead link":
        path.symlink_to("not there")
    elif kind == "terabyte":
        with open(path, "wb") as file:
            file.truncate(2**40)
    elif kind == "text":
        path.write_text("<html>404 not found</html>\n")
    elif kind == "deep":
        path.write_text("[" * 100_000)
    return f"replaced by {kind}"


def damage_structure(path: Path, rng: random.Random) -> str:
    """Change one value, key or entry of a JSON or YAML file."""
    as_json = path.suffix == ".json"
    text = path.read_text(encoding="utf-8")
    content = json.loads(text) if as_json else yaml.safe_load(text)
    places = list(_places(content))
    where, parent, key = rng.choice(places)
    kind = rng.choice(("replace", "replace", "replace", "remove", "rename", "repeat", "nest"))
    if parent is None:
        content = copy.deepcopy(rng.choice(ODD))
        kind = "replace"
    elif kind == "replace":
        parent[key] = copy.deepcopy(rng.choice(ODD))
    elif kind == "remove":
        del parent[key]
    elif kind == "rename" and isinstance(parent, dict):
        parent[rng.choice(("x", "", "id", 5, "\x1b[2J"))] = parent.pop(key)
    elif kind == "repeat" and isinstance(parent, list):
        parent.insert(0, copy.deepcopy(parent[key]))
    else:
        deep: Any = 1
        for _ in range(rng.choice((3, 60))):
            deep = [deep]
        parent[key] = deep
    path.write_text(json.dumps(content) if as_json else yaml.safe_dump(content), encoding="utf-8")
    return f"{kind} {where or 'all'}"


def _places(value: Any, where: str = "", parent: Any = None, key: Any = None) -> Iterator[tuple[str, Any, Any]]:
    yield where, parent, key
    if isinstance(value, dict):
        for k, inner in value.items():
            yield from _places(inner, f"{where}.{k}", value, k)
    elif isinstance(value, list):
        for k, inner in enumerate(value[:20]):
            yield from _places(inner, f"{where}[{k}]", value, k)


def damage_tensors(path: Path, rng: random.Random) -> str:
    """Change one tensor of a weights file, or the structure around it."""
    if path.suffix == ".safetensors":
        tensors = safetensors.torch.load_file(path)
        name, kind = rng.choice(sorted(tensors)), rng.choice(("missing", "nan", "inf", "half", "int", "shape", "extra"))
        _change(tensors, name, kind)
        safetensors.torch.save_file(tensors, path)
        return f"{kind} {name}"
    content = torch.load(path, weights_only=True)
    tensors = content.get("model", content)
    if not isinstance(tensors, dict) or rng.random() < 0.3:
        key = rng.choice(sorted(content, key=str))
        content[key] = copy.deepcopy(rng.choice(ODD))
        torch.save(content, path)
        return f"replace {key}"
    name = rng.choice(sorted(tensors))
    kind = rng.choice(("missing", "nan", "inf", "half", "int", "shape", "extra", "key", "sparse", "meta", "value"))
    _change(tensors, name, kind)
    torch.save(content, path)
    return f"{kind} {name}"


def _change(tensors: dict, name: str, kind: str) -> None:
    tensor = tensors[name]
    if kind == "missing":
        del tensors[name]
    elif kind in ("nan", "inf"):
        tensor.view(-1)[0] = float(kind)
    elif kind in ("half", "int"):
        tensors[name] = tensor.to(torch.float16 if kind == "half" else torch.int64)
    elif kind == "shape":
        tensors[name] = torch.zeros(*tensor.shape, 2)
    elif kind == "extra":
        tensors["not.a.parameter"] = torch.zeros(3)
    elif kind == "key":
        tensors[5] = tensors.pop(name)
    elif kind == "sparse":
        tensors[name] = tensor.to_sparse()
    elif kind == "meta":
        tensors[name] = tensor.to("meta")
    else:
        tensors[name] = "text"


def restore(path: Path, kept: Path) -> None:
    """Put the undamaged file back, whatever stands in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(kept, path)
