"""Crop a whole clip at one place."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from vsrq.errors import ConfigError, DataError
from vsrq.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomClipCrop(BaseTransform):
    """Cut the same random square out of all frames of ``results[key]``.

    Cropping the ground truth before the degradation makes the low-resolution half of the square only; mmagic's
    ``Crop`` draws another place for every frame, and ``PairedRandomCrop`` needs both halves.

    Args:
        size: Height and width of the square in pixels.
        key: Frames ``(h, w, 3)``, one or a list.

    Raises:
        ConfigError: ``size`` is below 1.
        DataError: When called with frames smaller than the square.
    """

    def __init__(self, size: int, key: str = "gt") -> None:
        if not isinstance(size, int) or size < 1:
            raise ConfigError(f"RandomClipCrop: size must be a whole number of at least 1, got {size!r}")
        self.size = size
        self.key = key

    def transform(self, results: dict) -> dict:
        """Crop the frames and note the place."""
        frames = results[self.key]
        single = not isinstance(frames, list)
        frames = [frames] if single else frames
        height, width = frames[0].shape[:2]
        if min(height, width) < self.size:
            name = results.get("key", "a clip")
            raise DataError(
                f"{name}: frames of {width}x{height} pixels are smaller than the crop of {self.size}x{self.size}; "
                "lower the crop size or leave the clip out"
            )
        top = int(np.random.randint(height - self.size + 1))
        left = int(np.random.randint(width - self.size + 1))
        cropped = [frame[top : top + self.size, left : left + self.size] for frame in frames]
        results[self.key] = cropped[0] if single else cropped
        results[f"{self.key}_crop_bbox"] = [left, top, self.size, self.size]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, key={self.key!r})"
