"""Endless training batches that depend on the seed and the iteration only, and test batches of one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, build_detection_test_loader
from detectron2.data.common import AspectRatioGroupedDataset, DatasetFromList
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data.mappers import PanopticMapper
from ..data.panoptic_png import DatasetError


def load_records(names: Sequence[str]) -> list[dict]:
    """Records of registered data sets, one after the other, each with its ``dataset_name``.

    Raises:
        DatasetError: a data set is empty, or cannot be read.
    """
    records = []
    for name in names:
        found = DatasetCatalog.get(name)
        if not found:
            raise DatasetError(f"The data set '{name}' is empty.")
        records += [{**record, "dataset_name": name} for record in found]
    return records


def build_train_loader(cfg: CfgNode) -> TrainLoader:
    """Batches of DATASETS.TRAIN; SEED must be chosen (not negative)."""
    return TrainLoader(
        load_records(cfg.DATASETS.TRAIN),
        PanopticMapper(cfg, training=True),
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        seed=cfg.SEED,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        group_by_aspect=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
    )


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """All images of a data set, one a batch; processes share them."""
    return build_detection_test_loader(
        load_records([dataset_name]),
        mapper=PanopticMapper(cfg, training=False),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


class TrainLoader:
    """Endless batches, the same for any number of workers, whether training ran through or was resumed.

    The k-th sample of training (counted over all processes) is a function of the seed and k: which record it is, and the
    random numbers of its augmentation. So a run that resumes at ``start_iter`` sees what it would have seen. (Where images
    of upright and lying formats are mixed and ``group_by_aspect`` is on, resuming forgets the images that waited for
    company.) Nothing is read before the first batch is asked for.
    """

    def __init__(
        self,
        records: Sequence[dict],
        mapper: Callable[[dict], dict],
        *,
        batch_size: int,
        seed: int,
        num_workers: int = 0,
        group_by_aspect: bool = True,
    ) -> None:
        """
        Args:
            batch_size: images a batch, over all processes; a multiple of their number.
            group_by_aspect: let batches hold images wider than high, or others, not both: less padding.
        """
        if batch_size % comm.get_world_size():
            raise ValueError(f"A batch of {batch_size} cannot be shared by {comm.get_world_size()} processes.")
        self.dataset = _SeededDataset(records, mapper, seed)
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.group_by_aspect = group_by_aspect
        self.start_iter = 0

    def __iter__(self) -> Iterator[list[dict]]:
        sampler = SampleStream(len(self.dataset), self.seed, start=self.start_iter * self.batch_size)
        samples = DataLoader(
            self.dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=_ignore_interrupts,
            generator=torch.Generator(),  # else starting workers would draw from the model's random numbers
        )
        share = self.batch_size // comm.get_world_size()
        if self.group_by_aspect:
            yield from AspectRatioGroupedDataset(samples, share)
        batch: list[dict] = []
        for sample in samples:
            batch.append(sample)
            if len(batch) == share:
                yield batch
                batch = []


class SampleStream(Sampler):
    """(position, index) of this process's samples, forever: each pass over the records in a new order."""

    def __init__(self, size: int, seed: int, *, start: int = 0) -> None:
        """
        Args:
            size: number of records. start: position of the first sample of all processes together.
        """
        self.size, self.seed, self.start = size, seed, start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position, order, passes = self.start + comm.get_rank(), None, -1
        while True:
            if position // self.size != passes:
                passes = position // self.size
                order = np.random.default_rng([self.seed, passes]).permutation(self.size)
            yield position, int(order[position % self.size])
            position += comm.get_world_size()


class _SeededDataset(Dataset):
    """Maps a record with random numbers that belong to its position in training."""

    def __init__(self, records: Sequence[dict], mapper: Callable[[dict], dict], seed: int) -> None:
        self.records = DatasetFromList(list(records), copy=True)  # one array that worker processes share
        self.mapper = mapper
        self.seed = seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        position, index = key
        outside = np.random.get_state()  # Detectron2's augmentations draw from the global generator
        np.random.seed(np.random.SeedSequence([self.seed, position]).generate_state(4))
        try:
            return self.mapper(self.records[index])
        finally:
            np.random.set_state(outside)


def _as_it_is(sample: dict) -> dict:
    return sample


def _ignore_interrupts(_worker: int) -> None:
    """Ctrl-C reaches workers too; the main process decides when they end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
