"""What is upscaled: a video file, a folder or glob of images, or y4m on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from vsrq.errors import ConfigError, DataError
from vsrq.images import IMAGE_SUFFIXES, natural_order
from vsrq.runtime.video.colour import Colour
from vsrq.runtime.video.timing import Selection

STDIN = "-"
DEFAULT_RATE = Fraction(25)


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a source once its first frame is read.

    Attributes:
        name: What to call it in messages.
        size: ``(h, w)`` of the upright picture.
        colour: Range, matrix, depth.
        time_base: Unit of all times, in seconds.
        rate: Nominal frames per second.
        pixel_aspect: Sample aspect ratio of the upright picture.
        frames: Number of frames expected, for the progress bar; ``None`` where unknown.
        container: Whether there may be other streams to copy.
        origin: Time, in the source's own clock, that becomes 0 in the output; ``None`` leaves times as they are.
        end: Time, in the source's own clock, of the first frame that is not selected; ``None`` for all.
    """

    name: str
    size: tuple[int, int]
    colour: Colour
    time_base: Fraction
    rate: Fraction
    pixel_aspect: Fraction
    frames: int | None
    container: bool = False
    origin: int | None = None
    end: int | None = None


@dataclass
class SourceFrame:
    """One frame.

    Attributes:
        index: Number within the selection, from 0.
        time: When it is shown, in units of ``SourceInfo.time_base``.
        duration: How long, in the same units.
        rgb: ``(h, w, 3)``, ``uint8`` or ``uint16``; ``None`` for frames before ``skip``.
        name: File name without suffix, where the source is a folder.
    """

    index: int
    time: int
    duration: int
    rgb: np.ndarray | None
    name: str | None = None


class FrameSource(Protocol):
    """Something that gives frames in display order, once."""

    info: SourceInfo

    def frames(self, skip: int = 0) -> Iterator[SourceFrame]:
        """Yield every frame of the selection; the pixels of the first ``skip`` are not converted."""

    def fingerprint(self) -> dict[str, object]:
        """Return what identifies the content, for ``--resume``."""

    def close(self) -> None:
        """Close the file."""


def open_source(path: str, selection: Selection, *, rate: Fraction | None = None) -> FrameSource:
    """Open a source and read its first frame.

    Args:
        path: A video, a folder of images, a glob of images (``frames/*.png``), or ``-`` for y4m on standard input.
        selection: The part to read.
        rate: Frames per second of images; 25 by default. Videos know theirs.

    Raises:
        ConfigError: A rate is given for a video, or a file is named that does not exist.
        DataError: Nothing there that can be read.
    """
    from vsrq.runtime.video.file_source import VideoSource
    from vsrq.runtime.video.image_source import ImageSource

    if path != STDIN and Path(path).is_dir():
        return ImageSource(path, images_in(path), selection, rate or DEFAULT_RATE)
    if path != STDIN and not os.path.exists(path):
        if not glob.has_magic(path):
            raise DataError(f"{path}: no such file or folder; check the path")
        return ImageSource(path, images_matching(path), selection, rate or DEFAULT_RATE)
    if path != STDIN and Path(path).suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource(path, [Path(path)], selection, rate or DEFAULT_RATE)
    if rate is not None:
        raise ConfigError(f"--fps {float(rate):g} is for images; {path} has time stamps of its own: leave it out")
    return VideoSource(path, selection)


def images_in(folder: str) -> list[Path]:
    """Return the images of a folder in natural order.

    Raises:
        DataError: There are none.
    """
    files = [file for file in Path(folder).iterdir() if not file.name.startswith(".")]
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DataError(f"{folder}: zero frames: no file ends in {', '.join(IMAGE_SUFFIXES)}")
    return sorted(images, key=lambda file: natural_order(file.name))


def images_matching(pattern: str) -> list[Path]:
    """Return the images a glob matches, in natural order.

    Raises:
        DataError: There are none.
    """
    images = [Path(name) for name in glob.glob(pattern) if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DataError(f"{pattern}: zero frames: no image matches; quote the pattern and check the path")
    return sorted(images, key=lambda file: natural_order(str(file)))
