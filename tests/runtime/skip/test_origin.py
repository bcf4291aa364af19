import gc

import numpy as np

from vsrq.runtime.skip.origin import WholeResults


def test_results_of_whole_frames_have_numbers_of_their_own():
    whole, first, second, part = WholeResults(), *(np.zeros(2) for _ in range(3))
    whole.note([first, second], whole=True)
    whole.note([part], whole=False)
    assert len({whole.number(first), whole.number(second), whole.number(part)}) == 3
    assert whole.number(part) == whole.number(np.zeros(2)) == 0
    assert whole.number(first) == whole.number(first) > 0


def test_memory_that_is_used_again_gets_a_new_number_or_none():
    whole, array = WholeResults(), np.zeros(2)
    whole.note([array], whole=True)
    before = whole.number(array)
    whole.note([array], whole=True)
    assert whole.number(array) not in (0, before)
    whole.note([array], whole=False)
    assert whole.number(array) == 0


def test_arrays_are_not_kept_alive():
    whole = WholeResults()
    for _ in range(100):
        whole.note([np.zeros(2)], whole=True)
    gc.collect()
    assert len(whole._known) == 0
