"""The checked output: what kind it is, and where it grows until it is complete."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from vsrq.errors import ConfigError
from vsrq.runtime.video import encoder, pyav
from vsrq.runtime.video.copied_streams import CopiedStreams
from vsrq.runtime.video.file_sink import VideoSink, usable_frames
from vsrq.runtime.video.image_sink import ImageSink, usable_images
from vsrq.runtime.video.options import Options
from vsrq.runtime.video.partial import Partial
from vsrq.runtime.video.sink import FrameSink
from vsrq.runtime.video.source import STDIN, FrameSource, SourceInfo
from vsrq.runtime.video.y4m_sink import Y4mSink

STDOUT = "-"


class Target:
    """A video file, a folder of images, or standard output.

    Args:
        options: What the user asks for.
        stdout: Takes y4m when the target is ``-``; standard output by default.

    Raises:
        ConfigError: The options contradict each other.
        OutputError: Something is there that must not be touched, or the folder cannot be written.
    """

    def __init__(self, options: Options, stdout: BinaryIO | None) -> None:
        self.options = options
        self.stdout = stdout or sys.stdout.buffer
        self.partial: Partial | None = None
        self.settings: encoder.EncoderSettings | None = None
        path = Path(options.target)
        if options.target == STDOUT:
            if options.resume:
                raise ConfigError("--resume needs a result that stays, and standard output does not: write a file")
            pyav.load()
            return
        if options.resume and options.source == STDIN:
            raise ConfigError("--resume needs a source that can be read again, and standard input cannot: give a file")
        if path.exists() and os.path.exists(options.source) and os.path.samefile(path, options.source):
            raise ConfigError(f"{path}: is both the source and the output; choose another name")
        if options.target.endswith(("/", os.sep)) or path.is_dir() or not path.suffix:
            self.partial = Partial(path, lambda folder, _: usable_images(folder))
        else:
            self.settings = encoder.choose(
                path.suffix.lower(), codec=options.codec, crf=options.crf, preset=options.preset
            )
            pyav.load()
            self.partial = Partial(path, partial(usable_frames, reorder=self.settings.encoder.reorder))
        self.partial.check(resume=options.resume, overwrite=options.overwrite)

    def record(self, source: FrameSource) -> dict[str, Any]:
        """Return what must be the same for a run to be resumed, but for the network."""
        names = ("start", "end", "fps", "scale_to", "side_by_side")
        settings = {name: getattr(self.options, name) for name in names}
        if self.settings is not None:
            settings |= {"codec": self.settings.codec, "crf": self.settings.crf, "preset": self.settings.preset}
            # Another release of the encoder may write another header, and a file has but one.
            settings["encoder library"] = list(pyav.load().library_versions["libavcodec"])
        fingerprint = {} if self.options.source == STDIN else source.fingerprint()
        return {"source": fingerprint, "settings": settings}

    def open(self, size: tuple[int, int], source: SourceInfo, kept: int) -> FrameSink:
        """Create the sink."""
        if self.partial is None:
            return Y4mSink(self.stdout, size, source)
        if self.settings is None:
            return ImageSink(self.partial.path)
        copied = None
        if source.container:
            unit = source.time_base
            start = None if source.origin is None else source.origin * unit
            copied = CopiedStreams(
                self.options.source, start=start, end=None if source.end is None else source.end * unit
            )
        previous = self.partial.previous if kept else None
        return VideoSink(self.partial.path, size, source, self.settings, copied=copied, previous=previous)
