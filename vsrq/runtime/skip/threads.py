"""Copying by threads that do not stand in the way of those of the graphs.

A thread that stays awake after its work, as those of most libraries do, keeps a graph's threads from the cores; that
can cost a graph of small windows more than it had saved. These sleep when they are done.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vsrq.cores import core_count, thread_pool, usable_cores

_MOST = 4  # threads; copying is bound by the memory
_LARGE = 2**20  # bytes, from which on waking others is worth it


def copy(target: np.ndarray, source: np.ndarray) -> None:
    """Copy an array into another of its shape; a large one by several threads, each a part of the first axis."""
    count = min(_MOST, core_count(), len(source)) if target.nbytes >= _LARGE else 1
    bounds = [len(source) * i // count for i in range(count + 1)]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    others = [
        thread_pool(_MOST - 1, usable_cores()).submit(np.copyto, target[part], source[part]) for part in parts[1:]
    ]
    np.copyto(target[parts[0]], source[parts[0]])
    for other in others:
        other.result()
