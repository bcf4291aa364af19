"""What a conversion is asked for, what it needs, and what it reports."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class FrameUpscaler(Protocol):
    """A network that turns frames into larger frames.

    An attribute ``context`` (10 where there is none) says how many frames it must see again to go on after an
    interruption as if there had been none.
    """

    scale: int

    def stream(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Yield one ``(scale * h, scale * w, 3)`` frame per ``(h, w, 3)`` frame, in order and of the same dtype."""


@dataclass(frozen=True)
class Options:
    """What the user asks for.

    Attributes:
        source: See :func:`vsrq.runtime.video.source.open_source`.
        target: A video file, a folder for PNG, or ``-`` for y4m on standard output.
        start: Beginning of the part, seconds or ``HH:MM:SS``.
        end: End of the part; not included.
        fps: Frames per second where the source is images.
        scale_to: See :func:`vsrq.runtime.video.layout.fit`.
        side_by_side: Source, enlarged bicubically, left of the result.
        codec: See :func:`vsrq.runtime.video.encoder.choose`.
        crf: See there.
        preset: See there.
        resume: Go on with an interrupted run.
        overwrite: Replace what has the final name.
    """

    source: str
    target: str
    start: str | float | None = None
    end: str | float | None = None
    fps: float | None = None
    scale_to: str | None = None
    side_by_side: bool = False
    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Summary:
    """What was done.

    Attributes:
        target: Where the result is.
        frames: Frames of the result.
        kept: Of these, taken over from an interrupted run.
        seconds: Wall-clock time.
        decode: Busy seconds of the decoding thread.
        infer: Seconds the network worked.
        encode: Busy seconds of the encoding thread.
    """

    target: str
    frames: int
    kept: int
    seconds: float
    decode: float
    infer: float
    encode: float
