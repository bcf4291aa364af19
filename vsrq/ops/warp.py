"""Moving an image along an optical flow, written so that an exported graph keeps its height and width open."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrq.errors import DataError


def flow_warp(x: Tensor, flow: Tensor, padding_mode: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Sample ``x`` bilinearly where ``flow`` points.

    The arithmetic is that of mmagic's ``flow_warp``, of which it is the drop-in replacement for tracing: sizes enter
    as tensors, not as Python numbers that a trace would freeze.

    Args:
        x: (n, c, h, w).
        flow: (n, 2, h, w) in pixels, x before y.
        padding_mode: What lies outside of ``x``: zeros or its border pixels.

    Returns:
        (n, c, h, w).

    Raises:
        DataError: The sizes differ.
    """
    if x.shape[-2:] != flow.shape[-2:] and not torch.jit.is_tracing():
        raise DataError(f"an image of {tuple(x.shape)} cannot be warped by a flow of {tuple(flow.shape)}.")
    height, width = x.shape[-2:]
    ys = torch.arange(height, device=flow.device, dtype=x.dtype)[:, None]
    xs = torch.arange(width, device=flow.device, dtype=x.dtype)
    grid_x = 2.0 * (flow[:, 0] + xs) / _span(width) - 1.0
    grid_y = 2.0 * (flow[:, 1] + ys) / _span(height) - 1.0
    grid = torch.stack((grid_x, grid_y), dim=3).to(x.dtype)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode=padding_mode, align_corners=True)


def _span(size: int) -> int:
    """``max(size - 1, 1)`` without a branch, which a trace would decide once and for all."""
    if torch.compiler.is_exporting():
        return size - 1 + 2 // (size + 1)  # comparing a symbol there is a branch, too
    return size - 1 + (size == 1)
