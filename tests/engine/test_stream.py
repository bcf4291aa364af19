import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrq.engine import rng
from vsrq.engine.stream import SeededDataset, StreamSampler


def take(sampler, count):
    return list(itertools.islice(iter(sampler), count))


@given(size=st.integers(1, 12), seed=st.integers(0, 2**31), start=st.integers(0, 50), shuffle=st.booleans())
@settings(deadline=None, max_examples=50)
def test_a_seek_lands_where_reading_on_would(size, seed, start, shuffle):
    whole = take(StreamSampler(size, seed=seed, shuffle=shuffle), start + 10)
    sampler = StreamSampler(size, seed=seed, shuffle=shuffle)
    sampler.start = start
    assert take(sampler, 10) == whole[start:]
    for epoch in range(len(whole) // size):
        assert sorted(index for _, index in whole[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(size=st.integers(1, 12), world_size=st.integers(1, 4), start=st.integers(0, 9))
@settings(deadline=None, max_examples=50)
def test_processes_share_the_samples_of_one(size, world_size, start):
    samplers = [StreamSampler(size, seed=1, rank=r, world_size=world_size) for r in range(world_size)]
    single = StreamSampler(size, seed=1)
    for sampler in (*samplers, single):
        sampler.start = start
    shared = [item for sampler in samplers for item in take(sampler, 6)]
    assert sorted(shared) == take(single, 6 * world_size)


class Draws(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(1).item()


def test_a_sample_depends_on_seed_and_position_only():
    dataset = SeededDataset(Draws(), seed=5)
    first = dataset[7, 1]
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    dataset[2, 0]
    assert dataset[7, 1] == first
    assert dataset[10, 1][1:] != first[1:]
    assert SeededDataset(Draws(), seed=6)[7, 1][1:] != first[1:]


def draw():
    return random.random(), random.gauss(0, 1), np.random.randn(), torch.rand(2).tolist()


@pytest.mark.parametrize("context", [rng.preserved, lambda: rng.seeded(1, 2)])
def test_contexts_leave_the_generators_as_they_were(context):
    state = rng.capture()
    expected = draw()
    rng.restore(state)
    with context():
        draw()
    assert draw() == expected


def test_state_survives_a_file_loaded_without_pickle(tmp_path):
    np.random.randn()  # leaves a cached second value behind
    torch.save(rng.capture(), tmp_path / "state.pth")
    expected = draw()
    rng.restore(torch.load(tmp_path / "state.pth", weights_only=True))
    assert draw() == expected
