"""Finding scene cuts, at which a recurrent network must forget."""

from __future__ import annotations

import cv2
import numpy as np

_SIZE = (32, 18)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class SceneCuts:
    """Compares each frame with the one before it.

    Two frames belong to different scenes if their thumbnails differ by more than ``threshold`` on average *and* by
    ``factor`` times more than their predecessors did, so that fast motion, fades and flicker are no cuts.

    Args:
        threshold: Mean absolute difference of luma in [0, 1]; 0 disables the detector.
        factor: Over the usual difference, a moving average.
    """

    def __init__(self, threshold: float = 0.1, factor: float = 2.5) -> None:
        self.threshold = threshold
        self.factor = factor
        self._last: np.ndarray | None = None
        self._usual = 0.0

    def starts_scene(self, frame: np.ndarray) -> bool:
        """Whether ``frame``, RGB (h, w, 3) of an unsigned type, begins a new scene. The first frame does not."""
        if not self.threshold:
            return False
        small = cv2.resize(frame, _SIZE, interpolation=cv2.INTER_AREA).astype(np.float32) @ _LUMA
        small /= np.iinfo(frame.dtype).max
        last, self._last = self._last, small
        if last is None:
            return False
        change = float(np.abs(small - last).mean())
        cut = change > max(self.threshold, self.factor * self._usual)
        # after a cut its own difference is the usual one for a while: a fade or a pan is found once
        self._usual = change if cut else 0.7 * self._usual + 0.3 * change
        return cut
