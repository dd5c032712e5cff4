"""Odd values of config keys and odd YAML files: each is accepted, or refused with one sentence.

    python -m tests.faults.config_values --cases 1000 [--seed 0] [--build]

Prints every case that ends otherwise, and their number; the exit status is 1 if there are any.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from detectron2.config import CfgNode, get_cfg

from zsseg_d2 import add_zsseg_config
from zsseg_d2.engine.config.references import leaves
from zsseg_d2.engine.config.setup import setup_cfg
from zsseg_d2.engine.errors import CheckpointError, ConfigError, explanation

CONFIGS = ("minicity/full_finetune.yaml", "minicity/combined_entropy.yaml", "miniphrases/unet_vit.yaml")
ODD_VALUES = (
    *("None", "True", "False", "0", "1", "-1", "3", "1000000000000", "-1000000000000", "0.0", "0.5", "1.5", "-0.5"),
    *("1e400", "-1e400", "float('nan')", "1e-400", "''", "'x'", "' '", "'\\x00'", "'../x'", "'a\\nb'", "()", "[]"),
    *("(1,)", "[0]", "[-1]", "[None]", "['']", "[[]]", "(1, 2, 3)", "[0.5, 2.0]", "('x',)", "{}", "{'a': 1}", "b'x'"),
    *("[" * 50 + "]" * 50, "[" * 5000 + "]" * 5000, "1j", "'${SEED}'", "'${X}'", "'${'", "1" * 5000, "nan", "inf"),
)
ODD_FILES = (
    *(b"", b"3", b"- 1", b"text", b"null", b"a: b: c", b"\xff\xfe", b"\x00", b"{", b"SEED: [", b"? [1, 2]\n: 3"),
    *(b"_BASE_: 3", b"_BASE_: [3]", b"_BASE_: {a: b}", b"_BASE_: null", b"_BASE_: [[x.yaml]]", b"_BASE_: true"),
    *(b"_BASE_: 2020-01-01", b"_BASE_: /dev/zero", b"_BASE_: /", b"_BASE_: case.yaml", b"_BASE_: ''", b"_BASE_: .nan"),
    *(b"SEED: 2020-01-01", b"SEED: 2020-01-01 10:00:00", b"2020-01-01: 3", b"1: 2", b"null: 3", b"true: 3", b"1.5: 2"),
    *(b"SEED: !!binary aGVsbG8=", b"SEED: !!set {a, b}", b"SEED: !!python/object/apply:os.system ['true']"),
    *(b"SEED: !!python/name:os.system", b"SEED: !!python/object/apply:eval [1]", b"SEED: !!omap [a: 1]"),
    *(b"MODEL: 3", b"MODEL: null", b"MODEL: [1]", b"SEED: {a: 1}", b"SOLVER: {STEPS: {a: 1}}", b"SEED: 99999-99-99"),
    *(b"MODEL: {SEM_SEG_HEAD: null}", b"ZSSEG: {TOWER: 3}", b"&a [*a]", b"MODEL: &a {FPN: *a}", b"a: &a [*a]"),
    b"SOLVER: {STEPS: &a [*a]}",
    b"DATASETS: {TRAIN: " + b"[" * 2000 + b"]" * 2000 + b"}",
    b"SEED: " + b"{a: " * 3000 + b"1" + b"}" * 3000,
    b"x: &a [1,1,1,1,1,1,1,1,1]\n" + b"".join(b"x%d: &b%d [%s]\n" % (k, k, b",".join([b"*a"] * 9)) for k in range(9)),
    b"a0: &a0 [1,1]\n" + b"".join(b"a%d: &a%d [*a%d,*a%d]\n" % (k, k, k - 1, k - 1) for k in range(1, 60)),
    b"SEED: " + b"9" * 5000,
    b"#" * 3_000_000,
)


_PATH_OR_KEY = re.compile(r"(^|[\s'])/\S*|^[A-Z][A-Z_.]+=")


@cache
def keys() -> list[str]:
    """Return every config key."""
    cfg = get_cfg()
    add_zsseg_config(cfg)
    return [key for key, _ in leaves(cfg)]


def cases(count: int, seed: int) -> Iterator[tuple[str, list[str], bytes]]:
    """Yield (config file, options, content of a YAML file or b""): all odd files, then keys with odd values."""
    rng = random.Random(seed)
    for content in ODD_FILES[:count]:
        yield "case.yaml", [], content
    left, names = count - len(ODD_FILES), keys()
    order = [(key, value) for key in names for value in ODD_VALUES]
    rng.shuffle(order)
    for key, value in order[: max(left, 0)]:
        if rng.random() < 0.2:
            *nodes, last = key.split(".")
            text = (
                "".join(f"{'  ' * k}{node}:\n" for k, node in enumerate(nodes)) + f"{'  ' * len(nodes)}{last}: {value}"
            )
            yield "case.yaml", [], text.encode("utf-8", "surrogatepass")
        else:
            yield rng.choice(CONFIGS), [key, value], b""


def outcome(config: str, options: list[str], content: bytes, folder: Path, *, build: bool = False) -> str:
    """Run one case.

    Args:
        config: name of a packaged file, or of the one that is written.
        options: KEY VALUE words.
        content: what is written into that file.
        folder: for the file.
        build: also build model, optimizer and schedule of accepted training configs.

    Returns:
        ``"accepted"``, ``"refused"``, or what is wrong: the traceback, or a refusal that is of several lines, or names
        neither the key nor a file.
    """
    path = folder / config if content or config == "case.yaml" else Path(config)
    if config == "case.yaml":
        path.write_bytes(content)
    small = ["MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", "False", "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", ""]
    small = [word for k, v in zip(small[::2], small[1::2]) if k not in options for word in (k, v)]
    try:
        cfg = setup_cfg(argparse.Namespace(config_file=str(path), opts=[*small, *options]))
        if build:
            build_all(cfg)
    except (ConfigError, CheckpointError) as error:
        said = explanation(error) or ""
        named = options[0] in said if options else bool(_PATH_OR_KEY.search(said)) or any(k in said for k in keys())
        return "refused" if named and "\n" not in said else f"a refusal that does not help: {said}"
    except Exception:
        return traceback.format_exc()
    return "accepted"


def build_all(cfg: CfgNode) -> None:
    """Build what a training builds before its first iteration, without data."""
    from zsseg_d2.data.panoptic.mapper import PanopticMapper
    from zsseg_d2.engine.referring_task import is_referring
    from zsseg_d2.engine.training.trainer import Trainer

    model = Trainer.build_model(cfg)
    optimizer = Trainer.build_optimizer(cfg, model)
    Trainer.build_lr_scheduler(cfg, optimizer)
    if not is_referring(cfg):
        PanopticMapper(cfg, training=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build", action="store_true", help="also build the models of accepted configs")
    args = parser.parse_args()
    counts: dict[str, int] = {}
    with TemporaryDirectory() as folder:
        for config, options, content in cases(args.cases, args.seed):
            found = outcome(config, options, content, Path(folder), build=args.build)
            known = found if found in ("accepted", "refused") else "neither"
            counts[known] = counts.get(known, 0) + 1
            if known == "neither":
                print(config, options, content[:80], found, sep="\n", flush=True)
    print(counts)
    return int("neither" in counts)


if __name__ == "__main__":
    sys.exit(main())
