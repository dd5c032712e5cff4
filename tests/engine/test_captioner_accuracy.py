"""Noun accuracy on true regions: an oracle, a captioner that always says the same, and regions by hand."""

from __future__ import annotations

import numpy as np
import torch

from zsseg_d2.data.synthetic import CITY, PRETRAINING, Scene, SceneObject, render_scene
from zsseg_d2.engine.training import captioner_accuracy
from zsseg_d2.engine.training.captioner_accuracy import noun_accuracy, regions_of


def thing(index: int, kind: str, is_thing: bool) -> SceneObject:
    return SceneObject(index, kind, None, "medium", (0, 0, 1, 1), 200, is_thing, False, 5.0)


def test_regions_by_hand():
    """Stuff of a class is one region, each thing its own; small ones and kinds without a class are none."""
    index = np.zeros((64, 128), np.int32)
    index[:16], index[16:20, :50], index[48:, :64], index[48:, 64:] = 1, 2, 3, 4
    index[30:34, :50], index[40:44, :50], index[40:42, 60:70] = 5, 6, 7
    kinds = ("sky", "sky", "road", "pole", "car", "car", "dog")
    objects = tuple(thing(i, k, k in ("car", "dog")) for i, k in enumerate(kinds, start=1))
    scene = Scene(np.zeros((64, 128, 3), np.uint8), index, objects, "street")
    names = [c.name for c in PRETRAINING.categories]
    found = [(names[k], int(mask.sum())) for k, mask in regions_of(scene, PRETRAINING)]
    assert sorted(found) == [("car", 200), ("car", 200), ("road", 1024), ("sky", 2248)]


class Says:
    """A captioner of the same words for each set of cells."""

    patch = 16

    def __init__(self, text: str) -> None:
        self.text = text

    def encode(self, image, size):
        return torch.zeros(size[0] // 16, size[1] // 16, 4)

    def caption(self, cells, seeds):
        return [self.text] * len(seeds)


def test_one_word_is_right_where_it_is_true():
    seeds = range(900_000, 900_003)
    scenes = [render_scene(CITY, seed) for seed in seeds]
    regions = [(CITY.categories[k].name, mask.mean() >= 0.01) for s in scenes for k, mask in regions_of(s, CITY)]
    found = noun_accuracy(Says("a picture of the clouds above a street"), CITY, seeds, 64)
    assert found.regions == len(regions) and found.large == sum(large for _, large in regions)
    assert found.right == sum(name == "sky" for name, _ in regions) == 3
    assert found.large_right == sum(name == "sky" and large for name, large in regions)
    assert noun_accuracy(Says("nothing in the picture"), CITY, seeds, 64).right == 0
    assert f"of {len(regions)} regions" in str(found)


class Oracle(Says):
    """Knows the class of each cell by its pixels' majority."""

    def __init__(self, seeds) -> None:
        self.scenes = iter([render_scene(PRETRAINING, seed) for seed in seeds])

    def encode(self, image, size):
        scene = next(self.scenes)
        assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(scene.image))
        h, w = size[0] // 16, size[1] // 16
        names = [c.name for c in PRETRAINING.categories]
        cells = torch.zeros(h, w, len(names))
        for k, mask in regions_of(scene, PRETRAINING):
            cells[..., k] += torch.from_numpy(mask).float().reshape(h, mask.shape[0] // h, w, -1).mean((1, 3))
        return cells

    def caption(self, cells, seeds):
        return [f"a photo of a {PRETRAINING.categories[int(cells.sum(0).argmax())].name}"] * len(seeds)


def test_the_regions_cells_are_its_own():
    """An oracle of cells names nearly all large regions: the right cells are handed over."""
    seeds = range(900_000, 900_004)
    found = noun_accuracy(Oracle(seeds), PRETRAINING, seeds, 256)
    assert found.large_right / found.large > 0.95


def test_validation_scenes_are_those_of_the_datasets():
    from zsseg_d2.data.synthetic import minicity, miniworld

    assert minicity._SEEDS["val"] == miniworld._SEEDS["val"] == captioner_accuracy.VAL_SEED
