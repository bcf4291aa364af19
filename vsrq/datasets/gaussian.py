"""Gaussian blur followed by subsampling: the BD degradation."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from vsrq.datasets._separable import apply_along_axes, check_image, reflect_once, to_matrix
from vsrq.errors import ConfigError

KERNEL_SIZE = 13


def gaussian_downsample(image: Tensor, scale: int = 4, sigma: float = 1.6) -> Tensor:
    """Blur with a 13 x 13 Gaussian and keep every ``scale``-th pixel, beginning with the first.

    The kernel is normalised to sum 1; borders are mirrored without repeating the edge sample. This is the BD
    degradation of DUF [Jo 2018], which the published Vid4, UDM10 and Vimeo-90K BDx4 scores follow: output pixel
    ``i`` is centred on input pixel ``scale * i``.

    Args:
        image: ``(..., h, w)``, ``uint8`` (rounded and clipped result) or floating point (neither).
        scale: Subsampling factor, at least 1.
        sigma: Standard deviation of the Gaussian in input pixels, above 0.

    Returns:
        ``(..., ceil(h / scale), ceil(w / scale))``, the dtype of ``image``.

    Raises:
        ConfigError: ``scale`` or ``sigma`` is out of range.
        DataError: The shape or dtype cannot be resampled.
    """
    if not isinstance(scale, int) or scale < 1:
        raise ConfigError(f"scale must be a whole number of at least 1, for example 4, got {scale!r}")
    if not (isinstance(sigma, (int, float)) and math.isfinite(sigma) and sigma > 0):
        raise ConfigError(f"sigma must be a positive number, for example 1.6, got {sigma!r}")
    height, width = check_image(image)
    return apply_along_axes(
        image, _gaussian_matrix(height, scale, float(sigma)), _gaussian_matrix(width, scale, float(sigma))
    )


@lru_cache(maxsize=64)
def _gaussian_matrix(length: int, scale: int, sigma: float) -> Tensor:
    """Return the matrix ``(ceil(length / scale), length)`` that blurs and subsamples one axis."""
    offset = torch.arange(KERNEL_SIZE) - KERNEL_SIZE // 2
    weights = torch.exp(-(offset.double() ** 2) / (2 * sigma**2))
    index = torch.arange(0, length, scale)[:, None] + offset
    return to_matrix(weights / weights.sum(), reflect_once(index, length), length)
