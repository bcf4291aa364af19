"""Frames of a video file, or of y4m on standard input, with damage bridged."""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import os
import sys
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from vsrq.errors import DataError
from vsrq.runtime.video import colour, orientation, pyav
from vsrq.runtime.video.decoding import decoded, main_stream
from vsrq.runtime.video.source import DEFAULT_RATE, STDIN, SourceFrame, SourceInfo
from vsrq.runtime.video.timing import Clock, Selection

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
# Damage that a decoder would otherwise conceal without saying so.
_STRICT = {"err_detect": "careful+crccheck+bitstream+buffer"}
_MAX_REPORTS = 5


class VideoSource:
    """The main video stream of a file.

    A frame that cannot be decoded, or only with visible damage, is reported and replaced by the one before
    it, so that length and synchronisation stay. A file that ends too early is read as far as it goes, with a
    warning.

    Args:
        path: A video file, or ``-`` for y4m on standard input.
        selection: The part to read.

    Raises:
        DataError: Not a video, no video stream, zero frames, or a pixel format that cannot be converted.
        MissingDependencyError: PyAV is not installed.
    """

    def __init__(self, path: str, selection: Selection) -> None:
        self._path, self._selection = path, selection
        self._name = "standard input" if path == STDIN else path
        self._reports = 0
        self._open()
        step = 1 / (self._rate * self._time_base)
        self._step = max(1, round(step))
        begin = self._stream.start_time or 0
        self._first = begin + math.ceil((selection.start or 0) / self._time_base)
        self._stop = None if selection.end is None else begin + math.ceil(selection.end / self._time_base)
        self._seek()
        self._pending = self._good_frames()
        self._head = next(self._pending, None)
        if self._head is None:
            raise DataError(f"{self._name}: zero frames{' between --start and --end' if not selection.whole else ''}")
        self.info = self._describe(*self._head)

    def frames(self, skip: int = 0) -> Iterator[SourceFrame]:
        """Yield every frame of the selection in display order.

        Raises:
            DataError: The picture size changes, or a frame cannot be converted.
        """
        clock = Clock(self._step)
        converted: tuple[Any, np.ndarray] | None = None  # repeats of a frame are converted once
        index = 0
        head, self._head = self._head, None
        for time, frame in [] if head is None else itertools.chain([head], self._pending):
            time = clock.stamp(time)
            rgb = None
            if index >= skip:
                if converted is None or converted[0] is not frame:
                    converted = (frame, self._convert(frame, index))
                rgb = converted[1]
            yield SourceFrame(index, time - (self.info.origin or 0), frame.duration or self._step, rgb)
            index += 1
        if clock.repaired:
            logger.warning(
                "%s: %d frames had no usable time stamp; they follow at the nominal rate", self._name, clock.repaired
            )
        self._check_length(index)

    def fingerprint(self) -> dict[str, object]:
        """Return the file's size and a hash of its beginning and its end."""
        size = os.path.getsize(self._path)
        digest = hashlib.sha256()
        with open(self._path, "rb") as file:
            digest.update(file.read(_CHUNK))
            file.seek(max(0, size - _CHUNK))
            digest.update(file.read(_CHUNK))
        return {"bytes": size, "sha256_of_ends": digest.hexdigest()}

    def close(self) -> None:
        """Close the file."""
        try:
            self._pending.close()
        except ValueError:  # a thread still waits for standard input
            return
        self._container.close()

    def _open(self) -> None:
        av = pyav.load()
        with pyav.reading(self._name):
            if self._path == STDIN:
                self._container = av.open(sys.stdin.buffer, "r", format="yuv4mpegpipe")
            else:
                self._container = av.open(self._path, "r", options=_STRICT)
            self._stream = main_stream(self._container, self._name)
        self._time_base = self._stream.time_base
        self._rate = self._stream.average_rate or self._stream.guessed_rate or DEFAULT_RATE
        self._sought = False

    def _seek(self) -> None:
        """Jump to the key frame before the selection, unless the container gets that wrong."""
        if not self._selection.start or self._path == STDIN:
            return
        try:
            self._container.seek(self._first, stream=self._stream, backward=True)
            packet = next(packet for packet in self._container.demux(self._stream) if packet.size)
            self._sought = packet.is_keyframe and packet.pts is not None and packet.pts <= self._first
            if self._sought:
                self._container.seek(self._first, stream=self._stream, backward=True)
        except (pyav.load().error.FFmpegError, StopIteration):
            self._sought = False
        if not self._sought:
            self._container.close()
            self._open()

    def _good_frames(self) -> Generator[tuple[int | None, Any], None, None]:
        """Yield ``(time, frame)`` of the selection; damaged frames are replaced by their predecessor."""
        previous = None
        waiting: list[int | None] = []  # damaged frames before the first good one
        for number, (time, frame) in enumerate(decoded(self._container, self._stream, self._name)):
            if time is not None and self._stop is not None and time >= self._stop:
                return
            damaged = frame is None or frame.is_corrupt
            selected = time is None or time >= self._first
            if damaged and selected:
                self._report(number, time, "previous" if previous else "next")
            if damaged and previous is None:
                waiting += [time] if selected else []
                continue
            previous = previous if damaged else frame
            yield from ((held, previous) for held in waiting)
            waiting = []
            if selected:
                yield time, previous

    def _describe(self, time: int | None, frame: Any) -> SourceInfo:
        self._colour = colour.of_frame(frame, self._name)
        self._check_frame(frame)
        turned = orientation.of_frame(frame)
        if turned is None:
            logger.warning("%s: the display matrix is no multiple of 90 degrees and is ignored", self._name)
        self._orientation = turned or orientation.UPRIGHT
        self._coded_size = (frame.height, frame.width)
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        swapped = orientation.swaps_axes(self._orientation)
        return SourceInfo(
            name=self._name,
            size=self._coded_size[::-1] if swapped else self._coded_size,
            colour=self._colour,
            time_base=self._time_base,
            rate=Fraction(self._rate),
            pixel_aspect=1 / aspect if swapped else aspect,
            frames=self._expected_frames(),
            container=self._path != STDIN,
            origin=time if self._selection.start else None,
            end=self._stop,
        )

    def _check_frame(self, frame: Any) -> None:
        if frame.interlaced_frame:
            logger.warning("%s: is interlaced; deinterlace it first for a good result", self._name)
        if any(component.is_alpha for component in frame.format.components):
            logger.warning("%s: the alpha channel is dropped", self._name)

    def _convert(self, frame: Any, index: int) -> np.ndarray:
        if (frame.height, frame.width) != self._coded_size:
            height, width = self._coded_size
            raise DataError(
                f"{self._name}: the picture changes from {width}x{height} to {frame.width}x{frame.height} at frame "
                f"{index}; cut it there with --end, or re-encode it to one size"
            )
        try:
            rgb = colour.to_rgb(frame, self._colour)
        except (pyav.load().error.FFmpegError, ValueError) as error:
            raise DataError(
                f"{self._name}: pixel format {frame.format.name} cannot be converted to RGB ({error}); "
                "re-encode it as yuv420p"
            ) from error
        return orientation.turn_upright(rgb, self._orientation)

    def _expected_frames(self) -> int | None:
        seconds = self._seconds()
        if self._selection.whole and self._stream.frames:
            return self._stream.frames
        if seconds is None:
            return None
        stop = seconds if self._selection.end is None else min(seconds, self._selection.end)
        return max(1, round((stop - (self._selection.start or 0)) * self._rate))

    def _seconds(self) -> Fraction | None:
        if self._stream.duration:
            return self._stream.duration * self._time_base
        if self._container.duration and self._path != STDIN:
            return Fraction(self._container.duration, pyav.MICROSECONDS)
        return None

    def _check_length(self, count: int) -> None:
        promised = self._stream.frames
        if self._selection.whole and count < promised:
            logger.warning("%s: truncated: %d frames promised, %d found and used", self._name, promised, count)

    def _report(self, number: int, time: int | None, substitute: str) -> None:
        self._reports += 1
        if self._reports > _MAX_REPORTS:
            if self._reports == _MAX_REPORTS + 1:
                logger.warning("%s: more damaged frames are bridged without a message each", self._name)
            return
        begin = self._stream.start_time or 0
        seconds = "" if time is None else f" at {float((time - begin) * self._time_base):.3f} s"
        frame = "a frame" if self._sought else f"frame {number}"
        logger.warning("%s: %s%s is damaged; the %s frame stands in for it", self._name, frame, seconds, substitute)
