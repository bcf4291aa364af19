"""An endless, seekable stream of training samples.

The sample at a position of the stream, its augmentation included, depends on the seed and the position
alone: not on the number of loader workers, not on what was drawn before, not on how positions are dealt
to processes. So a run resumes by jumping to a position instead of decoding everything again, and two
processes see exactly the samples one process with twice the batch sees.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from vsrq.engine import rng


class StreamSampler(Sampler):
    """Yield ``(position, index)`` for every ``world_size``-th position of the stream, without end.

    Args:
        size: Number of samples of the dataset. Each run through it is one permutation of all of them.
        seed: Seed of the permutations.
        shuffle: False runs through the dataset in order.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self, size: int, *, seed: int, shuffle: bool = True, rank: int = 0, world_size: int = 1):
        self.size = size
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.start = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, order = -1, range(self.size)
        for position in itertools.count(self.start + self.rank, self.world_size):
            if position // self.size != epoch:
                epoch = position // self.size
                order = self._order(epoch)
            yield position, order[position % self.size]

    def _order(self, epoch: int) -> Any:
        if not self.shuffle:
            return range(self.size)
        generator = torch.Generator().manual_seed(self.seed + epoch)
        return torch.randperm(self.size, generator=generator).tolist()

    def __len__(self) -> int:
        return self.size


class SeededDataset(Dataset):
    """Serve the samples of a dataset by ``(position, index)``, with randomness drawn from the position.

    Args:
        dataset: The wrapped dataset.
        seed: Mixed with the position to seed the transforms.
    """

    def __init__(self, dataset: Any, *, seed: int):
        self.dataset = dataset
        self.seed = seed

    @property
    def metainfo(self) -> dict:
        """Meta information of the wrapped dataset."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        position, index = key
        with rng.seeded(self.seed, position):
            return self.dataset[index]
