"""Which sizes windows have: few, for every size is a graph that has to be compiled and kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

Fit = Callable[[int, int], tuple[int, int]]

_MOST = 6  # sizes of a step in use
_ROOM = 1.25  # what a size in use may cost over the one that is needed
_PRICE = 2**18  # pixels that are computed in the time a graph takes to compile


class Shapes:
    """Sizes of the windows of every step in one stream.

    A size is taken into use when it is first needed, as long as there are few. Later on the pixels that larger windows
    compute in vain add up until they would have paid for a graph (as in the problem of renting or buying skis): however
    wild the motion, compiling takes about as long as the detours it saves. Nothing here looks at the clock, so that a
    stream has the same results every time.

    Args:
        height: Of the frames, which are a size that is always in use.
        width: Likewise.
        overhead: Pixels whose time a window costs besides its own.
    """

    def __init__(self, height: int, width: int, overhead: int) -> None:
        self._frame, self._overhead = (height, width), overhead
        self._used: dict[str, list[tuple[int, int]]] = defaultdict(list)  # the latest last
        self._wasted: dict[str, int] = defaultdict(int)

    def fit(self, step: str, height: int, width: int) -> tuple[int, int]:
        """Return the size of a window that holds ``height`` x ``width`` pixels."""
        needed, used = (height, width), self._used[step]
        around = [size for size in (*used, self._frame) if size[0] >= height and size[1] >= width]
        best = min(around, key=self._cost)
        if self._cost(best) > _ROOM * self._cost(needed):
            self._wasted[step] += self._cost(best) - self._cost(needed)
            if len(used) < _MOST or self._wasted[step] >= _PRICE:
                self._wasted[step], best = 0, needed
        if best != self._frame:
            used[:] = [*(size for size in used if size != best), best][-_MOST:]
        return best

    def _cost(self, size: tuple[int, int]) -> int:
        return size[0] * size[1] + self._overhead
