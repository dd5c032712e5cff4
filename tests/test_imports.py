"""What importing the package registers and loads, in one process that has imported nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import json, sys
import zsseg_d2
from detectron2.data import DatasetCatalog
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
told = {"registered": ["FCCLIP" in META_ARCH_REGISTRY, "CLIP" in BACKBONE_REGISTRY,
                       "FCCLIPHead" in SEM_SEG_HEADS_REGISTRY,
                       "openvocab_cityscapes_fine_panoptic_train_008" in DatasetCatalog.list()]}
told["package"] = list(sys.modules)
import zsseg_d2.data.phrasecut.phrase_mapper, zsseg_d2.auto_vocabulary.finder
told["more"] = list(sys.modules)
told["predictor"] = zsseg_d2.Predictor.__module__
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT, check=True)
    return json.loads(done.stdout)


def test_import_alone_registers_everything(told):
    assert told["registered"] == [True] * 4


def test_the_package_loads_no_predictor_until_one_is_used(told):
    assert "zsseg_d2.data.families" in told["package"]
    assert [name for name in told["package"] if name.startswith("zsseg_d2.engine")] == []
    assert told["predictor"] == "zsseg_d2.engine.prediction.predictor"


@pytest.mark.parametrize(
    "heavy",
    ["zsseg_d2.data.synthetic", "scipy.ndimage", "cityscapesscripts", "open_clip", "timm", "transformers"]
    + ["textblob", "nltk", "lemminflect"],
)
def test_renderers_and_rarely_used_libraries_are_loaded_when_used(told, heavy):
    assert "zsseg_d2.auto_vocabulary.finder" in told["more"]
    assert [name for name in told["more"] if name.startswith(heavy)] == []
