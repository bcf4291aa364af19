"""Deformable convolution, DCNv1 and DCNv2, without compiled extensions.

Offsets are ordered ``y0, x0, y1, x1, ...`` per deformable group, as in mmcv and torchvision.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrq.errors import ConfigError

Pair = int | tuple[int, int]


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Convolve with sampling positions displaced by ``offset`` and samples weighted by ``mask``.

    Runs torchvision's kernel on CUDA and :func:`deform_conv2d_plain` elsewhere, which is several times faster on
    a CPU. The arguments stand in the order of ``mmcv.ops.modulated_deform_conv2d``.

    Args:
        x: (n, c_in, h, w).
        offset: (n, 2 * deform_groups * kh * kw, h_out, w_out), in pixels.
        mask: (n, deform_groups * kh * kw, h_out, w_out), or None for DCNv1.
        weight: (c_out, c_in / groups, kh, kw).
        bias: (c_out,).
        stride: As in :func:`torch.nn.functional.conv2d`.
        padding: Zeros around ``x``.
        dilation: Distance between the taps of the kernel.
        groups: Groups of the convolution.
        deform_groups: Groups of channels that share their sampling positions.

    Returns:
        (n, c_out, h_out, w_out) in the dtype of ``x``. Positions and sums are computed in float32 or better.

    Raises:
        ConfigError: The shapes do not belong together.

    Reference: Zhu et al., Deformable ConvNets v2 (CVPR 2019), equation 1.
    """
    function = deform_conv2d_torchvision if x.is_cuda and _torchvision_has_kernel() else deform_conv2d_plain
    return function(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups)


def deform_conv2d_plain(
    x: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Compute :func:`deform_conv2d` as a bilinear ``grid_sample`` and a matrix product.

    On the pixel grid, where the gradient of an offset has a kink, it is the difference to the next pixel, and zero
    at a coordinate of exactly -1, as in mmcv's compiled operator; torchvision differs from both at -1.
    """
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    out_size = _check_shapes(x, offset, mask, weight, stride, padding, dilation, groups, deform_groups)
    result_dtype, dtype = x.dtype, torch.promote_types(x.dtype, torch.float32)
    n, channels, height, width = x.shape
    taps = weight.shape[2] * weight.shape[3]
    grid = _sampling_grid(offset.to(dtype), weight.shape[2:], out_size, stride, padding, dilation, deform_groups)
    # Zero offsets all lie on the pixel grid, where the gradient depends on the side a position is seen from, so no
    # rounding may move it there. With sizes that are powers of two, scaling to the normalized coordinates
    # (2 * position + 1) / size - 1 and back is exact.
    full_height, full_width = (1 << (size - 1).bit_length() for size in (height, width))
    x = F.pad(x.to(dtype), (0, full_width - width, 0, full_height - height))
    step = 1 / grid.new_tensor([full_width, full_height])
    grid = torch.addcmul(step - 1, F.threshold(grid, -1, -2), 2 * step)
    samples = F.grid_sample(
        x.reshape(n * deform_groups, channels // deform_groups, full_height, full_width),
        grid,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    ).reshape(n, deform_groups, channels // deform_groups, taps, -1)
    if mask is not None:
        samples = samples * mask.to(dtype).reshape(n, deform_groups, 1, taps, -1)
    columns = samples.reshape(n, groups, channels // groups * taps, -1)
    kernel = weight.to(dtype).reshape(groups, weight.shape[0] // groups, -1)
    out = torch.matmul(kernel, columns).reshape(n, weight.shape[0], *out_size)
    if bias is not None:
        out = out + bias.to(dtype).reshape(1, -1, 1, 1)
    return out.to(result_dtype)


def deform_conv2d_torchvision(
    x: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Compute :func:`deform_conv2d` by torchvision's compiled operator, the one that exporters recognise."""
    from torchvision.ops import deform_conv2d as operator

    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    _check_shapes(x, offset, mask, weight, stride, padding, dilation, groups, deform_groups)
    dtype = torch.promote_types(x.dtype, torch.float32)
    out = operator(
        x.to(dtype),
        offset.to(dtype),
        weight.to(dtype),
        None if bias is None else bias.to(dtype),
        stride,
        padding,
        dilation,
        None if mask is None else mask.to(dtype),
    )
    return out.to(x.dtype)


@functools.cache
def _torchvision_has_kernel() -> bool:
    """Return whether torchvision is built for CUDA: a CPU-only one may lie beside a CUDA torch."""
    from vsrq.compat import torchvision_import

    torchvision_import.ensure_torchvision()
    return torchvision_import.has_operators() and (
        torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::deform_conv2d", "CUDA")
    )


def _sampling_grid(
    offset: Tensor,
    kernel: torch.Size,
    out_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    deform_groups: int,
) -> Tensor:
    """Return the positions (n * deform_groups, taps * h_out, w_out, [x, y]) in pixels of ``x``."""
    kh, kw = kernel
    h_out, w_out = out_size

    def axis(count: int, step: int, start: int) -> Tensor:
        return torch.arange(count, device=offset.device, dtype=offset.dtype) * step + start

    ys = axis(h_out, stride[0], -padding[0])[:, None] + axis(kh, dilation[0], 0)[:, None, None, None]
    xs = axis(w_out, stride[1], -padding[1]) + axis(kw, dilation[1], 0)[:, None, None]
    shape = (kh, kw, h_out, w_out)
    base = torch.stack([xs.expand(shape), ys.expand(shape)], dim=-1).reshape(kh * kw, h_out, w_out, 2)
    moves = offset.reshape(-1, deform_groups, kh * kw, 2, h_out, w_out).flip(3).permute(0, 1, 2, 4, 5, 3)
    return (moves + base).reshape(-1, kh * kw * h_out, w_out, 2)


def _check_shapes(
    x: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    deform_groups: int,
) -> tuple[int, int]:
    """Return (h_out, w_out)."""
    if x.dim() != 4:
        raise ConfigError(f"deform_conv2d needs x of shape (n, c, h, w), got {tuple(x.shape)}.")
    channels, taps = x.shape[1], weight.shape[2] * weight.shape[3]
    if weight.shape[1] * groups != channels or weight.shape[0] % groups:
        raise ConfigError(
            f"deform_conv2d: weight {tuple(weight.shape)} with groups={groups} does not fit {channels} channels."
        )
    if channels % deform_groups:
        raise ConfigError(f"deform_conv2d: deform_groups={deform_groups} does not divide {channels} channels.")
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    height, width = (
        (size + 2 * p - span) // s + 1 for size, p, span, s in zip(x.shape[2:], padding, spans, stride, strict=True)
    )
    if height < 1 or width < 1:
        raise ConfigError(f"deform_conv2d: input {tuple(x.shape[2:])} is smaller than the kernel's reach {spans}.")
    wanted = (x.shape[0], 2 * deform_groups * taps, height, width)
    if offset.shape != wanted:
        raise ConfigError(f"deform_conv2d: offset has shape {tuple(offset.shape)}, needs {wanted}.")
    wanted = (x.shape[0], deform_groups * taps, height, width)
    if mask is not None and mask.shape != wanted:
        raise ConfigError(f"deform_conv2d: mask has shape {tuple(mask.shape)}, needs {wanted}.")
    return height, width


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
