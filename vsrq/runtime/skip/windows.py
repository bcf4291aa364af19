"""Where rectangles of tiles are cut out of a frame, and how they get out and back in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from vsrq.runtime.skip.boxes import Box, cover
from vsrq.runtime.skip.shapes import Fit
from vsrq.runtime.skip.threads import copy

# Edges of windows in pixels, multiples of 8: few, because a graph is compiled for each shape and takes memory; none is
# more than a fifth larger than the one before, from 40 on.
_EDGES = np.array([32, 40, 48, 56] + [part << power for power in range(3, 10) for part in (8, 9, 10, 11, 12, 14)])
WINDOW_OVERHEAD = 1024  # pixels; what a window costs besides its area
_ALIGNMENT = 4  # pixels; starts of windows must be whole pixels at every level of a pyramid


@dataclass(frozen=True)
class Windows:
    """Windows of one shape, and what is taken out of them.

    Attributes:
        height: Of a window in pixels of the frame.
        width: Likewise.
        starts: Top and left of each, ``(n, 2)``.
        boxes: Top, left, bottom and right of the tiles taken out of each, in pixels of the frame, ``(n, 4)``.
    """

    height: int
    width: int
    starts: np.ndarray
    boxes: np.ndarray

    @property
    def area(self) -> int:
        """Pixels of all windows."""
        return len(self.starts) * self.height * self.width


@dataclass(frozen=True)
class Layout:
    """Tiles laid over frames of one size.

    Attributes:
        height: Of the frame.
        width: Of the frame.
        tile: Edge of a tile; at most the frame's.
    """

    height: int
    width: int
    tile: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.height // self.tile), -(-self.width // self.tile)

    def place(self, active: np.ndarray, margin: int, multiple: int = 1, fit: Fit | None = None) -> list[Windows]:
        """Return windows that hold all active tiles with ``margin`` pixels around them, or up to the frame's border.

        Args:
            active: Bool ``(rows, columns)``.
            margin: A multiple of 4.
            multiple: Of which the edges are, unless they are the frame's.
            fit: Returns the size of a window that holds these numbers of rows and columns; default: just that size.
        """

        def edges(tiles: int, size: int) -> np.ndarray:
            """Return the edge of a window around 0, 1, ... tiles."""
            held = np.arange(tiles + 1) * self.tile + 2 * margin
            smallest = np.append(_EDGES, size)[np.searchsorted(_EDGES, held)]
            return np.minimum(-(-smallest // multiple) * multiple, size)

        heights, widths = edges(self.grid[0], self.height), edges(self.grid[1], self.width)

        def cost(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            return heights[rows] * widths[columns] + WINDOW_OVERHEAD

        shapes: dict[tuple[int, int], list[Box]] = defaultdict(list)
        for box in cover(active, cost):
            size = int(heights[box.bottom - box.top]), int(widths[box.right - box.left])
            shapes[fit(*size) if fit else size].append(box)
        return [self._windows(*shape, boxes, margin) for shape, boxes in shapes.items()]

    def _windows(self, height: int, width: int, boxes: Sequence[Box], margin: int) -> Windows:
        size = np.array([self.height, self.width])
        pixels = np.minimum(np.array(boxes) * self.tile, np.tile(size, 2))
        low, high = pixels[:, :2] - margin, pixels[:, 2:] + margin
        spare = np.maximum([height, width] - (high - low), 0) // (2 * _ALIGNMENT) * _ALIGNMENT
        return Windows(height, width, np.clip(low - spare, 0, size - [height, width]), pixels)


def gather(array: np.ndarray, windows: Windows, ratio: Fraction, part: slice, out: np.ndarray) -> np.ndarray:
    """Copy windows out of ``(1, c, h, w)``.

    Args:
        array: Of ``ratio`` times the frame's size.
        windows: Which.
        ratio: Size of the array over that of the frame.
        part: Which of the windows.
        out: Where to, ``(n, c, height, width)``.
    """
    height, width = out.shape[2:]
    for window, (top, left) in zip(out, _scaled(windows.starts[part], ratio).tolist(), strict=True):
        copy(window, array[0, :, top : top + height, left : left + width])
    return out


def scatter(results: np.ndarray, windows: Windows, ratio: Fraction, part: slice, target: np.ndarray) -> None:
    """Copy the boxes of computed windows ``(n, c, height, width)`` into ``(1, c, h, w)``; see :func:`gather`."""
    boxes = windows.boxes[part]
    inside = boxes - np.tile(windows.starts[part], 2)
    places = zip(_scaled(inside, ratio).tolist(), _scaled(boxes, ratio).tolist(), strict=True)
    for window, (source, box) in zip(results, places, strict=True):
        copy(_part(target[0], box), _part(window, source))


def copy_boxes(source: np.ndarray, windows: Windows, ratio: Fraction, target: np.ndarray) -> None:
    """Copy the boxes of ``(1, c, h, w)`` to the same places of ``target``."""
    for box in _scaled(windows.boxes, ratio).tolist():
        copy(_part(target[0], box), _part(source[0], box))


def _part(array: np.ndarray, box: list[int]) -> np.ndarray:
    """Return the view of a box ``(top, left, bottom, right)``."""
    top, left, bottom, right = box
    return array[:, top:bottom, left:right]


def _scaled(places: np.ndarray, ratio: Fraction) -> np.ndarray:
    return places * ratio.numerator // ratio.denominator
