"""Raw YUV on standard output, for another program to read (y4m)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from vsrq.errors import OutputError
from vsrq.runtime.video import colour, pyav
from vsrq.runtime.video.sink import Stamp
from vsrq.runtime.video.source import SourceInfo

logger = logging.getLogger(__name__)


class Y4mSink:
    """4:2:0 frames, 8 or 10 bit, at the source's nominal rate: y4m knows no time stamps.

    Args:
        stream: Where the bytes go.
        size: ``(h, w)`` of the frames, even.
        source: Rate, colour and aspect.
    """

    def __init__(self, stream: BinaryIO, size: tuple[int, int], source: SourceInfo) -> None:
        self._source = source
        self._stream = stream
        self._count = 0
        self._warned = False
        self._output: Any = pyav.load().open(stream, "w", format="yuv4mpegpipe", container_options={"strict": "-1"})
        self._video = self._output.add_stream("wrapped_avframe", rate=source.rate, options={"strict": "-1"})
        self._video.height, self._video.width = size
        self._video.pix_fmt = "yuv420p" if source.colour.bits == 8 else "yuv420p10le"
        self._video.codec_context.time_base = 1 / source.rate
        self._video.codec_context.sample_aspect_ratio = source.pixel_aspect
        colour.tag(self._video.codec_context, source.colour)

    def keep(self, stamps: Sequence[Stamp]) -> None:
        """A pipe cannot be resumed; nothing is kept."""

    def write(self, image: np.ndarray, stamp: Stamp) -> None:
        """Write the next frame.

        Raises:
            OutputError: Nobody reads any more.
        """
        drift = abs(stamp.time * self._source.time_base * self._source.rate - self._count)
        if drift > 1 and not self._warned:
            logger.warning("y4m has one constant rate, this source has not: write .mkv or .mp4 to keep its time stamps")
            self._warned = True
        frame = colour.from_rgb(image, self._source.colour)
        frame.pts, frame.time_base = self._count, 1 / self._source.rate
        self._count += 1
        self._send(frame)

    def close(self) -> None:
        """Flush."""
        self._send(None)
        with self._writing():
            self._output.close()
            self._stream.flush()

    def abort(self) -> None:
        """What is written is written."""

    def _send(self, frame: Any) -> None:
        with self._writing():
            self._output.mux(self._video.encode(frame))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (pyav.load().error.FFmpegError, OSError) as error:
            raise OutputError(f"standard output: {error.strerror or error}; the reading program has stopped") from error
