"""Turn pictures upright: cameras store a display matrix instead of turning the pixels.

The matrix is applied, not carried over: the result stands upright in every container and player, and
the two halves of a side-by-side picture agree.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

# (a, b, c, d) of the display matrix, signs only -> what happens to an array (h, w, 3).
# A pixel at (x, y) is shown at (a x + c y, b x + d y), y pointing down.
_UPRIGHT = {
    (1, 0, 0, 1): lambda x: x,
    (-1, 0, 0, 1): lambda x: x[:, ::-1],
    (1, 0, 0, -1): lambda x: x[::-1],
    (-1, 0, 0, -1): lambda x: x[::-1, ::-1],
    (0, 1, 1, 0): lambda x: x.swapaxes(0, 1),
    (0, 1, -1, 0): lambda x: x.swapaxes(0, 1)[:, ::-1],
    (0, -1, 1, 0): lambda x: x.swapaxes(0, 1)[::-1],
    (0, -1, -1, 0): lambda x: x.swapaxes(0, 1)[::-1, ::-1],
}

Orientation = tuple[int, int, int, int]
UPRIGHT: Orientation = (1, 0, 0, 1)


def of_frame(frame: Any) -> Orientation | None:
    """Return the signs of a decoded frame's display matrix; ``None`` where it is no multiple of 90 degrees."""
    # SideDataContainer.get raises for what is not there, so the entries are walked.
    matrix = next((entry for entry in frame.side_data if entry.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return UPRIGHT
    values = struct.unpack("9i", bytes(matrix)[:36])  # 16.16 fixed point, row by row
    a, b, c, d = (round(values[i] / 65536) for i in (0, 1, 3, 4))
    return (a, b, c, d) if (a, b, c, d) in _UPRIGHT else None


def swaps_axes(orientation: Orientation) -> bool:
    """Tell whether width and height change places."""
    return orientation[0] == 0


def turn_upright(image: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Return the picture as it is meant to be seen, contiguous in memory."""
    return np.ascontiguousarray(_UPRIGHT[orientation](image))
