"""Video in, upscaled video out: decoding, inference and encoding side by side."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vsrq.errors import ConfigError, OutputError, StateError
from vsrq.runtime.video.interrupt import Interrupted, interruptible
from vsrq.runtime.video.layout import Layout, fit
from vsrq.runtime.video.options import FrameUpscaler, Options, Summary
from vsrq.runtime.video.progress import ProgressBar
from vsrq.runtime.video.sink import FrameSink, Stamp
from vsrq.runtime.video.source import FrameSource, SourceFrame, open_source
from vsrq.runtime.video.target import Target
from vsrq.runtime.video.timing import Selection, parse_time
from vsrq.runtime.video.workers import Background, Prefetch

logger = logging.getLogger(__name__)

_QUEUE_BYTES = 256 << 20  # held between two stages
_CONTEXT = 10  # frames a recurrent network sees again before it goes on


def convert(
    options: Options,
    prepare: Callable[[], tuple[FrameUpscaler, str]],
    *,
    progress: ProgressBar | None = None,
    stdout: BinaryIO | None = None,
) -> Summary:
    """Upscale a video.

    Args:
        options: What to do.
        prepare: Makes the network, and a string that changes whenever its results would. It is called after the
            options, the source and the target are found to be in order.
        progress: Where to show it.
        stdout: Takes y4m when the target is ``-``; standard output by default.

    Raises:
        ConfigError: The options contradict each other, or differ from those of the run to resume.
        DataError: The source cannot be used.
        OutputError: The target cannot be written.
        MissingDependencyError: PyAV is not installed.
        Interrupted: SIGINT or SIGTERM; what is done so far can be played and resumed.
    """
    selection = Selection(parse_time(options.start, "--start"), parse_time(options.end, "--end"))
    target = Target(options, stdout)
    source = open_source(options.source, selection, rate=None if options.fps is None else _rate(options.fps))
    try:
        fit(source.info.size, options.scale_to)  # a wrong size shows before the network is made
        if target.partial is not None and options.resume:
            target.partial.compare(target.record(source))
        upscaler, identity = prepare()
        layout = Layout(source.info.size, upscaler.scale, scale_to=options.scale_to, side_by_side=options.side_by_side)
        return _Run(source, target, layout, upscaler, identity, progress or ProgressBar(quiet=True)).run()
    finally:
        source.close()


class _Run:
    """One upscale from the first frame to the final name."""

    def __init__(
        self,
        source: FrameSource,
        target: Target,
        layout: Layout,
        upscaler: FrameUpscaler,
        identity: str,
        progress: ProgressBar,
    ) -> None:
        self._source, self._target, self._layout, self._upscaler = source, target, layout, upscaler
        self._identity, self._progress = identity, progress
        self._kept = 0  # frames taken over from an interrupted run
        self._taken = False  # whether the sink has them
        self._written = 0  # frames the sink has
        self._waited = 0.0  # seconds the network waited for frames
        self._inferred = 0.0
        self._pending: deque[SourceFrame] = deque()  # given to the network, result not yet there

    def run(self) -> Summary:
        """Do it."""
        begin = time.perf_counter()
        info, partial = self._source.info, self._target.partial
        if partial is not None:
            record = {**self._target.record(self._source), "network": self._identity}
            self._kept = partial.begin(record, resume=self._target.options.resume)
        self._progress.begin(Path(info.name).name, info.frames, self._kept)
        with interruptible() as guard:
            sink: FrameSink | None = None
            frames: Prefetch[SourceFrame] | None = None
            writer: Background[tuple[SourceFrame, np.ndarray]] | None = None
            try:
                sink = self._target.open(self._layout.size, info, self._kept)
                height, width = info.size
                frame_bytes = 3 * height * width * np.dtype(info.colour.dtype).itemsize
                context = getattr(self._upscaler, "context", _CONTEXT)
                skip = max(0, self._kept - context)
                frames = Prefetch(self._source.frames(skip), _depth(frame_bytes))
                writer = Background(self._writer(sink), _depth(frame_bytes * self._upscaler.scale**2))
                self._pump(self._feed(frames, sink), writer)
                guard.finishing = True
                writer.finish()
                sink.close()
            except BaseException as error:
                guard.finishing = True
                kept = self._leave(sink, writer, broken=isinstance(error, OutputError))
                if isinstance(error, KeyboardInterrupt):
                    raise Interrupted(self._farewell(kept)) from None
                if kept:
                    logger.warning(self._farewell(kept))
                raise
            finally:
                if frames is not None:
                    frames.close()
        if partial is not None:
            partial.complete()
        return Summary(
            target=self._target.options.target,
            frames=self._written,
            kept=self._kept,
            seconds=time.perf_counter() - begin,
            decode=frames.busy,
            infer=self._inferred - self._waited,
            encode=writer.busy,
        )

    def _feed(self, frames: Iterable[SourceFrame], sink: FrameSink) -> Iterator[np.ndarray]:
        """Yield the pixels for the network; hand the kept frames to the sink on the way."""
        stamps: list[Stamp] = []
        before = time.perf_counter()
        for frame in frames:
            self._waited += time.perf_counter() - before
            if frame.index < self._kept:
                stamps.append(_stamp(frame))
            elif not self._taken:
                self._take(sink, stamps)
            pixels = frame.rgb
            if pixels is not None:  # those before `skip` have none
                self._pending.append(frame)
                if not self._layout.side_by_side:
                    frame.rgb = None  # the network has it; nobody else needs it
                yield pixels
            before = time.perf_counter()
        if not self._taken:
            self._take(sink, stamps)

    def _take(self, sink: FrameSink, stamps: list[Stamp]) -> None:
        sink.keep(stamps)
        self._written = len(stamps)
        self._taken = True
        stamps.clear()

    def _pump(self, frames: Iterator[np.ndarray], writer: Background[tuple[SourceFrame, np.ndarray]]) -> None:
        """Drive the network; pass on its results."""
        with closing(self._upscaler.stream(frames)) as results:
            while True:
                begin = time.perf_counter()
                image = next(results, None)
                self._inferred += time.perf_counter() - begin
                if image is None:
                    break
                frame = self._pending.popleft()
                if frame.index >= self._kept:
                    writer.put((frame, image))
                    self._progress.advance()
        if self._pending:
            raise StateError(f"the network returned {len(self._pending)} frames less than it was given; report this")

    def _writer(self, sink: FrameSink) -> Callable[[tuple[SourceFrame, np.ndarray]], None]:
        height, width = self._source.info.size
        expected = (self._upscaler.scale * height, self._upscaler.scale * width, 3)

        def write(item: tuple[SourceFrame, np.ndarray]) -> None:
            frame, image = item
            if image.shape != expected or image.dtype != self._source.info.colour.dtype:
                raise StateError(f"the network returned {image.dtype} {image.shape} instead of {expected}; report this")
            sink.write(self._layout.compose(frame.rgb, image), _stamp(frame))
            self._written += 1

        return write

    def _leave(self, sink: FrameSink | None, writer: Background | None, *, broken: bool) -> int:
        """End an unfinished result so that it can be played and resumed; return its number of frames."""
        try:
            if writer is not None:
                writer.finish()
            if sink is not None and not broken:
                sink.close()
        except Exception:
            broken = True
        if sink is not None and broken:
            sink.abort()
        partial = self._target.partial
        if partial is None:
            return 0
        if self._written <= self._kept:
            partial.revert()
            return self._kept
        if broken:
            return partial.usable()
        partial.interrupted(self._written)
        return self._written

    def _farewell(self, frames: int) -> str:
        partial, total = self._target.partial, self._source.info.frames
        if not frames or partial is None:
            return "nothing is left"
        return f"{frames}{f' of {total}' if total else ''} frames are in {partial.path}; --resume goes on"


def _stamp(frame: SourceFrame) -> Stamp:
    return Stamp(frame.time, frame.duration, frame.name)


def _depth(frame_bytes: int) -> int:
    """Frames held between two stages: few where they are large."""
    return max(1, min(8, _QUEUE_BYTES // max(1, frame_bytes)))


def _rate(fps: float) -> Fraction:
    if not 0 < fps <= 1000:
        raise ConfigError(f"--fps {fps:g} is out of range; allowed: above 0, up to 1000")
    return Fraction(fps).limit_denominator(1001)
