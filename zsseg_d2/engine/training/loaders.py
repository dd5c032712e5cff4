"""Endless training batches that depend on the seed and the iteration only, and test batches of one image."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import count, repeat

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, build_detection_test_loader
from detectron2.data.common import DatasetFromList
from detectron2.utils import comm
from numpy.random import SeedSequence
from torch.utils.data import DataLoader, Dataset, Sampler

from ...data.panoptic.mapper import PanopticMapper
from ...data.panoptic.png import DatasetError
from ...data.seeding import numpy_seed
from .. import composite_task
from ..composite_task import StagedMapper, has_composites
from ..errors import ConfigError
from ..referring_task import is_referring, test_samples, training_samples

LARGEST_PASS = 50_000_000
"""Records whose order is drawn as a whole."""


def load_records(names: Sequence[str]) -> list[dict]:
    """Load the records of registered datasets, in order, each with its ``dataset_name``.

    Raises:
        DatasetError: a dataset is empty or cannot be read.
    """
    records = []
    for name in names:
        found = DatasetCatalog.get(name)
        if not found:
            raise DatasetError(f"The dataset '{name}' is empty.")
        records += [{**record, "dataset_name": name} for record in found]
    return records


def build_train_loader(cfg: CfgNode) -> TrainLoader | ReplayLoader:
    """Build the loader of DATASETS.TRAIN, with ZSSEG.REPLAY.DATASET mixed in; SEED must not be negative.

    Raises:
        ConfigError: a batch is too small for both datasets.
    """
    samples: Sequence[dict]
    mapper: Callable[[dict], dict | list[dict]]
    is_wide: Callable[[dict], bool] | None = None
    if has_composites(cfg):
        samples, mapper = composite_task.training_samples(cfg)
    elif is_referring(cfg):
        samples, mapper = training_samples(cfg, load_records(cfg.DATASETS.TRAIN))
    else:
        samples = load_records(cfg.DATASETS.TRAIN)
        mapper = panoptic = PanopticMapper(cfg, training=True)
        if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
            is_wide = panoptic.is_wide
    replay = cfg.ZSSEG.REPLAY
    replayed = images_replayed(cfg.SOLVER.IMS_PER_BATCH, replay.SHARE) if replay.DATASET else 0
    trained = cfg.SOLVER.IMS_PER_BATCH - replayed
    mine = places_of_process(cfg.SOLVER.IMS_PER_BATCH)

    def loader(records: Sequence[dict], batch_size: int, places: Sequence[int], seed: int) -> TrainLoader:
        return TrainLoader(
            records,
            mapper,
            batch_size=batch_size,
            places=places,
            seed=seed,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            is_wide=is_wide,
        )

    own = loader(samples, trained, [place for place in mine if place < trained], cfg.SEED)
    if not replayed:
        return own
    known = evenly_spread(load_records([replay.DATASET]), replay.SIZE)
    seed = int(SeedSequence([cfg.SEED, 1]).generate_state(1)[0])
    return ReplayLoader(own, loader(known, replayed, [place - trained for place in mine if place >= trained], seed))


def images_replayed(batch_size: int, share: float) -> int:
    """Return how many images of a batch, over all processes, are of the replayed dataset.

    At least one is, and one is not.

    Raises:
        ConfigError: a batch is of one image.
    """
    if batch_size < 2:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH={batch_size}: with ZSSEG.REPLAY.DATASET a batch needs two images or more, one of "
            "each dataset. Fix: raise it."
        )
    return min(max(round(batch_size * share), 1), batch_size - 1)


def places_of_process(batch_size: int) -> range:
    """Return which places of a batch are this process's; with P processes, every P-th.

    Raises:
        ValueError: the processes would have different numbers.
    """
    if batch_size % comm.get_world_size():
        raise ValueError(f"A batch of {batch_size} cannot be shared by {comm.get_world_size()} processes.")
    return range(comm.get_rank(), batch_size, comm.get_world_size())


def evenly_spread(records: Sequence[dict], count: int) -> list[dict]:
    """Choose `count` records evenly spread over all; 0, or more than there are: all."""
    if not 0 < count < len(records):
        return list(records)
    return [records[k * len(records) // count] for k in range(count)]


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Build the loader of a test set: one image per batch, with all its phrases if there are any."""
    mapper: Callable[[dict], dict | list[dict]]
    if has_composites(cfg):
        records, mapper = composite_task.test_samples(cfg, dataset_name)
    elif is_referring(cfg):
        records, mapper = test_samples(cfg, load_records([dataset_name]))
    else:
        records, mapper = load_records([dataset_name]), PanopticMapper(cfg, training=False)
    loader = build_detection_test_loader(records, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS)
    loader.collate_fn = _flat  # not an argument in older versions of Detectron2
    return loader


