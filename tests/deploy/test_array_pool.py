"""Memory is given again, and never while anybody can still see it."""

import gc

import numpy as np
import pytest
import torch

from vsrq.deploy.array_pool import _PERIOD, ArrayPool

SHAPE = (1, 4, 6, 8)


def address(array):
    return array.__array_interface__["data"][0]


def test_an_array_is_given_again_when_nobody_holds_it():
    pool = ArrayPool()
    array = pool.empty(SHAPE, np.float32)
    assert (array.shape, array.dtype) == (SHAPE, np.float32)
    place = address(array)
    del array
    assert address(pool.empty(list(SHAPE), "float32")) == place


@pytest.mark.parametrize(
    "hold",
    [
        lambda array: array,
        lambda array: array[0, 1:, ::2],
        lambda array: array.transpose(0, 2, 3, 1).reshape(6, 8, 4)[:, :2],
        torch.from_numpy,
        lambda array: torch.from_numpy(array)[0].permute(1, 2, 0),
        memoryview,
        lambda array: {"nested": [array]},
    ],
    ids=["itself", "view", "view of a view", "tensor", "view of a tensor", "buffer", "container"],
)
def test_an_array_that_is_held_is_not_given_to_others(hold):
    pool = ArrayPool()
    array = pool.empty(SHAPE, np.float32)
    array[...] = 1
    held = hold(array)
    del array
    gc.collect()
    other = pool.empty(SHAPE, np.float32)
    other[...] = 2
    found = held["nested"][0] if isinstance(held, dict) else held
    assert (np.asarray(found) == 1).all()


def test_shapes_and_types_are_kept_apart():
    pool = ArrayPool()
    kept = [pool.empty((2, 3), np.float32), pool.empty((3, 2), np.float32), pool.empty((2, 3), np.uint8)]
    assert len({address(array) for array in kept}) == 3
    assert [(array.shape, array.dtype.name) for array in kept] == [
        ((2, 3), "float32"), ((3, 2), "float32"), ((2, 3), "uint8"),
    ]  # fmt: skip


def test_what_a_stretch_held_is_there_for_the_next():
    pool = ArrayPool()
    many = [pool.empty(SHAPE, np.float32) for _ in range(100)]
    places = {address(array) for array in many}
    assert len(places) == 100
    del many
    again = [pool.empty(SHAPE, np.float32) for _ in range(100)]
    assert {address(array) for array in again} == places


def test_arrays_that_were_not_needed_for_long_are_let_go():
    pool = ArrayPool()
    many = [pool.empty(SHAPE, np.float32) for _ in range(8)]
    (shelf,) = pool._shelves.values()
    del many
    for _ in range(_PERIOD):  # two periods: in the first, all eight were needed
        pair = [pool.empty(SHAPE, np.float32) for _ in range(2)]
        assert address(pair[0]) != address(pair[1])
        del pair
    assert len(shelf.arrays) == 2


@pytest.mark.parametrize("container", [lambda a: [a], lambda a: (a,), lambda a: {0: a}], ids=["list", "tuple", "dict"])
def test_an_array_may_be_changed_by_its_only_holder(container):
    pool = ArrayPool()
    holder = container(pool.empty(SHAPE, np.float32))
    assert pool.may_change(holder, 0)
    for hold in (lambda array: array, lambda array: array[0, 1:], torch.from_numpy, lambda array: [array]):
        other = hold(holder[0])
        assert not pool.may_change(holder, 0)
        del other
    assert pool.may_change(holder, 0)


def test_an_array_of_another_pool_may_not_be_changed():
    pool, other = ArrayPool(), ArrayPool()
    pool.empty(SHAPE, np.float32)
    assert not pool.may_change([other.empty(SHAPE, np.float32)], 0)
    assert not pool.may_change([np.empty(SHAPE, np.float32)], 0)
