"""A video file that can be played and resumed at any moment while it is written."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vsrq.errors import OutputError
from vsrq.runtime.video import colour, pyav
from vsrq.runtime.video.copied_streams import CopiedStreams
from vsrq.runtime.video.encoder import EncoderSettings
from vsrq.runtime.video.safe_file import SafeFile
from vsrq.runtime.video.sink import Stamp
from vsrq.runtime.video.source import SourceInfo

# Fragments of a second while writing, so that a killed process leaves a playable file; a plain mp4 at the end.
_FRAGMENTED = {"movflags": "hybrid_fragmented+delay_moov", "frag_duration": "1000000"}
_MATROSKA = {"cluster_time_limit": "1000"}


class VideoSink:
    """Encode frames; keep the source's time stamps, colour and aspect; copy its other streams.

    The encoder counts frames, and the packets get their times afterwards: it never sees a variable rate.

    Args:
        path: File to write.
        size: ``(h, w)`` of the frames, even.
        source: Times, colour and aspect to keep.
        settings: Encoder.
        copied: Other streams; ``None`` for none.
        previous: File of an interrupted run whose frames :meth:`keep` takes over.

    Raises:
        OutputError: The file cannot be created, or the container refuses the streams.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        source: SourceInfo,
        settings: EncoderSettings,
        *,
        copied: CopiedStreams | None = None,
        previous: Path | None = None,
    ) -> None:
        self._path, self._source, self._settings = path, source, settings
        self._copied, self._previous = copied, previous
        self._frames = 0  # handed to the encoder
        self._first = 0  # handed to this encoder first
        self._packets = 0
        self._stamps: dict[int, Stamp] = {}
        self._beginning = 0
        self._file = SafeFile(path)
        try:
            self._output = self._open()
            self._video = self._add_video(size)
            if copied is not None:
                copied.attach(self._output, path)
            self._output.start_encoding()
        except pyav.load().error.FFmpegError as error:
            self._file.close()
            raise OutputError(f"{path}: the container refuses these streams ({error}); try .mkv") from error

    def keep(self, stamps: Sequence[Stamp]) -> None:
        """Copy the first packets of the interrupted run; their times are set anew."""
        if self._previous is None or not stamps:
            return
        for stamp in stamps:
            self._push(stamp)
        with self._writing():
            for number, packet in _stored(self._previous, len(stamps), self._settings.encoder.bitstream_filter):
                self._mux(packet, number)
        self._first = self._frames

    def write(self, image: np.ndarray, stamp: Stamp) -> None:
        """Encode the next frame.

        Raises:
            OutputError: The disk is full, or another failure of writing.
        """
        frame = colour.from_rgb(image, self._source.colour)
        frame.pts, frame.time_base = self._frames - self._first, 1 / self._source.rate
        self._push(stamp)
        self._encode(frame)

    def close(self) -> None:
        """Flush the encoder, copy the rest of the other streams, finish the index."""
        if self._frames > self._first:
            self._encode(None)
        with self._writing():
            if self._copied is not None:
                for packet in self._copied.until(None):
                    self._output.mux(packet)
            self._output.close()
            self._file.sync()
        self._release()

    def abort(self) -> None:
        """Leave the file as it is: playable up to the last fragment."""
        self._release()

    def _release(self) -> None:
        self._file.close()
        if self._copied is not None:
            self._copied.close()

    def _open(self) -> Any:
        suffix = self._path.suffix.lower()
        matroska = suffix in (".mkv", ".webm")
        return pyav.load().open(
            self._file,
            "w",
            format={".mkv": "matroska", ".webm": "webm", ".mov": "mov"}.get(suffix, "mp4"),
            container_options={"flush_packets": "1", **(_MATROSKA if matroska else _FRAGMENTED)},
            buffer_size=1 << 18,
        )

    def _add_video(self, size: tuple[int, int]) -> Any:
        os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 prints its settings otherwise
        rate = self._source.rate
        stream = self._output.add_stream(self._settings.codec, rate=rate, options=self._settings.options(rate))
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p" if self._source.colour.bits == 8 else "yuv420p10le"
        stream.codec_context.time_base = 1 / rate
        stream.codec_context.sample_aspect_ratio = self._source.pixel_aspect
        if self._settings.codec == "libx265" and self._path.suffix.lower() != ".mkv":
            stream.codec_context.codec_tag = "hvc1"  # the name Apple's players look for
        colour.tag(stream.codec_context, self._source.colour)
        stream.time_base = self._source.time_base
        return stream

    def _encode(self, frame: Any) -> None:
        with self._writing():
            for packet in self._video.encode(frame):
                self._mux(packet, self._first + packet.pts)

    def _push(self, stamp: Stamp) -> None:
        if not self._frames:
            self._beginning = stamp.time
        self._stamps[self._frames] = stamp
        self._frames += 1

    def _mux(self, packet: Any, number: int) -> None:
        """Store the packet of frame ``number`` with that frame's time."""
        # Packets come in decoding order; the decoding time is the time of the frame shown `reorder` packets earlier.
        position = self._packets - self._settings.encoder.reorder
        self._packets += 1
        unit = self._source.time_base
        packet.stream, packet.time_base = self._video, unit
        packet.pts, packet.duration, _ = self._stamps[number]
        if position < 0:
            packet.dts = self._beginning + position * round(1 / (self._source.rate * unit))
        else:
            packet.dts = self._stamps.pop(position).time
        if self._copied is not None:
            for other in self._copied.until(packet.dts * unit):
                self._output.mux(other)
        self._output.mux(packet)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except pyav.load().error.FFmpegError as error:
            raise self._file.error or OutputError(f"{self._path}: writing failed ({error})") from error


def usable_frames(path: Path, complete: int | None = None, *, reorder: int) -> int:
    """Return how many frames, from the first on, a partly written video holds completely.

    Args:
        path: The video.
        complete: Number of frames it was closed with, if it was closed.
        reorder: Largest number of frames stored before an earlier shown one.
    """
    av = pyav.load()
    times: list[int] = []  # in storage order
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.is_corrupt:
                    break
                if packet.size:
                    times.append(packet.pts)
    except (av.error.FFmpegError, IndexError):
        pass
    if complete == len(times):
        return len(times)
    # The last packet may be torn. What is missing after it is shown at most `reorder` frames before its place.
    safe = len(times) - 1 - reorder
    latest = list(itertools.accumulate(times, max))
    earliest = list(itertools.accumulate(reversed(times), min))[::-1]
    return next((count for count in range(safe, 0, -1) if latest[count - 1] < earliest[count]), 0)


def _stored(path: Path, count: int, bitstream_filter: str | None) -> Iterator[tuple[int, Any]]:
    """Yield the number of the frame and the packet for the first ``count`` packets, as an encoder gives them."""
    av = pyav.load()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [packet.pts for packet in itertools.islice(container.demux(stream), count)]
    number = {time: rank for rank, time in enumerate(sorted(times))}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        unpack = av.bitstream.BitStreamFilterContext(bitstream_filter, stream) if bitstream_filter else None
        for packet in itertools.islice(container.demux(stream), count):
            rank = number[packet.pts]
            yield from ((rank, each) for each in (unpack.filter(packet) if unpack else [packet]))
