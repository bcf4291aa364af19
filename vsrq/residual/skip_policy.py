"""Tiles of 0 bits: which parts of a picture have to be computed again, and which may be taken from the last time.

Changes are measured against what was last *computed* there, not against the previous frame: small changes add up
until they count (closed loop). Masks are uint8 arrays of 0 and 1, for OpenCV: its calls are short, which counts between
two graphs of a few milliseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np

from vsrq.errors import ConfigError, check_keys

LEVELS = 255  # a tolerance is given in grey levels of 8 bits
TILES = (8, 16, 24, 32)  # networks with a pyramid need multiples of 4 at every level
_SLACK = 1e-3  # levels; two frames in floating point may differ by a little more than whole levels


@dataclass(frozen=True, kw_only=True)
class SkipPolicy:
    """What decides which tiles are computed.

    Args:
        tile: Edge of a tile in low-resolution pixels.
        tolerance: Largest change, in grey levels of 255, that does not count; 0 counts every change of any input.
        halo: Pixels around a change that are computed again, and around what is computed that the network sees,
            besides motion. What is seen is rounded up to multiples of 4 pixels: 6 leaves room for motion of 2.
            ``'full'`` takes the receptive field, which is exact and slow.
        refresh: Calls after which everything is computed again; ``None`` for never.
        break_even: Share of the frame, in pixels the network sees, from which the whole frame is computed.
        overhead: Pixels whose time a call that computes windows costs besides them; added to what the network sees
            before that is compared with ``break_even``. It decides on small frames.

    Raises:
        ConfigError: A value is out of range.
    """

    tile: int = 8
    tolerance: float = 2.0
    halo: int | Literal["full"] = 6
    refresh: int | None = 32
    break_even: float = 0.8
    overhead: int = 1024

    def __post_init__(self) -> None:
        if self.tile not in TILES or isinstance(self.tile, bool):
            raise ConfigError(f"tile must be one of {', '.join(map(str, TILES))} pixels, got {self.tile!r}.")
        if not _is_number(self.tolerance) or not 0 <= self.tolerance < LEVELS:
            raise ConfigError(
                f"tolerance must be 0 (every change counts) to below {LEVELS} grey levels, got {self.tolerance!r}."
            )
        if self.halo != "full" and (type(self.halo) is not int or self.halo < 0):
            raise ConfigError(f"halo must be 'full' or a number of pixels, 0 or more, got {self.halo!r}.")
        if self.refresh is not None and (type(self.refresh) is not int or self.refresh < 1):
            raise ConfigError(f"refresh must be 1 call or more, or None for never, got {self.refresh!r}.")
        if not _is_number(self.break_even) or not 0 <= self.break_even <= 1:
            raise ConfigError(f"break_even must be a share of the frame from 0 to 1, got {self.break_even!r}.")
        if type(self.overhead) is not int or self.overhead < 0:
            raise ConfigError(f"overhead must be a number of pixels, 0 or more, got {self.overhead!r}.")

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> SkipPolicy:
        """Build the policy that ``dict(tile=..., tolerance=..., ...)`` describes."""
        check_keys(config, cls.__dataclass_fields__, "skip")
        return cls(**config)

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`build` takes."""
        return asdict(self)

    def saves(self, seen: float, frame: int) -> bool:
        """Return whether computing ``seen`` pixels in windows is faster than a frame of ``frame`` pixels."""
        return seen + self.overhead < self.break_even * frame


def changed_pixels(x: np.ndarray, reference: np.ndarray, tolerance: float) -> np.ndarray:
    """Return where any channel of ``x`` differs from ``reference`` by more than a tolerance.

    Args:
        x: ``(1, c, h, w)``; float32 frames in [0, 1], or anything at tolerance 0.
        reference: What was last computed with, same shape and type.
        tolerance: In levels of 1/255; 0 asks for equality.

    Returns:
        Mask ``(h, w)``.
    """
    if tolerance == 0:
        return (x != reference).any(1)[0].view(np.uint8)
    channels, height, width = x.shape[1:]
    difference = cv2.absdiff(x.reshape(-1, width), reference.reshape(-1, width))
    changed = difference > np.float32((tolerance + _SLACK) / LEVELS)
    return functools.reduce(cv2.bitwise_or, changed.view(np.uint8).reshape(channels, height, width))


def spread(mask: np.ndarray, radius: int) -> np.ndarray:
    """Return a mask ``(h, w)`` grown by ``radius`` pixels in every direction, corners included."""
    return cv2.dilate(mask, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))


def moved(mask: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the pixels whose flow points into a mask ``(h, w)``, or right beside it.

    Args:
        mask: What has changed in the frame that the flow leads to.
        flow: Float32 ``(1, 2, h, w)`` in pixels, x before y. What is not a number must not fail here; the network says
            what it makes of it.
    """
    height, width = mask.shape
    xs = flow[0, 0] + np.arange(width, dtype=np.float32)
    ys = flow[0, 1] + np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(spread(mask, 1), xs, ys, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def longest(flow: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the longest component of a flow ``(1, 2, h, w)``, in a mask ``(h, w)`` or everywhere; 0 for no pixels."""
    return max(cv2.norm(plane, cv2.NORM_INF, mask=mask) for plane in flow[0])


def tiles_of(mask: np.ndarray, size: int) -> np.ndarray:
    """Return which tiles of ``size`` pixels hold a pixel of a mask ``(h, w)``: bool ``(rows, columns)``.

    The last row and column of tiles are cut off where the tiles do not divide the frame.
    """
    # the largest of what lies below and to the right of a pixel, in its tile if it is the first there
    return cv2.dilate(mask, np.ones((size, size), np.uint8), anchor=(0, 0))[::size, ::size] > 0


def to_frame_size(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a mask of a smaller picture ``(h, w)`` at the size of the frame it belongs to."""
    if mask.shape == (height, width):
        return mask
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
