"""Arrays that are used again when nobody holds them any more."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

_PERIOD = 512  # arrays of a shape that are given between two looks for spare ones; a stretch takes fewer


@dataclass
class _Shelf:
    """All arrays of a shape and type.

    Attributes:
        arrays: Held by others or idle.
        given: Arrays given since spare ones were last looked for.
        spare: Least that were idle, after each of them was given.
    """

    arrays: list[np.ndarray] = field(default_factory=list)
    given: int = 0
    spare: int = sys.maxsize

    def take(self, shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
        idle = [index for index in range(len(self.arrays)) if _references(self.arrays, index) == _ALONE]
        if not idle:
            self.arrays.append(np.empty(shape, dtype))
        array = self.arrays[idle.pop() if idle else -1]
        self.given, self.spare = self.given + 1, min(self.spare, len(idle))
        if self.given == _PERIOD:
            for index in reversed(idle[: self.spare]):
                del self.arrays[index]
            self.given, self.spare = 0, sys.maxsize
        return array


class ArrayPool:
    """Gives uninitialized arrays, and gives an array again once the pool alone refers to it.

    Memory fresh from the system is mapped and zeroed page by page when it is first written, which costs more than
    the writing. Arrays that were never needed in a long time are let go. A view, a tensor or a memoryview counts as a
    reference to its array, as everywhere in Python. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._shelves: dict[tuple[tuple[int, ...], np.dtype], _Shelf] = defaultdict(_Shelf)
        self._lock = threading.Lock()

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
        """Return an array like :func:`numpy.empty` does; it belongs to the caller as long as anything refers to it."""
        with self._lock:
            return self._shelves[tuple(shape), np.dtype(dtype)].take(shape, dtype)

    def may_change(self, arrays: Sequence[np.ndarray] | Mapping[str, np.ndarray], key: Any) -> bool:
        """Return whether ``arrays[key]`` is an array of this pool that is held by ``arrays`` and by nobody else."""
        if _references(arrays, key) != _ALONE + 1:  # the pool itself
            return False
        array = arrays[key]
        with self._lock:
            return any(known is array for known in self._shelves[array.shape, array.dtype].arrays)


def _references(arrays: Any, key: Any) -> int:
    return sys.getrefcount(arrays[key])


_ALONE = _references([np.empty(0)], 0)  # what versions of Python count differs
