"""Few sizes of windows are in use at a time, whatever is needed, and each is worth its graph."""

import numpy as np
import pytest

from vsrq.runtime.skip import shapes as module
from vsrq.runtime.skip.shapes import Shapes


def needs(count, seed=0):
    rng = np.random.default_rng(seed)
    return [(8 * int(h), 8 * int(w)) for h, w in rng.integers((4, 4), (20, 36), (count, 2))]


def test_a_window_holds_what_is_needed_and_lies_in_the_frame():
    shapes = Shapes(160, 288, 1024)
    for height, width in needs(500):
        found = shapes.fit("flow", height, width)
        assert height <= found[0] <= 160
        assert width <= found[1] <= 288


def test_what_is_needed_again_and_again_fits():
    shapes = Shapes(160, 288, 0)
    assert {shapes.fit("flow", 64, 96) for _ in range(9)} == {(64, 96)}
    assert shapes.fit("flow", 64, 80) == (64, 96)  # near enough
    assert shapes.fit("encode", 64, 80) == (64, 80)  # where it is the first
    assert shapes.fit("flow", 64, 48) == (64, 48)


def test_sizes_in_use_are_few_and_new_ones_are_paid_for():
    """Of several hundred sizes that are needed, the first ones are taken, and then one for every price of detours."""
    shapes, frame = Shapes(160, 288, 0), 160 * 288
    taken, wasted, last = [], 0, {}
    for height, width in needs(2000):
        found = shapes.fit("flow", height, width)
        known = set(shapes._used["flow"])
        assert len(known) <= module._MOST
        if found not in last and found != (160, 288):
            assert found == (height, width)
            taken.append(found)
        wasted += found[0] * found[1] - height * width
        last = known
    assert module._MOST < len(taken) <= module._MOST + wasted / (module._PRICE - frame)
    assert len(taken) < 200


@pytest.mark.parametrize("seed", [0, 1])
def test_a_stream_has_the_same_sizes_every_time(seed):
    first, second = Shapes(160, 288, 1024), Shapes(160, 288, 1024)
    for size in needs(300, seed):
        assert first.fit("flow", *size) == second.fit("flow", *size)
