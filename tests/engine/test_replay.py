"""Replay: which images share a batch with those of DATASETS.TRAIN, and with which names they are compared."""

from __future__ import annotations

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.utils import comm

from tests.data.tiny_cityscapes import make_tiny_cityscapes
from tests.tiny import tiny_config, tiny_dataset, training_item
from zsseg_d2.class_sets import ClassSets
from zsseg_d2.data.panoptic.cityscapes import register_cityscapes_panoptic
from zsseg_d2.engine.checkpoints.training_provenance import of_training
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.engine.training.loaders import ReplayLoader, build_train_loader, evenly_spread, images_replayed

R = "ZSSEG.REPLAY."
TRAIN = tiny_dataset("tiny_train_replay", deleted=(2, 3))
WORLD = tiny_dataset("tiny_world", ("person", "tree, bush", "cars", "a bench", "sky", "hat"))


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    root = make_tiny_cityscapes(tmp_path_factory.mktemp("own"), "train", images=5)
    other = make_tiny_cityscapes(tmp_path_factory.mktemp("world"), "train", images=3)
    register_cityscapes_panoptic("replay_own", root, "train", deleted="008")
    register_cityscapes_panoptic("replay_world", other, "train", deleted="008")
    yield "replay_own", "replay_world"
    for name in ("replay_own", "replay_world"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    ("batch", "share", "count"),
    [(8, 0.25, 2), (4, 0.25, 1), (4, 0.5, 2), (4, 0.01, 1), (4, 1.0, 3), (2, 0.5, 1), (8, 0.3, 2)],
)
def test_images_of_a_batch_by_hand(batch, share, count):
    assert images_replayed(batch, share) == count


def test_a_batch_of_one_image_cannot_be_shared():
    with pytest.raises(ConfigError, match="SOLVER.IMS_PER_BATCH=1: .* two images or more"):
        images_replayed(1, 0.25)


def test_a_part_is_spread_over_the_whole():
    records = [{"n": k} for k in range(10)]
    assert [r["n"] for r in evenly_spread(records, 4)] == [0, 2, 5, 7]
    assert [r["n"] for r in evenly_spread(records, 1)] == [0]
    assert evenly_spread(records, 0) == evenly_spread(records, 11) == records


def config(data_sets, *options):
    own, world = data_sets
    sizes = ("INPUT.MIN_SIZE_TRAIN", (32,), "DATALOADER.NUM_WORKERS", 0, "SEED", 3, "SOLVER.IMS_PER_BATCH", 4)
    names = ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 19, R + "DATASET", world)
    return tiny_config(*sizes, *names, *options, train=own, test=own)


def seen(loader, count, start=0):
    """(dataset, image) of each item of a few batches."""
    loader.start_iter = start
    return [[(i["dataset_name"], i["image_id"]) for i in batch] for batch, _ in zip(loader, range(count))]


def test_every_batch_holds_its_share(data_sets):
    own, world = data_sets
    batches = seen(build_train_loader(config(data_sets, R + "SHARE", 0.5)), 6)
    assert all([name for name, _ in batch] == [own, own, world, world] for batch in batches)
    # Twelve images of each: all five once, again, and two; all three four times.
    counts = {
        name: [sum(batches, []).count(image) for image in set(sum(batches, [])) if image[0] == name]
        for name in data_sets
    }
    assert sorted(counts[own]) == [2, 2, 2, 3, 3] and counts[world] == [4, 4, 4]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("grouping", [True, False])
def test_processes_share_the_batches_of_one(data_sets, processes, grouping, monkeypatch):
    """One image in four is replayed; it is in the last process's part."""
    cfg = config(data_sets, R + "SHARE", 0.25, "DATALOADER.ASPECT_RATIO_GROUPING", grouping)
    together = [batch for batch, _ in zip(build_train_loader(cfg), range(5))]
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    for rank in range(processes):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        for whole, part in zip(together, build_train_loader(cfg), strict=False):
            assert [i["dataset_name"] for i in part] == [i["dataset_name"] for i in whole[rank::processes]]
            assert all(torch.equal(a["image"], b["image"]) for a, b in zip(part, whole[rank::processes], strict=True))


def test_what_is_replayed_does_not_change_what_is_trained_on(data_sets):
    """With two images of three to train on, they are those of a batch of two without replay."""
    own, _ = data_sets
    mixed = build_train_loader(config(data_sets, "SOLVER.IMS_PER_BATCH", 3, R + "SHARE", 0.3))
    alone = build_train_loader(config(data_sets, "SOLVER.IMS_PER_BATCH", 2, R + "DATASET", ""))
    assert isinstance(mixed, ReplayLoader) and not isinstance(alone, ReplayLoader)
    for batch, plain, _ in zip(mixed, alone, range(4)):
        assert all(torch.equal(a["image"], b["image"]) for a, b in zip(batch, plain)) and len(batch) == 3
    assert mixed.latest[:2] == alone.latest and len(mixed.latest) == 3


