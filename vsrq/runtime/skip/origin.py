"""Which arrays are results of a call that computed the whole frame."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial

import numpy as np


class WholeResults:
    """Numbers the results of whole frames, so that whoever reads them can tell new ones from those it had before.

    Arrays are told by identity and not kept alive.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[np.ndarray], int]] = {}
        self._count = 0

    def note(self, arrays: Iterable[np.ndarray], *, whole: bool) -> None:
        """Give arrays new numbers, or none where only parts of them were computed, or a refresh changed hardly any."""
        for array in arrays:
            self._known.pop(id(array), None)  # memory is used again
            if whole:
                self._count += 1
                self._known[id(array)] = weakref.ref(array, partial(self._forget, id(array))), self._count

    def number(self, array: np.ndarray) -> int:
        """Return the number of a result of a whole frame, 1 or more; 0 for all other arrays."""
        known = self._known.get(id(array))
        return 0 if known is None else known[1]

    def _forget(self, key: int, _: object) -> None:
        self._known.pop(key, None)
