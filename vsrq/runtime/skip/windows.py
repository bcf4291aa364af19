"""Where rectangles of tiles are cut out of a frame, and how they get out and back in: all tiles of a shape at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vsrq.runtime.skip.boxes import Box, cover

# Edges of windows in pixels: few, because a graph is compiled for each shape.
_EDGES = np.concatenate([np.arange(32, 256, 16), np.arange(256, 512, 32), np.arange(512, 4097, 128)])
_OVERHEAD = 512  # pixels; what a window costs besides its area
_ALIGNMENT = 4  # pixels; starts of windows must be whole pixels at every level of a pyramid


@dataclass(frozen=True)
class Windows:
    """Windows of one shape, and the tiles that are taken out of them.

    Attributes:
        height: Of a window in pixels of the frame.
        width: Likewise.
        starts: Top and left of each, ``(n, 2)``.
        tiles: Top and left of the tiles in the frame, ``(k, 2)``.
        owners: The window of each tile, ``(k,)``.
        size: Edge of a tile.
    """

    height: int
    width: int
    starts: np.ndarray
    tiles: np.ndarray
    owners: np.ndarray
    size: int

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

    def place(self, active: np.ndarray, margin: int) -> list[Windows]:
        """Return windows that hold all active tiles with ``margin`` pixels around them, or up to the frame's border.

        Args:
            active: Bool ``(rows, columns)``.
            margin: A multiple of 4.
        """

        def cost(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            sides = (rows, self.height), (columns, self.width)
            height, width = (self._edges(n * self.tile + 2 * margin, size) for n, size in sides)
            return height * width + _OVERHEAD

        shapes: dict[tuple[int, int], list[Box]] = defaultdict(list)
        for box in cover(active, cost):
            rows, columns = box.bottom - box.top, box.right - box.left
            height, width = (
                int(self._edges(np.array(n * self.tile + 2 * margin), size))
                for n, size in ((rows, self.height), (columns, self.width))
            )
            shapes[height, width].append(box)
        return [self._windows(*shape, boxes, margin) for shape, boxes in shapes.items()]

    @staticmethod
    def _edges(needed: np.ndarray, size: int) -> np.ndarray:
        """Return the smallest edges of windows that hold so many pixels; no more than the frame has."""
        index = np.searchsorted(_EDGES, needed)
        return np.minimum(np.append(_EDGES, size)[index], size)

    def _windows(self, height: int, width: int, boxes: Sequence[Box], margin: int) -> Windows:
        corners = np.array(boxes)
        starts = np.stack(
            [
                self._starts(corners[:, 0], corners[:, 2], height, self.height, margin),
                self._starts(corners[:, 1], corners[:, 3], width, self.width, margin),
            ],
            axis=1,
        )
        shapes = corners[:, 2:] - corners[:, :2]
        counts = shapes.prod(1)
        owners = np.repeat(np.arange(len(boxes)), counts)
        # number of each tile within its box, then row and column
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = corners[owners, :2] + np.stack(np.divmod(within, shapes[owners, 1]), axis=1)
        limits = [self.height - self.tile, self.width - self.tile]
        return Windows(height, width, starts, np.minimum(places * self.tile, limits), owners, self.tile)

    def _starts(self, first: np.ndarray, last: np.ndarray, edge: int, size: int, margin: int) -> np.ndarray:
        # a tile that is cut off at the border begins earlier instead
        low = np.minimum(first * self.tile, size - self.tile) - margin
        needed = np.minimum(last * self.tile, size) + margin - low
        spare = np.maximum(edge - needed, 0) // (2 * _ALIGNMENT) * _ALIGNMENT
        return np.clip(low - spare, 0, size - edge)


def gather(array: np.ndarray, windows: Windows, ratio: Fraction, part: slice, out: np.ndarray) -> np.ndarray:
    """Copy windows out of ``(1, c, h, w)``.

    Args:
        array: Of ``ratio`` times the frame's size.
        windows: Which.
        ratio: Size of the array over that of the frame.
        part: Which of the windows.
        out: Where to, ``(n, c, height, width)``.
    """
    ys, xs = _scaled(windows.starts[part], ratio).T
    view = sliding_window_view(array[0], out.shape[2:], axis=(1, 2)).transpose(1, 2, 0, 3, 4)
    out[...] = view[ys, xs]
    return out


def scatter(results: np.ndarray, windows: Windows, ratio: Fraction, part: slice, target: np.ndarray) -> None:
    """Copy the tiles of computed windows ``(n, c, height, width)`` into ``(1, c, h, w)``; see :func:`gather`."""
    start, stop, _ = part.indices(len(windows.starts))
    chosen = (windows.owners >= start) & (windows.owners < stop)
    tiles, owners = windows.tiles[chosen], windows.owners[chosen]
    inside = _scaled(tiles - windows.starts[owners], ratio)
    edge = int(windows.size * ratio)
    source = sliding_window_view(results, (edge, edge), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
    _tiles_view(target, edge)[tuple(_scaled(tiles, ratio).T)] = source[owners - start, inside[:, 0], inside[:, 1]]


def copy_tiles(source: np.ndarray, windows: Windows, ratio: Fraction, target: np.ndarray) -> None:
    """Copy the tiles of ``(1, c, h, w)`` to the same places of ``target``."""
    edge, places = int(windows.size * ratio), tuple(_scaled(windows.tiles, ratio).T)
    _tiles_view(target, edge)[places] = _tiles_view(source, edge)[places]


def _tiles_view(array: np.ndarray, edge: int) -> np.ndarray:
    """Return the view ``(y, x, c, edge, edge)`` of all places of a tile."""
    view = sliding_window_view(array[0], (edge, edge), axis=(1, 2), writeable=array.flags.writeable)
    return view.transpose(1, 2, 0, 3, 4)


def _scaled(places: np.ndarray, ratio: Fraction) -> np.ndarray:
    return places * ratio.numerator // ratio.denominator
