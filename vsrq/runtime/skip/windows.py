"""Where rectangles of tiles are cut out of a frame, and how they get out and back in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from vsrq.runtime.skip.boxes import Box, cover

# Edges of windows in pixels: few, because a graph is compiled for each shape.
_EDGES = np.concatenate([np.arange(32, 256, 16), np.arange(256, 512, 32), np.arange(512, 4097, 128)])
_OVERHEAD = 512  # pixels; what a window costs besides its area
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
    source, target = torch.from_numpy(array)[0], torch.from_numpy(out)
    height, width = out.shape[2:]
    for window, (top, left) in zip(target, _scaled(windows.starts[part], ratio).tolist(), strict=True):
        window.copy_(source[:, top : top + height, left : left + width])
    return out


def scatter(results: np.ndarray, windows: Windows, ratio: Fraction, part: slice, target: np.ndarray) -> None:
    """Copy the boxes of computed windows ``(n, c, height, width)`` into ``(1, c, h, w)``; see :func:`gather`."""
    boxes = windows.boxes[part]
    inside = boxes - np.tile(windows.starts[part], 2)
    places = zip(_scaled(inside, ratio).tolist(), _scaled(boxes, ratio).tolist(), strict=True)
    whole = torch.from_numpy(target)[0]
    for window, (source, box) in zip(torch.from_numpy(results), places, strict=True):
        _part(whole, box).copy_(_part(window, source))


def copy_boxes(source: np.ndarray, windows: Windows, ratio: Fraction, target: np.ndarray) -> None:
    """Copy the boxes of ``(1, c, h, w)`` to the same places of ``target``."""
    old, new = torch.from_numpy(target)[0], torch.from_numpy(source)[0]
    for box in _scaled(windows.boxes, ratio).tolist():
        _part(old, box).copy_(_part(new, box))


def _part(array: Tensor, box: list[int]) -> Tensor:
    """Return the view of a box ``(top, left, bottom, right)``; PyTorch copies between views with all threads."""
    top, left, bottom, right = box
    return array[:, top:bottom, left:right]


def _scaled(places: np.ndarray, ratio: Fraction) -> np.ndarray:
    return places * ratio.numerator // ratio.denominator
