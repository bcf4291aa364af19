"""Transforms that make low-resolution frames on the fly."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor

from vsrq.datasets.bicubic import matlab_resize
from vsrq.datasets.clips import crop_to_multiple
from vsrq.datasets.gaussian import gaussian_downsample
from vsrq.errors import ConfigError
from vsrq.registry import TRANSFORMS


class _Degradation(BaseTransform):
    """Reduce ``results[src]`` into ``results[dst]``.

    The source is first cropped, at the bottom and right, to a multiple of the scale, so that the two match.
    """

    def __init__(self, reduction: int, src: str, dst: str) -> None:
        self.reduction = reduction
        self.src = src
        self.dst = dst

    @abstractmethod
    def degrade(self, image: Tensor) -> Tensor:
        """Reduce ``(3, h, w)``."""

    def transform(self, results: dict) -> dict:
        """Crop the source and write the reduced frames."""
        frames = results[self.src]
        single = not isinstance(frames, list)
        cropped, reduced = [], []
        for frame in [frames] if single else frames:
            image = crop_to_multiple(torch.from_numpy(frame).permute(2, 0, 1), self.reduction)
            cropped.append(_to_array(image))
            reduced.append(_to_array(self.degrade(image)))
        if self.src != self.dst:
            results[self.src] = cropped[0] if single else cropped
            results["scale"] = self.reduction
            for note in ("path", "channel_order", "color_type"):
                if f"{self.src}_{note}" in results:
                    results[f"{self.dst}_{note}"] = results[f"{self.src}_{note}"]
        results[self.dst] = reduced[0] if single else reduced
        shapes = [frame.shape for frame in reduced]
        results[f"ori_{self.dst}_shape"] = shapes[0] if single else shapes
        return results


@TRANSFORMS.register_module()
class MATLABBicubic(_Degradation):
    """BI degradation: MATLAB's bicubic reduction, bit-exact (:func:`vsrq.datasets.bicubic.matlab_resize`).

    With ``src='gt'`` and ``dst='img'`` it makes the network's input from high-resolution frames and sets
    ``results['scale']``; with ``src`` equal to ``dst`` it resizes in place (halving compressed video, for example).

    Args:
        scale: Output size over input size, one over a whole number: 0.25 for x4.
        src: Key of the frames to read, ``(h, w, 3)`` arrays.
        dst: Key of the frames to write.

    Raises:
        ConfigError: ``scale`` is not one over a whole number of at least 1.
        DataError: When called with frames smaller than ``1 / scale``.
    """

    def __init__(self, scale: float = 0.25, src: str = "gt", dst: str = "img") -> None:
        number = isinstance(scale, (int, float)) and 0 < scale <= 1
        reduction = round(1 / scale) if number else 0
        if not number or abs(1 / scale - reduction) > 1e-6:
            raise ConfigError(f"scale must be one over a whole number, for example 0.25 or 0.5, got {scale!r}")
        super().__init__(reduction, src, dst)

    def degrade(self, image: Tensor) -> Tensor:
        """Reduce ``(3, h, w)``."""
        return matlab_resize(image, 1 / self.reduction)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale={1 / self.reduction:g}, src={self.src!r}, dst={self.dst!r})"


@TRANSFORMS.register_module()
class GaussianDownsampling(_Degradation):
    """BD degradation: 13 x 13 Gaussian blur, then every ``scale``-th pixel
    (:func:`vsrq.datasets.gaussian.gaussian_downsample`).

    Args:
        scale: Subsampling factor, a whole number of at least 1.
        sigma: Standard deviation of the Gaussian, in pixels of the source.
        src: Key of the frames to read, ``(h, w, 3)`` arrays.
        dst: Key of the frames to write.

    Raises:
        ConfigError: ``scale`` or ``sigma`` is out of range.
        DataError: When called with frames smaller than ``scale``.
    """

    def __init__(self, scale: int = 4, sigma: float = 1.6, src: str = "gt", dst: str = "img") -> None:
        gaussian_downsample(torch.zeros(1, 1), scale, sigma)  # checks the two numbers now, not in a worker
        super().__init__(scale, src, dst)
        self.sigma = sigma

    def degrade(self, image: Tensor) -> Tensor:
        """Reduce ``(3, h, w)``."""
        return gaussian_downsample(image, self.reduction, self.sigma)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale={self.reduction}, sigma={self.sigma}, src={self.src!r}, dst={self.dst!r})"


def _to_array(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())
