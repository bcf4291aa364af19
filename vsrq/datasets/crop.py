"""Crop a whole clip at one place."""

from __future__ import annotations

import cv2
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
        tries: Draw so many squares and take the one with most fine detail in the middle frame, so that training does
            not spend its time on sky and walls.
        key: Frames ``(h, w, 3)``, one or a list.

    Raises:
        ConfigError: ``size`` or ``tries`` is below 1.
        DataError: When called with frames smaller than the square.
    """

    def __init__(self, size: int, key: str = "gt", tries: int = 1) -> None:
        for name, value in (("size", size), ("tries", tries)):
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"RandomClipCrop: {name} must be a whole number of at least 1, got {value!r}")
        self.size = size
        self.tries = tries
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
        places = [
            (int(np.random.randint(height - self.size + 1)), int(np.random.randint(width - self.size + 1)))
            for _ in range(self.tries)
        ]
        middle = frames[len(frames) // 2]
        top, left = max(places, key=lambda place: self._detail(middle, *place)) if self.tries > 1 else places[0]
        cropped = [frame[top : top + self.size, left : left + self.size] for frame in frames]
        results[self.key] = cropped[0] if single else cropped
        results[f"{self.key}_crop_bbox"] = [left, top, self.size, self.size]
        return results

    def _detail(self, frame: np.ndarray, top: int, left: int) -> float:
        square = cv2.cvtColor(frame[top : top + self.size, left : left + self.size], cv2.COLOR_RGB2GRAY)
        return float(np.abs(cv2.Laplacian(square, cv2.CV_32F)).mean())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, key={self.key!r}, tries={self.tries})"
