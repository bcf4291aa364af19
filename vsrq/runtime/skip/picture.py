"""A picture of where work was done: skipped tiles are dark, computed ones keep their brightness and turn red."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vsrq.errors import ConfigError, OutputError
from vsrq.runtime.skip.stats import SkipStats

_DARK = 0.35  # brightness of what was never computed
_RED = 0.4  # share of red in what was always computed


def activity_picture(frame: np.ndarray, share: np.ndarray, tile: int) -> np.ndarray:
    """Draw how often each tile was computed over a frame.

    Args:
        frame: RGB ``(h, w, 3)``, uint8 or uint16.
        share: For each tile ``(rows, columns)``, the share of frames in which it was computed, in [0, 1].
        tile: Edge of a tile in pixels of the frame.

    Returns:
        RGB ``(h, w, 3)``, uint8.

    Raises:
        ConfigError: The tiles do not cover the frame.
    """
    height, width = frame.shape[:2]
    pixels = np.repeat(np.repeat(share, tile, 0), tile, 1)[:height, :width, None]
    if pixels.shape[:2] != (height, width):
        raise ConfigError(
            f"{share.shape[0]}x{share.shape[1]} tiles of {tile} pixels do not cover frames of {height}x{width}: a "
            "frame that is itself upscaled in parts has no picture; leave --skip-picture out."
        )
    grey = frame / np.iinfo(frame.dtype).max
    shown = grey * (_DARK + (1 - _DARK) * pixels)
    shown += _RED * pixels * (np.array([1.0, 0.0, 0.0]) - shown)
    return np.rint(255 * shown.clip(0, 1)).astype(np.uint8)


def write_picture(path: str | Path, stats: SkipStats, tile: int) -> None:
    """Write the picture of all frames so far over the last of them, as PNG.

    Raises:
        ConfigError: Nothing was upscaled, or in parts.
        OutputError: The file cannot be written.
    """
    if stats.activity is None or stats.frame is None:
        raise ConfigError("no frame was upscaled, so there is no picture of what was skipped.")
    picture = activity_picture(stats.frame, stats.activity / stats.frames, tile)
    _, content = cv2.imencode(".png", picture[..., ::-1])
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(content.tobytes())
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
