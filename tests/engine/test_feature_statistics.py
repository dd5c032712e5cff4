"""Statistics of a dataset as a program, and an evaluation between two models that reads them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_argument_parser
from PIL import Image

from tests.data.tiny_cityscapes import make_tiny_cityscapes
from zsseg_d2.cli.feature_statistics import main, parse_arguments
from zsseg_d2.data.panoptic.cityscapes import register_cityscapes_panoptic
from zsseg_d2.engine.checkpoints.provenance import provenance_of
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.engine.feature_statistics import write_statistics
from zsseg_d2.engine.run import run_process
from zsseg_d2.modeling.clip.frozen import FrozenCLIP
from zsseg_d2.modeling.clip.towers import find_tower
from zsseg_d2.tensor_files import read_tensors

CONFIG = ["--config-file", "minicity/zero_shot.yaml"]
SMALL = ["INPUT.MIN_SIZE_TEST", "64", "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"]


@pytest.fixture(scope="module", autouse=True)
def data_sets(tmp_path_factory):
    root = make_tiny_cityscapes(tmp_path_factory.mktemp("statistics"), "train", images=5, size=(64, 96))
    make_tiny_cityscapes(root, "val", images=2, size=(64, 96))
    for name, split in (("statistics_train", "train"), ("statistics_val", "val")):
        register_cityscapes_panoptic(name, root, split)
    yield
    for name in ("statistics_train", "statistics_val"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def made(output, *options: str, of: str = "statistics_train") -> str:
    return write_statistics(parse_arguments(["--output", str(output), "--of", of, *options, *CONFIG, *SMALL]))


def test_the_file_holds_mean_and_covariance_of_the_embeddings(tmp_path):
    """Against CLIP by itself: all of an image is one region, and NumPy's mean and covariance."""
    file = tmp_path / "statistics.safetensors"
    assert "2 tensors" in made(file)
    clip = FrozenCLIP.build("mini_rn", "zsseg_d2://weights/mini_clip.safetensors")
    tower = find_tower(clip.clip_model.visual)
    rows = []
    for record in DatasetCatalog.get("statistics_train"):
        pixels = torch.from_numpy(np.array(Image.open(record["file_name"]))).permute(2, 0, 1).float()
        mean, std = (
            torch.tensor([122.7709383, 116.7460125, 104.09373615]),
            torch.tensor([68.5005327, 66.6321579, 70.32316305]),
        )
        dense = tower.dense_features(((pixels - mean[:, None, None]) / std[:, None, None])[None])["clip_vis_dense"]
        row = tower.region_embeddings(dense, torch.ones(1, 1, *dense.shape[-2:]) > 0)[0, 0].detach().numpy()
        rows.append(row / np.linalg.norm(row))
    found = read_tensors(file)
    np.testing.assert_allclose(found.tensors["mean"].numpy(), np.mean(rows, 0), atol=1e-5)
    np.testing.assert_allclose(found.tensors["covariance"].numpy(), np.cov(np.array(rows).T, bias=True), atol=1e-6)
    assert found.rest["images"] == 5


def test_it_names_the_dataset_but_no_label(tmp_path):
    file = tmp_path / "statistics.safetensors"
    made(file, "--images", "2")
    (dataset,) = provenance_of(file).step.datasets
    assert dataset.name == "statistics_train" and len(dataset.classes) == 19 and not dataset.labeled
    assert provenance_of(file).complete and read_tensors(file).rest["images"] == 2
    with pytest.raises(FileExistsError, match="--overwrite"):
        made(file)
    made(file, "--overwrite")


@pytest.mark.parametrize(
    ("of", "options", "message"),
    [
        ("statistics_trian", [], "--of statistics_trian: there is no such dataset. Did you mean statistics_train"),
        ("statistics_train", ["--images", "1"], "two images or more have a covariance"),
    ],
)
def test_mistakes_are_told(of, options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        made(tmp_path / "statistics.safetensors", *options, of=of)
    with pytest.raises(SystemExit):
        main(["--output", str(tmp_path / "s.safetensors"), "--of", of, *options, *CONFIG, *SMALL])


def evaluate(output, *options):
    """The packaged config, with the embedded weights at both ends; the second file is of the val images."""
    files = {"ONE": output / "train.safetensors", "TWO": output / "val.safetensors"}
    for (_, file), of in zip(files.items(), ("statistics_train", "statistics_val")):
        if not file.is_file():
            made(file, of=of)
    opts = [word for key, file in files.items() for word in (f"ZSSEG.INTERPOLATION.STATISTICS_{key}", str(file))]
    mini = "zsseg_d2://weights/mini_fcclip.safetensors"
    opts += ["ZSSEG.MODEL_TWO.WEIGHTS", mini, "DATASETS.TEST", "('statistics_val',)", "OUTPUT_DIR", str(output / "out")]
    words = ["--eval-only", "--config-file", "minicity/interpolated.yaml", *SMALL, *opts, *map(str, options)]
    return run_process(default_argument_parser().parse_args(words))


def test_an_evaluation_between_two_models(tmp_path):
    """Both are the same here, so that the result is theirs."""
    plain = [
        "--eval-only",
        *CONFIG,
        *SMALL,
        "DATASETS.TEST",
        "('statistics_val',)",
        "OUTPUT_DIR",
        str(tmp_path / "one"),
    ]
    assert evaluate(tmp_path) == run_process(default_argument_parser().parse_args(plain))


def test_statistics_that_are_missing_or_of_another_clip(tmp_path):
    with pytest.raises(RuntimeError, match="STATISTICS_ONE: there are no weights .*tools/feature_statistics.py"):
        evaluate(tmp_path, "ZSSEG.INTERPOLATION.STATISTICS_ONE", tmp_path / "none.safetensors")
    with pytest.raises(RuntimeError, match="STATISTICS_TWO: .*do not fit the model's shapes: mean"):
        wide = {"mean": torch.zeros(3), "covariance": torch.eye(3)}
        torch.save({"model": wide}, tmp_path / "wide.pth")
        evaluate(tmp_path, "ZSSEG.INTERPOLATION.STATISTICS_TWO", tmp_path / "wide.pth")


def test_a_negative_number_of_images_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--config-file", "x.yaml", "--of", "y", "--output", "z.safetensors", "--images", "-3"])
    assert "--images: it must be a number of images" in capsys.readouterr().err
