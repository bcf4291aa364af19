"""Cutting large frames into overlapping tiles of one size, and blending what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vsrq.errors import ConfigError


@dataclass(frozen=True)
class TileGrid:
    """Tiles that cover a frame.

    Attributes:
        height: Of a tile, in pixels of the frame.
        width: Of a tile.
        corners: Top and left of each.
        overlap: Pixels over which neighbours fade into each other.
    """

    height: int
    width: int
    corners: tuple[tuple[int, int], ...]
    overlap: int

    def cut(self, frame: np.ndarray) -> list[np.ndarray]:
        """Return the tiles of a frame (..., h, w)."""
        return [frame[..., top : top + self.height, left : left + self.width] for top, left in self.corners]

    def weights(self, scale: int) -> np.ndarray:
        """Return the weight (scale * h, scale * w) of a tile's pixels: 1, falling linearly towards its border."""
        ramps = [_ramp(scale * size, scale * self.overlap) for size in (self.height, self.width)]
        return ramps[0][:, None] * ramps[1]

    def paste(self, canvas: np.ndarray, tile: np.ndarray, index: int, scale: int) -> None:
        """Add a weighted tile (..., scale * h, scale * w) to a canvas of the scaled frame."""
        top, left = (scale * start for start in self.corners[index])
        height, width = tile.shape[-2:]
        canvas[..., top : top + height, left : left + width] += tile

    def normalizer(self, height: int, width: int, scale: int) -> np.ndarray:
        """Return the sum of all weights over a scaled frame (scale * h, scale * w)."""
        total = np.zeros((scale * height, scale * width), np.float32)
        weights = self.weights(scale)
        for index in range(len(self.corners)):
            self.paste(total, weights, index, scale)
        return total


def make_grid(height: int, width: int, tile: tuple[int, int], overlap: int) -> TileGrid:
    """Lay tiles over a frame, evenly and with at least ``overlap`` pixels in common.

    Args:
        height: Of the frame.
        width: Of the frame.
        tile: Height and width of a tile; cut down to the frame where they are larger.
        overlap: Pixels neighbours share.

    Raises:
        ConfigError: The tile is not larger than twice the overlap, or a value is negative.
    """
    if overlap < 0 or min(tile) <= 2 * overlap:
        raise ConfigError(f"tile {tile[0]}x{tile[1]} must be larger than twice the overlap of {overlap} pixels.")
    tile_height, tile_width = min(tile[0], height), min(tile[1], width)
    rows, columns = _starts(height, tile_height, overlap), _starts(width, tile_width, overlap)
    corners = tuple((top, left) for top in rows for left in columns)
    return TileGrid(tile_height, tile_width, corners, overlap)


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    if tile >= size:
        return [0]
    count = -(-(size - overlap) // (tile - overlap))
    return [round(i * (size - tile) / (count - 1)) for i in range(count)]


def _ramp(size: int, overlap: int) -> np.ndarray:
    """Return ``size`` weights in (0, 1] that rise and fall over ``overlap`` values."""
    distance = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32)
    return np.minimum(1, (distance + 1) / (overlap + 1))
