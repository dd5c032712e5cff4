"""A small workspace with one file of every format that the programs read."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zsseg_d2
from tests.data.tiny_garden import make_garden
from tests.faults.cases import Outcome, run_program
from zsseg_d2.engine.config.packaged import config_root

SMALL = [
    *("INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "128", "DATALOADER.NUM_WORKERS", "0", "SEED", "1"),
    *("MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", "False"),
]
TRAIN = [
    *("INPUT.CROP.SIZE", "[64,64]", "INPUT.MIN_SIZE_TRAIN", "[64]", "SOLVER.IMS_PER_BATCH", "2"),
    *("SOLVER.CHECKPOINT_PERIOD", "1", "DATASETS.TEST", "()"),
]
PHRASES = ["INPUT.PHRASE.SIZE", "64", "ZSSEG.SAMPLES.PERIOD", "0"]
SUITE = """\
title: faults
output: suite
seeds: [1]
options: {INPUT.MIN_SIZE_TEST: 64, INPUT.MAX_SIZE_TEST: 128, DATALOADER.NUM_WORKERS: 0}
runs:
  - {name: zero, config: minicity/zero_shot.yaml, eval_only: true, seeds: once}
"""
CONFIG = "_BASE_: {base}\nINPUT:\n  MIN_SIZE_TEST: 64\nSEED: 1\nDATALOADER:\n  NUM_WORKERS: 0\n"

GARDEN = (
    *("evaluate", "--config-file", "config.yaml", "--dataset", "garden/garden.yaml", *SMALL),
    *("DATASETS.TEST", "('garden_val',)", "OUTPUT_DIR", "{out}"),
)


@dataclass(frozen=True)
class Target:
    """A file to damage, and a command that reads it.

    Args:
        file: relative to the workspace.
        words: the command; ``{out}`` is a fresh folder.
        before: a folder of the workspace that is copied to ``{out}`` first, for commands that resume.
    """

    file: str
    words: tuple[str, ...]
    before: str = ""


class Workspace:
    """The files, made by the programs themselves.

    Args:
        root: an empty folder, or an earlier workspace.
    """

    def __init__(self, root: Path) -> None:
        _import_all()
        self.root = root.resolve()
        self.environment = {
            "DETECTRON2_DATASETS": str(self.root / "datasets"),
            "ZSSEG_D2_CACHE": str(self.root / "cache"),
            "FVCORE_CACHE": str(self.root / "downloads"),
        }
        done = self.root / "complete"
        if not done.exists():
            self._make()
            done.touch()
        self.targets = self._targets()
        self.undisturbed: dict[str, Any] = {}
        """What programs wrote here; see :func:`tests.faults.commands.run_undisturbed`."""

    def run(self, *words: str, **options) -> Outcome:
        """Run a program in the workspace; see :func:`tests.faults.cases.run_program`."""
        options.setdefault("environment", self.environment)
        return run_program(list(words), folder=self.root, **options)

    def _make(self) -> None:
        (self.root / "datasets").mkdir(parents=True, exist_ok=True)
        for words in (
            "make-minicity --root datasets --train 2 --val 1 --height 64 --width 128 --num-workers 1",
            "make-miniphrases --root datasets --train 4 --val 2 --test 2 --miniv 2 --side 64 --num-workers 1",
        ):
            self._must(*words.split())
        (self.root / "config.yaml").write_text(CONFIG.format(base=config_root() / "minicity" / "zero_shot.yaml"))
        (self.root / "suite.yaml").write_text(SUITE)
        names = zsseg_d2.Vocabulary.load("cityscapes").classes
        (self.root / "words.txt").write_text("".join(", ".join(synonyms) + "\n" for synonyms in names))
        (self.root / "words.yaml").write_text("".join(f"- [{', '.join(synonyms)}]\n" for synonyms in names))
        package = Path(zsseg_d2.__file__).parent
        shutil.copy(package / "weights" / "mini_fcclip.safetensors", self.root / "weights.safetensors")
        scene = next((self.root / "datasets/minicity/leftImg8bit/val").rglob("*.png"))
        from PIL import Image

        for name in ("image.png", "image.jpg", "image.tif", "image.webp", "image.bmp", "image.gif"):
            Image.open(scene).convert("RGB").save(self.root / name)
        for name, mode in (("foregrounds", "RGBA"), ("backgrounds", "RGB")):
            (self.root / name).mkdir()
            Image.open(scene).convert(mode).save(self.root / name / "image.png")
        self._must("evaluate", "--config-file", "config.yaml", *SMALL, "OUTPUT_DIR", "evaluated")
        self._must(*_train("trained"), "SOLVER.MAX_ITER", "2")
        self._must(*_phrases("phrases"), "SOLVER.MAX_ITER", "1")
        self._must("export-weights", "trained/model_final.pth", "exported.safetensors")
        self._must("combined-weights", "join", "exported.safetensors", "weights.safetensors", "combined.safetensors")
        self._must("delete-classes", "--root", "datasets/minicity", "--configuration", "008", "--output", "deleted")
        make_garden(self.root / "garden", images=2)
        self._must(*_predict("found"))
        self._must(*_label("made/labelled"))  # it records the way to the dataset, which is as far from {out}
        self._must("run-suite", "suite.yaml", timeout=300)

    def _must(self, *words: str, **options) -> None:
        outcome = self.run(*words, **options)
        if outcome.kind != "accepted":
            raise RuntimeError(f"{' '.join(words)}: {outcome.kind}\n{outcome.output}")

    def _targets(self) -> list[Target]:
        city, phrases = "datasets/minicity", next((self.root / "datasets").glob("*hrase*"))
        evaluate = ("evaluate", "--config-file", "config.yaml", *SMALL, "OUTPUT_DIR", "{out}")
        delete = ("delete-classes", "--root", city, "--configuration", "008", "--num-workers", "1", "--output", "{out}")
        delete_garden = ("delete-classes", "--dataset", "garden/garden.yaml", "--all", "--num-workers", "1")
        delete_garden = (*delete_garden, "--output", "{out}")
        report = ("run-suite", "suite.yaml", "--report", "--output", "{out}")
        resume = (*_train("{out}"), "--resume", "SOLVER.MAX_ITER", "3")
        found = [
            Target("config.yaml", evaluate),
            Target("words.txt", (*evaluate, "ZSSEG.VOCABULARY", "words.txt")),
            Target("words.yaml", (*evaluate, "ZSSEG.VOCABULARY", "words.yaml")),
            Target("weights.safetensors", (*evaluate, "MODEL.WEIGHTS", "weights.safetensors")),
            Target("trained/model_final.pth", (*evaluate, "MODEL.WEIGHTS", "trained/model_final.pth")),
            Target("trained/model_final.pth", ("export-weights", "trained/model_final.pth", "{out}/x.safetensors")),
            Target("exported.safetensors", (*evaluate, "MODEL.WEIGHTS", "exported.safetensors")),
            Target("combined.safetensors", _split("{out}")),
            Target("suite.yaml", ("run-suite", "suite.yaml", "--dry-run", "--output", "{out}")),
            Target("manifest.json", delete, "deleted"),
            Target("found/.predictions.jsonl", _predict("{out}"), "found"),
            Target("garden/garden.yaml", GARDEN),
            Target("garden/panoptic_val.json", GARDEN),
            Target("garden/panoptic_val/val_0.png", GARDEN),
            Target("garden/garden.yaml", delete_garden),
            Target("garden/panoptic_train.json", delete_garden),
        ]
        found += [Target(p, evaluate) for p in self._files(f"{city}", "*.json") if "_train" not in p]
        found += [Target(p, delete) for p in self._files(f"{city}/gtFine", "*train*.json")]
        found += [Target(p, delete) for p in self._files(f"{city}/gtFine", "*_train_*/*.png", 2)]
        found += [Target(p, delete) for p in self._files(f"{city}/gtFine/train", "*.png", 4)]
        found += [Target(p, evaluate) for p in self._files(f"{city}/gtFine", "*_val*/*.png", 1)]
        found += [Target(p, evaluate) for p in self._files(f"{city}/leftImg8bit/val", "*.png", 1)]
        found += [Target(p, evaluate) for p in self._files("cache", "*", 3)]
        found += [Target(p, resume, "trained") for p in self._files("trained", "*") if "events" not in p]
        found += [Target(p, _label("{out}"), "made/labelled") for p in self._files("made/labelled", "*.json")]
        found += [Target(p, report, "suite") for p in self._files("suite", "*.json*")]
        validate = ("prepare-phrasecut", "--root", str(phrases.relative_to(self.root)))
        found += [Target(p, validate) for p in self._files(str(phrases.relative_to(self.root)), "*.json")]
        found += [Target(p, validate) for p in self._files(f"{phrases.relative_to(self.root)}/images", "*", 2)]
        segment = ("segment", "--phrase", "car", "--output", "{out}/shown.png", *PHRASES, "--image")
        found += [Target(p, (*segment, p)) for p in self._files(".", "image.*")]
        return found

    def _files(self, folder: str, pattern: str, most: int = 99) -> list[str]:
        paths = sorted(p for p in (self.root / folder).rglob(pattern) if p.is_file() and not p.is_symlink())
        if folder == ".":
            paths = [p for p in paths if p.parent == self.root]
        return [str(p.relative_to(self.root)) for p in paths[:most]]


def _import_all() -> None:
    """Import what the programs import, so that no fork does it again."""
    for module in pkgutil.walk_packages(zsseg_d2.__path__, "zsseg_d2."):
        if not module.name.endswith(("triton_kernels", "experiments.job", "__main__")):
            importlib.import_module(module.name)


def _train(output: str) -> tuple[str, ...]:
    return ("train", "--config-file", "minicity/in_class_finetune.yaml", *SMALL, *TRAIN, "OUTPUT_DIR", output)


def _phrases(output: str) -> tuple[str, ...]:
    config = ("train", "--config-file", "miniphrases/clipseg_model1.yaml", *SMALL, *PHRASES)
    return (*config, "SOLVER.IMS_PER_BATCH", "2", "DATASETS.TEST", "()", "OUTPUT_DIR", output)


def _split(output: str) -> tuple[str, ...]:
    parts = ("--output-one", f"{output}/one.safetensors", "--output-two", f"{output}/two.safetensors")
    return ("combined-weights", "split", "combined.safetensors", *parts)


def _predict(output: str) -> tuple[str, ...]:
    words = ("predict", "image.png", "image.jpg", "--words", "road, car, sky", "--semantic", "--instances", "--csv")
    return (*words, "--output", output, *SMALL[:4])


def _label(output: str) -> tuple[str, ...]:
    program = ("make-pseudo-labels", "--configuration", "008", "--output", output)
    return (*program, "--config-file", "minicity/zero_shot.yaml", *SMALL)
