"""How gradients pass a quantizer, and what is remembered for it.

Only the float input is kept for the backward pass, which quantizes it again: an activation that precedes a
layer keeps that tensor anyway, so training a quantized network takes hardly more memory than training a float one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from vsrq.quant.functional import fake_quantize, is_exporting, soft_rounding_slope

_CACHED = 2**15  # values


class Gradient(NamedTuple):
    """How a quantizer's gradients are formed.

    Attributes:
        sharpness: k of RLQ's soft rounding; 0 is the straight-through estimator.
        clip_only: The step learns from clipped values only (PACT); otherwise from rounding as well (LSQ).
        step_scale: Factor on the gradients of step and offset; LSQ's is ``1 / sqrt(N qmax)``.
    """

    sharpness: float = 0.0
    clip_only: bool = False
    step_scale: float = 1.0


class Grid(NamedTuple):
    """One grid with its gradient rule.

    Attributes:
        scale: Step, ``(1,)`` or ``(channels,)``.
        offset: Learned value of code ``qmin`` to which ``zero_point`` belongs, same shape (LSQ+); ``None`` if the
            zero point is no function of anything learned.
        zero_point: Code of zero, int32, same shape.
        qmin: Smallest code.
        qmax: Largest code.
        axis: Channel axis, or ``None``.
        gradient: The rule.
    """

    scale: Tensor
    offset: Tensor | None
    zero_point: Tensor
    qmin: int
    qmax: int
    axis: int | None = None
    gradient: Gradient = Gradient()


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, target: Tensor) -> Tensor:
        return target.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g, None


def straight_through(value: Tensor, target: Tensor) -> Tensor:
    """Return ``target`` exactly; gradients go to ``value``, of the same shape, as if it had been returned."""
    if not torch.is_grad_enabled() or is_exporting():
        return target
    return _StraightThrough.apply(value, target.detach())


def _layout(x: Tensor, axis: int | None) -> tuple[int, ...]:
    """Return the order of the axes in which ``x`` is read, channels first if there are any."""
    if axis is not None:
        return (axis, *(other for other in range(x.dim()) if other != axis))
    if x.dim() == 4 and not x.is_contiguous():
        return (0, 2, 3, 1)  # a view of what is laid out channels last, and a copy of anything else
    return tuple(range(x.dim()))


def _rows(x: Tensor, layout: tuple[int, ...], count: int) -> Tensor:
    return x.permute(layout).reshape(count, -1)


def _from_rows(rows: Tensor, shape: torch.Size, layout: tuple[int, ...]) -> Tensor:
    inverse = sorted(range(len(layout)), key=layout.__getitem__)
    return rows.view([shape[axis] for axis in layout]).permute(inverse)


def _gradients(
    g: Tensor, x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, *, learned: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Turn the gradient of the quantized tensor into those of input, scale and offset.

    With ``u = v / s`` and ``c`` = u clipped to the ends of the grid:
    ``dQ/dv = phi'(u) 1[c = u]``, ``dQ/ds = round(c) - c dQ/dv`` (in range: ``round(u) - phi' v / s``; outside: the end
    of the grid) and, with the learned offset beta of LSQ+, ``dQ/dbeta = 1 - dQ/dv``.
    """
    rule = grid.gradient
    shape, layout = x.shape, _layout(x, grid.axis)
    x, g = _rows(x.float(), layout, len(scale)), _rows(g, layout, len(scale))
    gx = torch.empty_like(x)
    inverse, zero = scale.reciprocal()[:, None], zero_point[:, None]
    low, high = (grid.qmin - zero).float(), (grid.qmax - zero).float()
    g_scale, g_offset = torch.zeros_like(scale), torch.zeros_like(scale)
    # pieces that stay in a CPU's cache: several times faster than whole tensors
    size = max(_CACHED // len(g), 1) if g.device.type == "cpu" else g.shape[1]
    for start in range(0, g.shape[1], size):
        x_, g_, gx_ = (rows[:, start : start + size] for rows in (x, g, gx))
        u = x_ * inverse
        clipped = u.clamp(low, high)
        torch.mul(g_, u == clipped, out=gx_)
        if rule.sharpness:
            gx_ *= soft_rounding_slope(u, rule.sharpness)
        if learned:
            gain = clipped if rule.clip_only else clipped.round()
            g_scale += torch.linalg.vecdot(g_, gain) - torch.linalg.vecdot(gx_, clipped)
            if grid.offset is not None:
                g_offset += g_.sum(1) - gx_.sum(1)
    gx = _from_rows(gx, shape, layout)
    if not learned:
        return gx, None, None
    if grid.offset is None:
        return gx, g_scale * rule.step_scale, None
    # v^ = s c + beta: at a fixed beta, the step moves the codes counted from qmin
    g_scale += (zero_point - grid.qmin) * g_offset
    return gx, g_scale * rule.step_scale, g_offset * rule.step_scale


def _values(x: Tensor, grid: Grid) -> Tensor:
    return fake_quantize(x.float(), grid.scale, grid.zero_point, grid.qmin, grid.qmax, grid.axis)


def _save(ctx: Any, grid: Grid, *tensors: Tensor) -> None:
    ctx.save_for_backward(grid.scale, grid.zero_point, *tensors)
    # tensors with a graph must not hang on the context itself
    offset = None if grid.offset is None else grid.offset.detach()
    ctx.grid = grid._replace(scale=grid.scale.detach(), offset=offset)


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, offset: Tensor | None, grid: Grid) -> Tensor:
        _save(ctx, grid, x)
        return _values(x, grid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        scale, zero_point, x = ctx.saved_tensors
        learned = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        gx, gs, gb = _gradients(g, x, scale, zero_point, ctx.grid, learned=learned)
        return gx.to(x.dtype), gs, gb, None


def fake_quantize_with_gradient(x: Tensor, grid: Grid) -> Tensor:
    """Round ``x`` to the grid and back; gradients by the grid's rule.

    Unlike PyTorch's operator, which counts a value as in range when its code is, a value beyond the outermost
    grid point is clipped here, as in LSQ.

    Args:
        x: Values, any shape; computed in float32.
        grid: The grid.
    """
    return _FakeQuantize.apply(x, grid.scale, grid.offset, grid)


class _FakeQuantizedConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        offset: Tensor | None,
        shift: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        grid: Grid,
        geometry: tuple,
    ) -> Tensor:
        _save(ctx, grid, x, weight, *(() if shift is None else (shift,)))
        ctx.geometry = geometry
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        return F.conv2d(_values(_shifted(x, shift), grid), weight, bias, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        scale, zero_point, x, weight, *rest = ctx.saved_tensors
        shift = rest[0] if rest else None
        need_x, need_scale, need_offset, need_shift, need_weight, need_bias = ctx.needs_input_grad[:6]
        stride, padding, dilation, groups = ctx.geometry
        need_input = need_x or need_scale or need_offset or need_shift
        v = _shifted(x, shift)
        # under autocast the convolution ran in the dtype of g
        gq, gw, gb = torch.ops.aten.convolution_backward(
            g,
            _values(v, ctx.grid).to(g.dtype),
            weight.to(g.dtype),
            ctx.bias_sizes,
            list(stride),
            list(padding),
            list(dilation),
            False,
            [0, 0],
            groups,
            [need_input, need_weight, need_bias],
        )
        gx = gs = go = gt = None
        if need_input:
            learned = need_scale or need_offset
            gx, gs, go = _gradients(gq.float(), v, scale, zero_point, ctx.grid, learned=learned)
            gt = gx.sum_to_size(shift.shape) if shift is not None else None
            gx = gx.to(x.dtype)
        return gx, gs, go, gt, _as(gw, weight), _as(gb, weight), None, None


def _shifted(x: Tensor, shift: Tensor | None) -> Tensor:
    return x if shift is None else x + shift


def _as(gradient: Tensor | None, like: Tensor) -> Tensor | None:
    return None if gradient is None else gradient.to(like.dtype)


def fake_quantized_conv2d(
    x: Tensor,
    grid: Grid,
    weight: Tensor,
    bias: Tensor | None,
    *,
    shift: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """Convolve ``Q(x + shift)`` without keeping it for the backward pass.

    Args:
        x: Input, ``(n, c, h, w)``.
        grid: The input's grid, per tensor.
        weight: Weight, quantized or not.
        bias: Bias or ``None``.
        shift: Added to the input, broadcast, or ``None``.
        stride: As in ``torch.nn.functional.conv2d``, as are the following; the padding is made of zeros.
        padding: Rows and columns.
        dilation: Rows and columns.
        groups: Number of groups.
    """
    geometry = (stride, padding, dilation, groups)
    return _FakeQuantizedConv2d.apply(x, grid.scale, grid.offset, shift, weight, bias, grid, geometry)
