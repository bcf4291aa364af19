"""Merging active tiles into few rectangles, where that is cheaper than computing them one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Cost = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Box(NamedTuple):
    """A rectangle of tiles; ``bottom`` and ``right`` are not included."""

    top: int
    left: int
    bottom: int
    right: int


def cover(active: np.ndarray, cost: Cost) -> list[Box]:
    """Return disjoint rectangles that hold all active tiles.

    Beginning with the bounding box, a rectangle is cut in two, each shrunk to what is active in it, as long as that
    is cheaper.

    Args:
        active: Bool ``(rows, columns)``.
        cost: Of rectangles with these numbers of rows and columns (arrays); it rises with both.
    """
    done: list[Box] = []
    pending = [_shrunk(active, Box(0, 0, *active.shape))] if active.any() else []
    while pending:
        box = pending.pop()
        parts = _cut(active, box, cost)
        if parts is None:
            done.append(box)
        else:
            pending += parts
    return done


def _cut(active: np.ndarray, box: Box, cost: Cost) -> list[Box] | None:
    """Return the two parts of the cheapest cut, if it is cheaper than the whole."""
    part = active[box.top : box.bottom, box.left : box.right]
    whole = float(cost(np.array(part.shape[0]), np.array(part.shape[1])))
    best: tuple[float, int, int] | None = None
    for axis in (0, 1):
        if part.shape[axis] < 2:
            continue
        costs = _cut_costs(part if axis == 0 else part.T, cost if axis == 0 else lambda a, b: cost(b, a))
        position = int(costs.argmin())
        if costs[position] < whole and (best is None or costs[position] < best[0]):
            best = float(costs[position]), axis, position + 1
    if best is None:
        return None
    _, axis, position = best
    if axis == 0:
        middle = box.top + position
        halves = Box(box.top, box.left, middle, box.right), Box(middle, box.left, box.bottom, box.right)
    else:
        middle = box.left + position
        halves = Box(box.top, box.left, box.bottom, middle), Box(box.top, middle, box.bottom, box.right)
    return [_shrunk(active, half) for half in halves]


def _cut_costs(part: np.ndarray, cost: Cost) -> np.ndarray:
    """Return what both parts cost for every cut between two rows; first and last row hold something active."""
    above = _prefix_costs(part, cost)
    below = _prefix_costs(part[::-1], cost)[::-1]
    return above[:-1] + below[1:]


def _prefix_costs(part: np.ndarray, cost: Cost) -> np.ndarray:
    """Return the cost of the shrunk box around rows 0 to i, for every i; row 0 holds something active."""
    columns = part.shape[1]
    used = part.any(1)
    first = np.where(used, part.argmax(1), columns)
    last = np.where(used, columns - part[:, ::-1].argmax(1), 0)
    width = np.maximum.accumulate(last) - np.minimum.accumulate(first)
    rows = np.arange(1, len(part) + 1)
    return cost(np.maximum.accumulate(np.where(used, rows, 0)), width)


def _shrunk(active: np.ndarray, box: Box) -> Box:
    part = active[box.top : box.bottom, box.left : box.right]
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    return Box(
        box.top + int(rows[0]), box.left + int(columns[0]), box.top + int(rows[-1]) + 1, box.left + int(columns[-1]) + 1
    )
