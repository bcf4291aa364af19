"""Where the result goes: a video file, a folder of PNG, or y4m on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np


class Stamp(NamedTuple):
    """Time and duration of a frame in units of the source's time base, and the source's file name, if any."""

    time: int
    duration: int
    name: str | None = None


class FrameSink(Protocol):
    """Something that takes frames in display order."""

    def keep(self, stamps: Sequence[Stamp]) -> None:
        """Take over the first frames, one per stamp, from an interrupted run; called before :meth:`write`."""

    def write(self, image: np.ndarray, stamp: Stamp) -> None:
        """Take the next frame, ``(h, w, 3)`` ``uint8`` or ``uint16`` RGB."""

    def close(self) -> None:
        """Write what is still held back and end the file properly."""

    def abort(self) -> None:
        """Close without writing anything more."""
