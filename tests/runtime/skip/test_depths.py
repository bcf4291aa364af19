import gc

import numpy as np

from vsrq.runtime.skip.depths import Depths


def test_arrays_have_the_depth_that_was_noted_last():
    depths, first, second = Depths(), np.zeros(2), np.zeros(2)
    depths.note([first, second], 3)
    depths.note([second], 1)  # memory is used again
    assert (depths.of(first), depths.of(second), depths.of(np.zeros(2))) == (3, 1, 0)


def test_arrays_are_not_kept_alive():
    depths = Depths()
    for _ in range(100):
        depths.note([np.zeros(2)], 1)
    gc.collect()
    assert len(depths._known) == 0
