"""Find the pictures of a container, decode them, and notice which were stored but do not come out."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from typing import Any

from vsrq.errors import DataError
from vsrq.runtime.video import pyav

logger = logging.getLogger(__name__)


def main_stream(container: Any, name: str) -> Any:
    """Return the first video stream that is not a cover picture.

    Args:
        container: An open input.
        name: What to call it in messages.

    Raises:
        DataError: There is none, or its codec or pixel format is unknown.
    """
    covers = pyav.load().stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & covers:
            if stream.codec_context is None:
                raise DataError(f"{name}: the video codec is not known to this FFmpeg; re-encode it, e.g. as H.264")
            if stream.codec_context.pix_fmt is None:
                raise DataError(f"{name}: unknown pixel format; re-encode it as yuv420p")
            return stream
    raise DataError(f"{name}: holds no video stream")


def decoded(container: Any, stream: Any, name: str) -> Iterator[tuple[int | None, Any]]:
    """Yield ``(time, frame)``, and ``(time, None)`` for a frame that was stored but did not come out.

    Not every packet holds a frame to show, so that frames only count as lost from an error of the decoder on
    to the next key frame. In between a decoder may also give frames too late, after their place was filled.

    Args:
        container: An open input.
        stream: Its video stream.
        name: What to call it in messages.
    """
    error = pyav.load().error.FFmpegError
    expected: list[int] = []
    damage: int | None = None  # time of the last packet that could not be decoded
    latest: int | None = None
    for packet in _demuxed(container, stream, name):
        stored = packet.pts
        if packet.size and stored is not None and not packet.is_discard:
            heapq.heappush(expected, stored)
        try:
            frames = packet.decode()
        except error:
            damage = max(time for time in (damage, stored, latest, 0) if time is not None)
            continue
        for frame in frames:
            time = frame.pts if frame.pts is not None else frame.dts
            if time is not None:
                late = latest is not None and time <= latest
                if late and damage is not None:
                    continue
                while expected and expected[0] <= time:
                    lost = heapq.heappop(expected)
                    if lost < time and damage is not None:
                        yield lost, None
                if damage is not None and frame.key_frame and time > damage:
                    damage = None
                latest = time if latest is None else max(latest, time)
            yield time, frame
    if damage is not None:
        yield from ((lost, None) for lost in sorted(expected))


def _demuxed(container: Any, stream: Any, name: str) -> Iterator[Any]:
    """Yield the packets up to the end, or up to where the file cannot be read."""
    try:
        yield from container.demux(stream)
    except pyav.load().error.FFmpegError as error:
        logger.warning("%s: reading stopped: %s; what was read so far is used", name, error.strerror)