class TrainLoader:
    """Endless batches, the same for any number of workers, and for a run that was resumed.

    The k-th sample of training (counted over all processes) is a function of the seed and k: which record it is, and
    the random numbers of its augmentation. So a run that resumes at ``start_iter`` sees what it would have seen.
    Nothing is read before the first batch.

    Args:
        records: of the dataset.
        mapper: maps a record to an item, or to several that share a place in the batch.
        batch_size: records per batch, over all processes.
        places: of the batch, those whose records this process loads; there may be none.
        seed: of order and augmentation.
        num_workers: processes that load.
        is_wide: tells a record's image from a high one, so that a batch holds only wide or only high images, which
            needs less padding; None: they are mixed.

    Attributes:
        latest: files of the images of the latest batch.
    """

    def __init__(
        self,
        records: Sequence[dict],
        mapper: Callable[[dict], dict | list[dict]],
        *,
        batch_size: int,
        places: Sequence[int],
        seed: int,
        num_workers: int = 0,
        is_wide: Callable[[dict], bool] | None = None,
    ) -> None:
        self.dataset = _SeededDataset(records, mapper, seed)
        self.batch_size, self.places = batch_size, places
        self.seed = seed
        self.num_workers = num_workers
        self.is_wide = is_wide
        self.start_iter = 0
        self.latest: list[str] = []

    def __iter__(self) -> Iterator[list[dict]]:
        for batch in self._batches():
            self.latest = [str(item.get("file_name", "")) for item in batch]
            yield batch

    def _batches(self) -> Iterator[list[dict]]:
        if not self.places:
            yield from repeat([])
        sampler = SampleStream(
            len(self.dataset),
            self.seed,
            start=self.start_iter,
            batch_size=self.batch_size,
            places=self.places,
            is_wide=self._is_wide_at if self.is_wide else None,
        )
        samples = DataLoader(
            self.dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=_ignore_interrupts,
            generator=torch.Generator(),  # else workers that start draw from the model's random numbers
        )
        batch: list = []
        for sample in samples:
            batch.append(sample)
            if len(batch) == len(self.places):
                yield _flat(batch)
                batch = []

    def _is_wide_at(self, index: int) -> bool:
        assert self.is_wide is not None
        return self.is_wide(self.dataset.records[index])


class ReplayLoader:
    """Batches of two loaders joined: what is trained on, then what is replayed. Each is as it is alone.

    Args:
        own: of DATASETS.TRAIN.
        replayed: of the pre-training's dataset.

    Attributes:
        latest: files of the images of the latest batch.
    """

    def __init__(self, own: TrainLoader, replayed: TrainLoader) -> None:
        self.own, self.replayed = own, replayed

    def __iter__(self) -> Iterator[list[dict]]:
        for batch, again in zip(self.own, self.replayed):
            yield [*batch, *again]

    @property
    def latest(self) -> list[str]:
        return [*self.own.latest, *self.replayed.latest]

    @property
    def start_iter(self) -> int:
        """The iteration of the first batch, from 0."""
        return self.own.start_iter

    @start_iter.setter
    def start_iter(self, iteration: int) -> None:
        self.own.start_iter = self.replayed.start_iter = iteration


class SampleStream(Sampler):
    """Yield (position, index) of samples, forever; each pass over the records in a new order.

    Of more than :data:`LARGEST_PASS` records, whose order would fill the memory, each index is drawn by itself.

    Args:
        size: number of records.
        seed: of the orders.
        start: the first batch, from 0.
        batch_size: samples of a batch.
        places: of a batch, those whose samples are wanted, ascending.
        is_wide: tells the index of a wide image from that of a high one. A batch then holds only one kind; it is
            yielded when its last image is found, as :class:`detectron2.data.common.AspectRatioGroupedDataset` does.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        *,
        start: int = 0,
        batch_size: int = 1,
        places: Sequence[int] = (0,),
        is_wide: Callable[[int], bool] | None = None,
    ) -> None:
        self.size, self.seed, self.start = size, seed, start
        self.batch_size, self.places = batch_size, places
        self.is_wide = is_wide

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self.is_wide is None:
            return self._samples(k * self.batch_size + place for k in count(self.start) for place in self.places)
        return self._grouped(cache(self.is_wide))

    def _grouped(self, is_wide: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
        """Group all samples from the first, because a batch holds what earlier ones left."""
        groups: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        batch = 0
        for sample in self._samples(count()):
            group = groups[is_wide(sample[1])]
            group.append(sample)
            if len(group) == self.batch_size:
                if batch >= self.start:
                    yield from [group[place] for place in self.places]
                group.clear()
                batch += 1

    def _samples(self, positions: Iterable[int]) -> Iterator[tuple[int, int]]:
        order, passes = np.empty(0, int), -1
        for position in positions:
            if self.size > LARGEST_PASS:
                yield position, int(np.random.default_rng([self.seed, position]).integers(self.size))
                continue
            if position // self.size != passes:
                passes = position // self.size
                order = np.random.default_rng([self.seed, passes]).permutation(self.size)
            yield position, int(order[position % self.size])


class _SeededDataset(Dataset):
    """Maps a record with random numbers that belong to its position in training."""

    def __init__(self, records: Sequence[dict], mapper: Callable[[dict], dict | list[dict]], seed: int) -> None:
        # Of a list, one array that worker processes share; other sequences make their records when asked.
        self.records = DatasetFromList(records, copy=True) if isinstance(records, list) else records
        self.mapper = mapper
        self.seed = seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> dict | list[dict]:
        position, index = key
        mapper = self.mapper.at(position) if isinstance(self.mapper, StagedMapper) else self.mapper
        with numpy_seed(self.seed, position):
            return mapper(self.records[index])


def _as_it_is(sample: dict | list[dict]) -> dict | list[dict]:
    return sample


def _flat(samples: Sequence[dict | list[dict]]) -> list[dict]:
    """Return the items of a batch; a sample may hold several."""
    return [item for sample in samples for item in (sample if isinstance(sample, list) else [sample])]


def _ignore_interrupts(_worker: int) -> None:
    """Ignore Ctrl-C in a worker; the main process decides when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
