"""Audio, subtitles, chapters and tags of the source, copied without decoding."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from vsrq.runtime.video import pyav
from vsrq.runtime.video.decoding import main_stream

logger = logging.getLogger(__name__)

# The container writes these itself.
_OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


class CopiedStreams:
    """The streams of a source beside its video, as packets with shifted times.

    Args:
        path: The source.
        start: Seconds in the source's clock that become 0; packets before it are left out. ``None`` copies from the
            beginning and leaves the times alone.
        end: Seconds in the source's clock; packets from there on are left out.
    """

    def __init__(self, path: str, *, start: Fraction | None = None, end: Fraction | None = None) -> None:
        self._start, self._end = start, end
        with pyav.reading(path):
            self._container = pyav.load().open(path)
        self._outputs: dict[int, Any] = {}  # index of the source's stream -> stream of the output
        self._repackers: dict[int, Any] = {}
        self._last: dict[int, int] = {}
        self._packets: Iterator[Any] = iter(())
        self._held: Any = None

    def attach(self, output: Any, target: Path) -> None:
        """Add the streams, tags and chapters to an output that has only its video stream yet.

        What the container cannot hold is left out, with a warning.
        """
        output.metadata.update({k: v for k, v in self._container.metadata.items() if k.lower() not in _OWN_TAGS})
        self._copy_chapters(output)
        pictures = main_stream(self._container, target.name)
        kept = {name: pictures.metadata[name] for name in ("language", "title") if name in pictures.metadata}
        output.streams.video[0].metadata.update(kept)
        for stream in self._container.streams:
            if stream.type in ("audio", "subtitle"):
                self._attach(stream, output, target)
            elif stream.type == "attachment" and target.suffix == ".mkv":
                output.add_attachment(stream.name or f"attachment{stream.index}", stream.mimetype or "", stream.data)
            elif stream.index != pictures.index:
                logger.warning("stream %d (%s) is not copied", stream.index, stream.type)
        for stream in self._container.streams:
            if stream.index not in self._outputs:
                stream.discard = pyav.load().stream.Discard.all  # spares reading the source's pictures a second time
        if self._start is not None:
            self._container.seek(int(self._start * pyav.MICROSECONDS), backward=True)
        self._packets = self._read()

    def until(self, seconds: Fraction | None) -> Iterator[Any]:
        """Yield the packets up to a time in the output's clock; ``None`` yields all that are left."""
        while True:
            packet = self._held or next(self._packets, None)
            self._held = None
            if packet is None:
                return
            if seconds is not None and packet.dts * packet.time_base > seconds:
                self._held = packet
                return
            yield packet

    def close(self) -> None:
        """Close the source."""
        self._container.close()

    def _attach(self, stream: Any, output: Any, target: Path) -> None:
        codec = stream.codec_context.name if stream.codec_context else "unknown codec"
        try:
            if stream.codec_context is None:
                raise ValueError("unknown codec")
            copy = output.add_stream_from_template(stream)
        except (ValueError, pyav.load().error.FFmpegError):
            logger.warning(
                "%s stream %d (%s) does not go into %s and is left out; write .mkv to keep it",
                stream.type, stream.index, codec, target.suffix,
            )  # fmt: skip
            return
        copy.metadata.update({key: value for key, value in stream.metadata.items() if key != "DURATION"})
        copy.disposition = stream.disposition
        self._outputs[stream.index] = copy
        if codec == "aac" and not stream.codec_context.extradata:
            # Transport streams put a header before every packet; files hold it once.
            self._repackers[stream.index] = pyav.load().bitstream.BitStreamFilterContext("aac_adtstoasc", stream)

    def _copy_chapters(self, output: Any) -> None:
        chapters = []
        for chapter in self._container.chapters():
            unit = chapter["time_base"]
            shift = round((self._start or 0) / unit)
            end = chapter["end"] if self._end is None else min(chapter["end"], round(self._end / unit))
            start = max(0, chapter["start"] - shift)
            if end - shift > start:
                chapters.append({**chapter, "start": start, "end": end - shift})
        if chapters:
            output.set_chapters(chapters)

    def _read(self) -> Iterator[Any]:
        streams = [stream for stream in self._container.streams if stream.index in self._outputs]
        if not streams:
            return
        try:
            for packet in self._container.demux(streams):
                stream = packet.stream
                repack = self._repackers.get(stream.index)
                for copy in (repack.filter(packet) if repack else [packet]) if packet.size else ():
                    if self._place(copy, stream):
                        yield copy
        except pyav.load().error.FFmpegError as error:
            logger.warning("copying audio and subtitles stopped early: %s", error.strerror)

    def _place(self, packet: Any, stream: Any) -> bool:
        """Move a packet into the output's clock; tell whether it is inside the selection."""
        unit, index = packet.time_base, stream.index
        if packet.dts is None:
            packet.dts = packet.pts
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.pts is None:
            return False
        if self._end is not None and packet.pts * unit >= self._end:
            return False
        if self._start is not None:
            shift = round(self._start / unit)
            early = shift - packet.pts
            if early > 0 and (stream.type != "subtitle" or (packet.duration or 0) <= early):
                return False
            if early > 0:  # a subtitle that is already on the screen
                packet.duration -= early
                packet.pts = packet.dts = shift
            packet.pts -= shift
            packet.dts -= shift
        # Containers refuse times that run backwards.
        packet.dts = max(packet.dts, self._last.get(index, packet.dts))
        packet.pts = max(packet.pts, packet.dts)
        self._last[index] = packet.dts
        packet.stream = self._outputs[index]
        return True
