"""Tiles of 0 bits: which parts of a picture have to be computed again, and which may be taken from the last time.

Changes are measured against what was last *computed* there, not against the previous frame: small changes add up
until they count (closed loop).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

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


def changed_pixels(x: Tensor, reference: Tensor, tolerance: float) -> Tensor:
    """Return where any channel of ``x`` differs from ``reference`` by more than a tolerance.

    Args:
        x: ``(1, c, h, w)``; frames in [0, 1].
        reference: What was last computed with, same shape.
        tolerance: In levels of 1/255; 0 asks for equality, bit for bit.

    Returns:
        Bool ``(h, w)``.
    """
    if tolerance == 0:
        return (x != reference).any(1)[0]
    return (x - reference).abs_().amax(1)[0] > (tolerance + _SLACK) / LEVELS


def spread(mask: Tensor, radius: int) -> Tensor:
    """Return a mask ``(h, w)`` grown by ``radius`` pixels in every direction, corners included."""
    for axis in (0, 1):
        mask, reached = F.pad(mask, (0, 0, radius, radius) if axis == 0 else (radius, radius)), 1
        while reached < 2 * radius + 1:  # doubled as long as that fits, for the time to grow with the logarithm
            step = min(reached, 2 * radius + 1 - reached)
            size = mask.shape[axis] - step
            mask = mask.narrow(axis, 0, size) | mask.narrow(axis, step, size)
            reached += step
    return mask


def moved(mask: Tensor, flow: Tensor) -> Tensor:
    """Return the pixels whose flow points into a mask ``(h, w)``, or right beside it.

    Args:
        mask: What has changed in the frame that the flow leads to.
        flow: ``(1, 2, h, w)`` in pixels, x before y.
    """
    height, width = mask.shape
    ys = torch.arange(height, device=mask.device, dtype=torch.float32)[:, None] + flow[0, 1]
    xs = torch.arange(width, device=mask.device, dtype=torch.float32) + flow[0, 0]
    for positions, size in ((ys, height), (xs, width)):
        # what is not a number must not fail here; the network says what it makes of it
        positions.nan_to_num_(0).round_().clamp_(0, size - 1)
    return spread(mask, 1).view(-1)[ys.long().mul_(width).add_(xs.long())]


def tiles_of(mask: Tensor, size: int) -> Tensor:
    """Return which tiles of ``size`` pixels hold a pixel of a mask ``(h, w)``: bool ``(rows, columns)``.

    The last row and column of tiles are cut off where the tiles do not divide the frame.
    """
    height, width = mask.shape
    whole = F.pad(mask.view(torch.uint8), (0, -width % size, 0, -height % size))  # of bytes maxima are fast
    return whole.unflatten(0, (-1, size)).amax(1).unflatten(1, (-1, size)).amax(2) > 0


def to_frame_size(mask: Tensor, height: int, width: int) -> Tensor:
    """Return a mask of a smaller picture ``(h, w)`` at the size of the frame it belongs to."""
    if mask.shape == (height, width):
        return mask
    return F.interpolate(mask[None, None].float(), size=(height, width), mode="nearest")[0, 0] > 0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
