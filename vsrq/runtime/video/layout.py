"""Size and arrangement of the output picture: ``--scale-to`` and ``--side-by-side``."""

from __future__ import annotations

import re

import cv2
import numpy as np

from vsrq.errors import ConfigError

_LINES = re.compile(r"(\d+)p", re.IGNORECASE)
_BOX = re.compile(r"(\d+)[x:](\d+)", re.IGNORECASE)


def fit(size: tuple[int, int], target: str | None) -> tuple[int, int]:
    """Return the even size ``(h, w)`` with the aspect of ``size`` that ``target`` asks for.

    Args:
        size: ``(h, w)``.
        target: ``1080p`` for that many lines, ``1920x1080`` for the largest size inside that box, ``None`` for
            ``size`` itself.

    Raises:
        ConfigError: ``target`` is none of these, or smaller than 2 pixels.
    """
    height, width = size
    if target is None:
        factor = 1.0
    elif match := _LINES.fullmatch(target):
        factor = int(match[1]) / height
    elif match := _BOX.fullmatch(target):
        factor = min(int(match[1]) / width, int(match[2]) / height)
    else:
        raise ConfigError(f"--scale-to {target!r} is not a size; write WIDTHxHEIGHT or lines, as in 1920x1080 or 1080p")
    if factor * min(size) < 2:
        raise ConfigError(f"--scale-to {target!r} leaves less than 2 pixels of {width}x{height}; ask for more")
    return _even(height * factor), _even(width * factor)


class Layout:
    """Compose the output picture.

    Args:
        source: Source size ``(h, w)``.
        scale: Factor of the network.
        scale_to: See :func:`fit`.
        side_by_side: Put the source, enlarged bicubically, to the left of the result.

    Attributes:
        size: Size ``(h, w)`` of the composed picture.
    """

    def __init__(self, source: tuple[int, int], scale: int, *, scale_to: str | None = None, side_by_side: bool = False):
        self._upscaled = fit((source[0] * scale, source[1] * scale), scale_to)
        self.side_by_side = side_by_side
        self.size = (self._upscaled[0], self._upscaled[1] * (2 if side_by_side else 1))

    def compose(self, source: np.ndarray | None, upscaled: np.ndarray) -> np.ndarray:
        """Return the picture of :attr:`size`.

        Args:
            source: Source frame ``(h, w, 3)``; only used side by side.
            upscaled: Result of the network.
        """
        upscaled = _resize(upscaled, self._upscaled)
        if not self.side_by_side or source is None:
            return upscaled
        height, width = self._upscaled
        enlarged = cv2.resize(source, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.hstack([enlarged, upscaled])


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    # Area averaging does not alias when shrinking; Lanczos is the sharpest of the enlarging filters.
    smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4)


def _even(length: float) -> int:
    """Chroma of 4:2:0 video needs even sizes."""
    return max(2, 2 * round(length / 2))
