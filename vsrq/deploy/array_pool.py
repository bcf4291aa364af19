"""Arrays that are used again when nobody holds them any more."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

_MOST_IDLE = 2  # of a shape; one result that is replaced at every call needs no more


class ArrayPool:
    """Gives uninitialized arrays, and gives an array again once the pool alone refers to it.

    Memory fresh from the system is mapped and zeroed page by page when it is first written, which costs more than
    the writing. A view, a tensor or a memoryview counts as a reference to its array, as everywhere in Python. Safe to
    use from several threads.
    """

    def __init__(self) -> None:
        self._arrays: dict[tuple[tuple[int, ...], np.dtype], list[np.ndarray]] = defaultdict(list)
        self._lock = threading.Lock()

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
        """Return an array like :func:`numpy.empty` does; it belongs to the caller as long as anything refers to it."""
        with self._lock:
            arrays = self._arrays[tuple(shape), np.dtype(dtype)]
            idle = [index for index in range(len(arrays)) if _references(arrays, index) == _ALONE]
            for index in reversed(idle[_MOST_IDLE:]):
                del arrays[index]
            if not idle:
                arrays.append(np.empty(shape, dtype))
                return arrays[-1]
            return arrays[idle[0]]


def _references(arrays: list[np.ndarray], index: int) -> int:
    return sys.getrefcount(arrays[index])


_ALONE = _references([np.empty(0)], 0)  # what versions of Python count differs
