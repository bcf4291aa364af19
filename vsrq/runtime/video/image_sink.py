"""A folder of PNG images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vsrq.errors import OutputError
from vsrq.runtime.video.sink import Stamp

_COMPRESSION = [cv2.IMWRITE_PNG_COMPRESSION, 3]  # beyond 3 files hardly shrink, but the time doubles
_TEMPORARY = ".writing"


class ImageSink:
    """One PNG per frame, named as the source's image or by its number; 16 bit where the source is deeper than 8.

    Args:
        folder: Created if it is missing.

    Raises:
        OutputError: It cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be created ({error.strerror}); choose another folder") from error

    def keep(self, stamps: Sequence[Stamp]) -> None:
        """Count the images that are there already."""
        self._count = len(stamps)

    def write(self, image: np.ndarray, stamp: Stamp) -> None:
        """Write the next image under a temporary name and rename it.

        Raises:
            OutputError: The disk is full, or another failure of writing.
        """
        path = self._folder / f"{stamp.name or f'{self._count:08d}'}.png"
        _, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _COMPRESSION)
        temporary = path.with_suffix(_TEMPORARY)
        try:
            temporary.write_bytes(content.tobytes())
            os.replace(temporary, path)
        except OSError as error:
            raise OutputError(
                f"{path}: writing failed ({error.strerror}); free some space, then go on with --resume"
            ) from error
        self._count += 1

    def close(self) -> None:
        """Nothing is held back."""

    def abort(self) -> None:
        """Nothing is held back."""


def usable_images(folder: Path) -> int:
    """Return how many images an interrupted run has written completely."""
    for leftover in folder.glob(f"*{_TEMPORARY}"):
        leftover.unlink()
    return sum(1 for _ in folder.glob("*.png"))
