"""Frames of a video file as arrays, through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vsrq.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from av.container import InputContainer

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".y4m")


class VideoIndex(NamedTuple):
    """What a video holds, found by walking its packets without decoding them."""

    height: int
    width: int
    num_frames: int
    """Number of frames shown."""
    times: tuple[int, ...] | None
    """Presentation times of the frames in display order, in units of the stream's time base; ``None`` where the
    container does not give every frame its own."""


def read_video(path: str | os.PathLike, *, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Read the frames ``start .. stop - 1`` of a video.

    Seeks to the key frame before ``start``, so that a short piece of a long video is cheap.

    Args:
        path: A video file.
        start: First frame, counted from 0.
        stop: One past the last frame; ``None`` reads to the end.

    Returns:
        ``(t, h, w, 3)`` ``uint8``, RGB.

    Raises:
        DataError: The file is missing, not a video, truncated or shorter than ``stop``.
        MissingDependencyError: PyAV is not installed.
    """
    index = index_video(path)
    total = index.num_frames
    stop = total if stop is None else stop
    if not 0 <= start < stop <= total:
        raise DataError(f"{path}: frames {start}..{stop} asked for, but the video has {total}; need 0 <= start < stop")
    frames = _decode_from_key_frame(path, index, start, stop)
    if frames is None:
        frames = _decode_from_beginning(path, start, stop)
    if len(frames) < stop - start:
        raise DataError(
            f"{path}: damaged: {stop} frames are indexed, only {start + len(frames)} can be decoded; re-encode it"
        )
    if len({frame.shape for frame in frames}) > 1:
        raise DataError(f"{path}: the frame size changes within the video; re-encode it to one size")
    return np.stack(frames)


def index_video(path: str | os.PathLike) -> VideoIndex:
    """Return size and frame times of a video, without decoding it; cached until the file changes.

    Raises:
        DataError: The file is missing, not a video, empty, or ends before the frames its header promises.
        MissingDependencyError: PyAV is not installed.
    """
    try:
        modified = os.stat(path).st_mtime_ns
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}); check the path") from error
    return _index(str(path), modified)


@lru_cache(maxsize=256)
def _index(path: str, modified: int) -> VideoIndex:
    with _open(path) as container:
        stream = container.streams.video[0]
        times = []
        found = 0
        for packet in container.demux(stream):
            if packet.size == 0:  # the flush packet at the end
                continue
            if packet.is_corrupt:
                break
            found += 1
            if not packet.is_discard:  # cut off by an edit list: never shown
                times.append(packet.pts)
        promised, height, width = stream.frames, stream.height, stream.width
    if found < promised:
        raise DataError(f"{path}: truncated: {promised} frames promised, {found} found; fetch it again")
    if not times:
        raise DataError(f"{path}: holds no frames")
    distinct = {time for time in times if time is not None}
    return VideoIndex(height, width, len(times), tuple(sorted(distinct)) if len(distinct) == len(times) else None)


@contextmanager
def _open(path: str | os.PathLike) -> Iterator[InputContainer]:
    """Open a video and turn every failure of FFmpeg inside the block into a DataError."""
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("reading videos needs PyAV: pip install 'vsrq[video]'") from error
    if Path(path).is_dir():
        raise DataError(f"{path}: is a folder, not a video file")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path}: holds no video stream")
            container.streams.video[0].thread_type = "AUTO"
            yield container
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable video, or truncated ({error}); fetch it again") from error


def _decode_from_key_frame(path, index: VideoIndex, start: int, stop: int) -> list[np.ndarray] | None:
    """Return the frames, or None where seeking gains nothing, is impossible or misses a frame."""
    if start == 0 or index.times is None:
        return None
    wanted = {time: position for position, time in enumerate(index.times[start:stop])}
    found: dict[int, np.ndarray] = {}
    with _open(path) as container:
        stream = container.streams.video[0]
        container.seek(index.times[start], stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.pts in wanted:
                found[wanted[frame.pts]] = frame.to_ndarray(format="rgb24")
            if len(found) == len(wanted):
                return [found[position] for position in range(len(wanted))]
    return None


def _decode_from_beginning(path, start: int, stop: int) -> list[np.ndarray]:
    frames: list[np.ndarray] = []
    with _open(path) as container:
        for position, frame in enumerate(container.decode(video=0)):
            if position >= stop:
                break
            if position >= start:
                frames.append(frame.to_ndarray(format="rgb24"))
    return frames
