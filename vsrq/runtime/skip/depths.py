"""How much of the past is in an array: whether it is worth more than what was read before."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial

import numpy as np


class Depths:
    """How many frames had gone into the results of a branch when it was last computed as a whole.

    A branch begins with nothing but a frame, and what it returns gets better with every one. Whoever reads its results
    can tell by their depth whether they hold more than those of the last call. Arrays are told by identity and not
    kept alive.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[np.ndarray], int]] = {}

    def note(self, arrays: Iterable[np.ndarray], depth: int) -> None:
        """Set the depth of arrays."""
        for array in arrays:  # memory is used again: what is known of an earlier array there is replaced
            self._known[id(array)] = weakref.ref(array, partial(self._forget, id(array))), depth

    def of(self, array: np.ndarray) -> int:
        """Return the depth of an array; 0 for those that are no results."""
        known = self._known.get(id(array))
        return 0 if known is None else known[1]

    def _forget(self, key: int, _: object) -> None:
        self._known.pop(key, None)
