"""MATLAB's ``imresize(image, scale, 'bicubic')``, bit for bit: the BI degradation."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from vsrq.datasets._separable import apply_along_axes, check_image, reflect_twice, to_matrix
from vsrq.errors import ConfigError


def matlab_resize(image: Tensor, scale: float) -> Tensor:
    """Resize with MATLAB's bicubic kernel (a = -1/2), antialiased when shrinking.

    Both axes are filtered in double precision and rounded once at the end, as ``imresize`` does; borders are
    mirrored with the edge sample repeated. Reproduces the published BIx4 images of Vid4 exactly.

    Args:
        image: ``(..., h, w)``, ``uint8`` (rounded and clipped result) or floating point (neither).
        scale: Output size over input size, above 0; 0.25 makes the x4 low-resolution frame.

    Returns:
        ``(..., ceil(h * scale), ceil(w * scale))``, the dtype of ``image``.

    Raises:
        ConfigError: ``scale`` is not a positive number.
        DataError: The shape or dtype cannot be resampled.
    """
    if not (isinstance(scale, (int, float)) and math.isfinite(scale) and scale > 0):
        raise ConfigError(f"scale must be a positive number, for example 0.25, got {scale!r}")
    height, width = check_image(image)
    return apply_along_axes(image, bicubic_matrix(height, float(scale)), bicubic_matrix(width, float(scale)))


@lru_cache(maxsize=64)
def bicubic_matrix(length: int, scale: float) -> Tensor:
    """Return the matrix ``(ceil(length * scale), length)`` that resizes one axis; its rows sum to one."""
    out_length = math.ceil(length * scale)
    stretch = min(scale, 1.0)  # below 1 the kernel is widened by 1/scale, which suppresses aliasing
    kernel_width = 4 / stretch
    centre = (torch.arange(out_length, dtype=torch.float64) + 0.5) / scale - 0.5
    first = (centre - kernel_width / 2).floor().long()
    index = first[:, None] + torch.arange(math.ceil(kernel_width) + 2)
    weights = _cubic(stretch * (centre[:, None] - index))
    weights = weights / weights.sum(dim=1, keepdim=True)
    return to_matrix(weights, reflect_twice(index, length), length)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -1/2 [Keys 1981, eq. 15]."""
    x = x.abs()
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, inner, torch.where(x <= 2, outer, torch.zeros_like(x)))
