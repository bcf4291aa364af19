"""Threads that do not stand in the way of those of the graphs.

PyTorch's threads stay awake for a millisecond or more after their work, in which they keep the graphs' threads from the
cores: with two cores and windows of 128x80 pixels a graph took up to a third longer after them. What skipping does
between two graphs is short, so it is done by one thread; large copies, by threads that sleep when they are done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch

_MOST = 4  # threads; copying is bound by the memory
_LARGE = 2**20  # bytes, from which on waking others is worth it


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread for what the caller does in the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def copy(target: np.ndarray, source: np.ndarray) -> None:
    """Copy an array into another of its shape; a large one by several threads, each a part of the first axis."""
    count = min(_cores(), len(source)) if target.nbytes >= _LARGE else 1
    bounds = [len(source) * i // count for i in range(count + 1)]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    others = [_pool().submit(np.copyto, target[part], source[part]) for part in parts[1:]]
    np.copyto(target[parts[0]], source[parts[0]])
    for other in others:
        other.result()


def _cores() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, available)


@lru_cache(maxsize=1)
def _pool() -> Executor:
    return ThreadPoolExecutor(_MOST - 1, thread_name_prefix="vsrq-copy")
