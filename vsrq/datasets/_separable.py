"""Linear resampling as one matrix per axis, shared by both degradations."""

from __future__ import annotations

import torch
from torch import Tensor

from vsrq.errors import DataError


def apply_along_axes(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``rows @ image @ columns.T`` over the last two axes, computed in double precision.

    An 8-bit image gives an 8-bit image: the result is rounded once, at the very end, halves upward, and
    clipped to 0..255. A floating point image keeps its dtype and is neither rounded nor clipped.

    Args:
        image: ``(..., h, w)``, ``uint8`` or floating point.
        rows: ``(out_h, h)``, double precision.
        columns: ``(out_w, w)``, double precision.

    Returns:
        ``(..., out_h, out_w)``, the dtype of ``image``.
    """
    result = rows.to(image.device) @ image.double() @ columns.to(image.device).T
    if image.dtype == torch.uint8:
        # MATLAB rounds halves away from zero; negative values are clipped to zero anyway.
        return (result + 0.5).floor().clamp(0, 255).to(torch.uint8)
    return result.to(image.dtype)


def check_image(image: Tensor) -> tuple[int, int]:
    """Return ``(h, w)`` of an image that can be resampled.

    Raises:
        DataError: Fewer than two axes, an empty axis, or a dtype that is neither ``uint8`` nor floating point.
    """
    if image.ndim < 2 or 0 in image.shape:
        raise DataError(f"cannot resample an image of shape {tuple(image.shape)}: it must be (..., h, w), non-empty")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise DataError(f"cannot resample an image of {image.dtype}: allowed are torch.uint8 and floating point")
    return image.shape[-2], image.shape[-1]


def reflect_twice(index: Tensor, length: int) -> Tensor:
    """Mirror indices at both ends with the edge sample repeated: ``.. 1 0 | 0 1 .. n-1 | n-1 n-2 ..``."""
    index = index.remainder(2 * length)
    return torch.where(index >= length, 2 * length - 1 - index, index)


def reflect_once(index: Tensor, length: int) -> Tensor:
    """Mirror indices at both ends without repeating the edge sample: ``.. 2 1 | 0 1 .. n-1 | n-2 ..``."""
    if length == 1:
        return torch.zeros_like(index)
    index = index.remainder(2 * length - 2)
    return torch.where(index >= length, 2 * length - 2 - index, index)


def to_matrix(weights: Tensor, index: Tensor, length: int) -> Tensor:
    """Scatter taps into a dense matrix.

    Args:
        weights: ``(out, taps)`` or ``(taps,)``, double precision.
        index: ``(out, taps)``, positions in ``0 .. length - 1``; repeated positions add up.
        length: Number of input samples.

    Returns:
        ``(out, length)``.
    """
    matrix = torch.zeros(index.shape[0], length, dtype=torch.float64)
    return matrix.scatter_add_(1, index, weights.expand_as(index).contiguous())