def test_a_resumed_loader_continues(data_sets):
    through = seen(build_train_loader(config(data_sets)), 7)
    assert seen(build_train_loader(config(data_sets)), 3, start=4) == through[4:]


def test_a_part_of_the_images_is_replayed(data_sets):
    _, world = data_sets
    batches = seen(build_train_loader(config(data_sets, R + "SIZE", 1)), 5)
    assert len({item for batch in batches for item in batch if item[0] == world}) == 1


def tiny_model(*options, architecture="FCCLIP"):
    torch.manual_seed(0)
    options = ("MODEL.META_ARCHITECTURE", architecture, R + "DATASET", WORLD, *options)
    return build_model(tiny_config(*options, train=TRAIN)).train()


OWN = {**training_item(classes=(0, 1)), "dataset_name": TRAIN}
AGAIN = {**training_item(64, 96, classes=(0, 5)), "dataset_name": WORLD}


def test_each_image_is_compared_with_its_own_names():
    model = tiny_model()
    batch = model.training_batch([OWN, AGAIN])
    features = model.clip_features(batch.images, batch.padding)
    decoded = model.decode(features, batch.padding, items=[OWN, AGAIN])
    layers, _ = model.predictions(decoded, [OWN, AGAIN])
    assert [p.class_logits.shape[-1] for p in layers[-1]] == [5, 7]
    words = MetadataCatalog.get(WORLD).vocabulary
    queries, _ = model.sem_seg_head(features, return_aux=False)
    expected = model.class_logits(queries[-1], model.text_rows(words), words)[1]
    torch.testing.assert_close(layers[-1][1].class_logits, expected)
    assert [t.labels.tolist() for t in model.targets([OWN, AGAIN])] == [[0, 1], [0, 5]]


@pytest.mark.parametrize("architecture", ["FCCLIP", "DistilledFCCLIP", "CombinedFCCLIP", "MeanTeacherFCCLIP"])
def test_the_losses_of_a_mixed_batch_are_finite_and_reach_the_weights(architecture):
    model = tiny_model(architecture=architecture)
    losses = model([OWN, AGAIN])
    sum(losses.values()).backward()
    assert all(torch.isfinite(v) for v in losses.values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(bool(torch.isfinite(g).all()) for g in gradients)


@pytest.mark.parametrize("architecture", ["DistilledFCCLIP", "MeanTeacherFCCLIP"])
def test_a_teacher_says_nothing_of_images_with_labels_of_all_classes(architecture):
    """Of a batch that is replayed as a whole, nothing is taught."""
    model = tiny_model(architecture=architecture)
    if architecture == "MeanTeacherFCCLIP":
        batch = model.training_batch([AGAIN])
        (target,) = model.taught_targets([AGAIN], model.clip_features(batch.images), None)
        assert target.doubt is None and target.labels.tolist() == [0, 5]
        return
    both, alone = model([OWN, AGAIN])["loss_distill"], tiny_model(architecture=architecture)([OWN])["loss_distill"]
    assert both.item() == pytest.approx(alone.item(), rel=1e-4)


def test_a_label_that_is_deleted_in_one_set_may_be_replayed_from_another():
    """Class 3 is a deleted car in one, and a bench in the other."""
    model = tiny_model()
    bench = {**training_item(classes=(3,)), "dataset_name": WORLD}
    assert torch.isfinite(model([OWN, bench])["loss_ce"])
    with pytest.raises(ValueError, match="labels of classes that the dataset deletes: car"):
        model([{**bench, "dataset_name": TRAIN}])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (TRAIN, "it is one of DATASETS.TRAIN"),
        (tiny_dataset("tiny_told"), "ground truth of person, car, which DATASETS.TRAIN deletes"),
        ("phrasecut_val", "it has no vocabulary"),
    ],
)
def test_what_cannot_be_replayed(name, message):
    with pytest.raises(ValueError, match=f"ZSSEG.REPLAY.DATASET={name}: .*{message}"):
        ClassSets.from_config(tiny_config(R + "DATASET", name, train=TRAIN))


def test_weights_say_what_was_replayed(data_sets):
    names = [d.name for d in of_training(config(data_sets)).step.datasets]
    assert names == list(data_sets)
