"""A stub of ``tools/train_net.py`` that takes no time, and suite files that use it.

``python train_net.py --config-file … [--eval-only] [--resume] KEY VALUE …`` writes what the real program writes into
OUTPUT_DIR. ``behaviour.json`` next to it lists, by name of the run, what else happens; ``calls.jsonl`` is its log.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import yaml

FIGURES = {
    "zero_shot": (50.0, 20.0),
    "upper": (62.0, 40.0),
    "lower": (64.0, 0.0),
    "naive": (63.0, 20.0),
    "both": (63.5, 30.0),
}
"""PQ of In and Out by run; seed s adds s to In and 2 s to Out."""

CLASSES = {"road": "In", "sky": "In", "wall": "In", "car": "Out", "bus": "Out"}


def report(pq_in: float, pq_out: float) -> dict:
    """A panoptic_quality.json of three In and two Out classes."""
    value = {"In": pq_in, "Out": pq_out}
    return {
        "All": {"PQ": (3 * pq_in + 2 * pq_out) / 5, "n": 5},
        "In": {"PQ": pq_in, "n": 3},
        "Out": {"PQ": pq_out, "n": 2},
        "per_class": {name: {"PQ": value[group], "group": group} for name, group in CLASSES.items()},
    }


def write_tools(folder: Path, **behaviour: dict) -> Path:
    """A folder of programs with the stub as train_net.py.

    Args:
        behaviour: by name of the run: ``fail`` (a message), ``wait`` (seconds an iteration or an evaluation),
            ``until`` (a file that it waits for, after the first one),
            ``silent`` (writes no metrics), ``ignore`` (does not stop when asked to), ``curve`` (writes curve.json),
            ``commit``, ``makes`` (a manifest.json of a dataset: refuses to replace one of other options, as
            make_pseudo_labels does) and ``seconds`` (that it notes there).
    """
    folder.mkdir(exist_ok=True)
    (folder / "train_net.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "step.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    set_behaviour(folder, **behaviour)
    return folder


def run_program(words: list[str], tools: Path) -> int:
    """Run ``run_suite.py`` on the stubs; returns the exit status and prints messages as Python does at the end."""
    from zsseg_d2.cli import run_suite  # not at the top: the copies of this file are programs

    try:
        return run_suite.main(words, tools=tools) or 0
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return 1 if isinstance(stop.code, str) else int(stop.code or 0)


def set_behaviour(folder: Path, **behaviour: dict) -> None:
    (folder / "behaviour.json").write_text(json.dumps(behaviour))


def calls(folder: Path) -> list[dict]:
    """What was started, in that order."""
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def names(started: list[dict]) -> list[str]:
    """Return run and seed of each call."""
    return [f"{call['run']} {call['seed']}" for call in started]


def row(results, name):
    """Return the row of a run, of results."""
    return next(r for r in results.rows if r.run.name == name)


def write_suite(path: Path, **changes: object) -> Path:
    """A suite of five runs with the corners, one that needs another, and one that stands for itself."""
    trained = {"config": "minicity/in_class_finetune.yaml"}
    content = {
        "title": "A small suite",
        "output": str(path.parent / "out"),
        "seeds": [1, 2],
        "options": {"SOLVER.MAX_ITER": 4},
        "runs": [
            {
                "name": "zero_shot",
                "label": "zero shot",
                "config": "minicity/zero_shot.yaml",
                "eval_only": True,
                "seeds": "once",
                "role": "zero_shot",
            },
            {"name": "upper", "role": "upper_bound", "leak_free": False, "config": "minicity/full_finetune.yaml"},
            {"name": "lower", "role": "lower_bound", **trained},
            {
                "name": "naive",
                "config": "minicity/naive.yaml",
                "eval_only": True,
                "options": {"ZSSEG.MODEL_TWO.WEIGHTS": "{lower}/model_final.pth"},
            },
            {"name": "both", "label": "both at once", **trained, "options": {"SOLVER.BASE_LR": 0.002}},
        ],
        **changes,
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def wait_for(condition: Callable[[], object], seconds: float = 180.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def interrupt_when(condition: Callable[[], object], number: int = signal.SIGINT, times: int = 1) -> threading.Thread:
    """Send a signal to this process once something is true, from a thread."""

    def wait() -> None:
        wait_for(condition)
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.4)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def _main() -> None:
    words = sys.argv[1:]
    flags = {"--eval-only", "--resume", "--overwrite"} & set(words)
    words = [w for w in words if w not in flags]
    if words[:1] == ["--config-file"]:
        words = words[2:]
    options = dict(zip(words[::2], words[1::2]))
    here, folder = Path(__file__).parent, Path(options["OUTPUT_DIR"])
    name, seed = folder.name, int(options.get("SEED", 0))
    mine = json.loads((here / "behaviour.json").read_text()).get(name, {})
    with open(here / "calls.jsonl", "a") as file:
        threads, gpu = os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES")
        entry = {"run": name, "seed": seed, "threads": threads, "gpu": gpu, "options": options}
        entry |= {flag[2:]: flag in flags for flag in ("--resume", "--overwrite")}
        entry["plugins"] = os.environ.get("ZSSEG_D2_PLUGINS")
        file.write(json.dumps({**entry, "start": time.time()}) + "\n")
    weights = options.get("ZSSEG.MODEL_TWO.WEIGHTS")
    if weights and not Path(weights).is_file():
        sys.exit(f"error: there are no weights {weights}")
    if "fail" in mine:
        print(f"line before\n{mine['fail']}")
        sys.exit(3)
    if "makes" in mine:
        _make(Path(mine["makes"]), options, mine.get("seconds"), "--overwrite" in flags)
    _work(
        folder,
        name,
        seed,
        "--eval-only" in flags,
        "--resume" in flags,
        int(options.get("SOLVER.MAX_ITER", 0)),
        mine,
        options,
    )


def _make(manifest: Path, options: dict, seconds: float | None, overwrite: bool) -> None:
    arguments = {key: value for key, value in options.items() if key.startswith("ZSSEG.")}
    if manifest.exists() and not overwrite:
        if json.loads(manifest.read_text())["splits"]["train"]["arguments"] != arguments:
            sys.exit(f"error: {manifest.parent} was made with other arguments; give --overwrite to replace it.")
        return
    manifest.parent.mkdir(parents=True, exist_ok=True)
    noted = {} if seconds is None else {"seconds": seconds}
    manifest.write_text(json.dumps({"splits": {"train": {"arguments": arguments, **noted}}}))


def _work(
    folder: Path, name: str, seed: int, eval_only: bool, resume: bool, iterations: int, mine: dict, options: dict
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stop: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))
    record = {"mode": "eval" if eval_only else "train", "seed": seed, "status": "running"}
    record["parameters"] = {"total": 1_500_000 if name == "naive" else 1_000_000, "trainable": 10}
    record["git_commit"] = mine.get("commit", "a" * 40)
    record["machine"] = {"platform": "Linux-1", "cpus": 2, "threads": 1, "gpu": None}
    record["versions"] = {"torch": "2.0", "detectron2": "0.5"}
    checkpoint = folder / "last_checkpoint"
    first = int(checkpoint.read_text()) if resume else 0
    pq_in, pq_out = (value + k * seed for k, value in zip((1, 2), FIGURES.get(name, (10.0, 10.0))))
    for k in range(0 if eval_only else first, 1 if eval_only else iterations):
        time.sleep(mine.get("wait", 0))
        if not eval_only:
            with open(folder / "metrics.json", "a") as file:
                file.write(json.dumps({"iteration": k, "time": 2.0}) + "\n")
                if k % 2 == 1:
                    scores = {"PQ": pq_in - 1, "PQ_in": pq_in - 3 + k, "PQ_out": pq_out - 3 + k}
                    line = {
                        "iteration": k + (k == iterations - 1),
                        **{f"panoptic_seg/{m}": v for m, v in scores.items()},
                    }
                    file.write(json.dumps(line) + "\n")
            partial = checkpoint.with_suffix(".partial")
            partial.write_text(str(k + 1))
            partial.replace(checkpoint)  # whole wherever the process is killed
        while "until" in mine and not Path(mine["until"]).exists() and not stop:
            time.sleep(0.05)
        if stop and not mine.get("ignore"):
            (folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
            sys.exit(130)
    if not mine.get("silent"):
        (folder / "inference" / "some_set").mkdir(parents=True, exist_ok=True)
        (folder / "inference" / "some_set" / "panoptic_quality.json").write_text(json.dumps(report(pq_in, pq_out)))
        for k, dataset in enumerate(ast.literal_eval(options.get("DATASETS.FINAL_TEST", "()"))):
            place = folder / "inference" / dataset
            place.mkdir(parents=True, exist_ok=True)
            further = mine.get("further", [[pq_in - 4, pq_out - 2], [30.0, 30.0]])
            (place / "panoptic_quality.json").write_text(json.dumps(report(*further[k])))
    if mine.get("curve"):
        points = [{"alpha": a, "pq_all": 40 + a, "pq_in": 50 + seed * a, "pq_out": 20.0} for a in (0.0, 0.5, 1.0)]
        (folder / "curve.json").write_text(json.dumps({"dataset": "some_set", "points": points}))
    (folder / "model_final.pth").write_text("weights")
    (folder / "run.json").write_text(json.dumps({**record, "status": "finished"}))


if __name__ == "__main__":
    _main()
