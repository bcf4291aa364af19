"""Pure maths of uniform quantization: grids, scales, fake quantization, range search.

Convention: ``q = clip(round(v / s) + z, qmin, qmax)`` and ``v^ = s (q - z)``. Zero is always on the grid exactly, so
that zero padding and zero residuals stay zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vsrq.quant import export_op

MIN_SCALE = torch.finfo(torch.float32).tiny * 2**16  # keeps 1/scale finite in float32


def grid_limits(bits: int, *, signed: bool) -> tuple[int, int]:
    """Return ``(qmin, qmax)`` of a two's complement (signed) or natural (unsigned) grid.

    Args:
        bits: Bit width, 1 or more.
        signed: Two's complement if true.
    """
    if signed:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def _usable(scale: Tensor) -> Tensor:
    """A step of 1 where there is nothing but zeros (pruned channels), and never one that underflows."""
    return torch.where(scale > 0, scale.clamp(min=MIN_SCALE), 1.0)


def nearest_power_of_two(scale: Tensor) -> Tensor:
    """Round a positive step to the nearest power of two, so that scaling is a shift of bits; any shape."""
    return torch.exp2(torch.round(torch.log2(scale)))


def symmetric_qparams(
    low: Tensor, high: Tensor, qmin: int, qmax: int, *, power_of_two: bool = False
) -> tuple[Tensor, Tensor]:
    """Scale of the symmetric grid that covers ``[low, high]``; the zero point is 0.

    Args:
        low: Lower ends, shape ``(c,)``.
        high: Upper ends, shape ``(c,)``.
        qmin: Smallest code.
        qmax: Largest code.
        power_of_two: Round the step to a power of two, which may clip the ends.

    Returns:
        Scale, shape ``(c,)``, and zero point (int32 zeros), shape ``(c,)``.
    """
    scale = high.clamp(min=0) / qmax
    if qmin < 0:
        scale = torch.maximum(scale, low.clamp(max=0) / qmin)
    scale = _usable(scale)
    scale = nearest_power_of_two(scale) if power_of_two else scale
    return scale, torch.zeros_like(scale, dtype=torch.int32)


def affine_qparams(
    low: Tensor, high: Tensor, qmin: int, qmax: int, *, power_of_two: bool = False
) -> tuple[Tensor, Tensor]:
    """Scale and zero point of the affine grid that covers ``[min(low, 0), max(high, 0)]``.

    The zero point is rounded to a code, which moves the covered interval by at most half a step.

    Args:
        low: Lower ends, shape ``(c,)``.
        high: Upper ends, shape ``(c,)``.
        qmin: Smallest code.
        qmax: Largest code.
        power_of_two: Round the step to a power of two, which may clip the ends.

    Returns:
        Scale, shape ``(c,)``, and zero point (int32), shape ``(c,)``.
    """
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = _usable((high - low) / (qmax - qmin))
    if power_of_two:
        scale = nearest_power_of_two(scale)
    zero_point = (qmin - torch.round(low / scale)).clamp(qmin, qmax).to(torch.int32)
    return scale, zero_point


def is_exporting() -> bool:
    """Whether the code runs to be recorded for a backend, which should see PyTorch's own operators."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def fake_quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, axis: int | None = None
) -> Tensor:
    """Round ``x`` to the grid and back; straight-through gradient inside the range, zero outside.

    The operator is PyTorch's own, so that export recognises it. On the CPU, where that operator is slow, the same
    arithmetic is done in place when neither a gradient nor a graph is wanted; the result is the same bit for bit.

    Args:
        x: Values, any shape.
        scale: Step, shape ``(1,)`` per tensor or ``(x.shape[axis],)`` per channel.
        zero_point: Code of zero, same shape, int32.
        qmin: Smallest code.
        qmax: Largest code.
        axis: Channel axis, or ``None`` for one grid per tensor.
    """
    wants_gradient = torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad)
    wants_graph = is_exporting() or torch.compiler.is_compiling()
    if x.device.type == "cpu" and x.dtype == torch.float32 and not wants_graph and not wants_gradient:
        return _fake_quantize_in_place(x, scale, zero_point, qmin, qmax, axis)
    scale = scale.detach()  # for which the operator has no gradient
    if torch.compiler.is_exporting():
        return export_op.fake_quantize(x, scale, zero_point, qmin, qmax, axis)
    if axis is None:
        return torch.fake_quantize_per_tensor_affine(x, scale.reshape(()), zero_point.reshape(()), qmin, qmax)
    return torch.fake_quantize_per_channel_affine(x, scale, zero_point, axis, qmin, qmax)


def _fake_quantize_in_place(
    x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, axis: int | None
) -> Tensor:
    shape = [1] * x.dim()
    if axis is not None:
        shape[axis] = -1
    s, z = scale.detach().view(shape), zero_point.view(shape)
    return torch.mul(x, s.reciprocal()).round_().clamp_(qmin - z, qmax - z).mul_(s)


def soft_rounding_slope(u: Tensor, sharpness: float) -> Tensor:
    """Derivative of RLQ's soft rounding ``floor(u) + (tanh(k (f - 1/2)) / tanh(k / 2) + 1) / 2``, f = u - floor(u).

    Its mean over a step is 1, as the slope 1 of the straight-through estimator, to which it tends for ``k -> 0``.

    Args:
        u: Values in units of the step, any shape.
        sharpness: k, above 0.

    Reference: Qin et al., QuantSR (NeurIPS 2023).
    """
    top = sharpness / (2 * math.tanh(sharpness / 2))
    # few passes over memory: this runs in the backward pass of every activation
    tanh = torch.add(u.new_full((), -sharpness / 2), u - u.floor(), alpha=sharpness).tanh_()
    return torch.addcmul(u.new_full((), top), tanh, tanh, value=-top)


def _rounding_error(values: Tensor, counts: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
    """Weighted squared error of quantizing ``values`` (c, k) with candidates ``scale`` (c, m): shape (c, m)."""
    s, z = scale[:, :, None], zero_point[:, :, None]
    v = values[:, None, :]
    codes = (torch.round(v / s) + z).clamp_(qmin, qmax)
    return ((codes - z).mul_(s).sub_(v).square_() * counts[:, None, :]).sum(-1)


def mse_range(
    values: Tensor,
    counts: Tensor,
    qmin: int,
    qmax: int,
    *,
    symmetric: bool,
    power_of_two: bool = False,
    steps: int = 12,
) -> tuple[Tensor, Tensor]:
    """Clip range that minimises the squared quantization error of weighted samples (MSE / OMSE).

    A grid search over the shrink factors of both ends, refined once around the best pair. One-sided data
    search one end only.

    Args:
        values: Samples (for instance centres of histogram bins), shape ``(c, k)``.
        counts: Weight of each sample, shape ``(c, k)``.
        qmin: Smallest code.
        qmax: Largest code.
        symmetric: Both ends shrink together (zero point 0); otherwise independently.
        power_of_two: Only steps that are powers of two come into question.
        steps: Candidates per end in the coarse search.

    Returns:
        Lower and upper ends, shape ``(c,)`` each, with ``low <= 0 <= high``.
    """
    seen = counts > 0
    low = torch.where(seen, values, 0).amin(-1).clamp(max=0)
    high = torch.where(seen, values, 0).amax(-1).clamp(min=0)
    qparams = symmetric_qparams if symmetric else affine_qparams
    rows = torch.arange(len(values), device=values.device)

    def search(low_factor: Tensor, high_factor: Tensor) -> tuple[Tensor, Tensor]:
        candidates_low, candidates_high = low[:, None] * low_factor, high[:, None] * high_factor
        scale, zero_point = qparams(candidates_low, candidates_high, qmin, qmax, power_of_two=power_of_two)
        best = _rounding_error(values, counts, scale, zero_point, qmin, qmax).argmin(-1)
        return low_factor.expand_as(scale)[rows, best], high_factor.expand_as(scale)[rows, best]

    def pairs(low_axis: Tensor, high_axis: Tensor) -> tuple[Tensor, Tensor]:
        """All combinations of two axes of factors, shape (c, steps**2)."""
        a = low_axis[:, :, None].expand(-1, -1, high_axis.shape[1])
        b = high_axis[:, None, :].expand(-1, low_axis.shape[1], -1)
        return a.flatten(1), b.flatten(1)

    def line(start: float, stop: float, count: int) -> Tensor:
        return torch.linspace(start, stop, count, device=values.device).expand(len(values), -1)

    one_sided = bool((low == 0).all() or (high == 0).all())
    if symmetric or one_sided:
        best, _ = search(*[line(1 / (2 * steps), 1, 2 * steps)] * 2)
        around = (best[:, None] + line(-0.4 / steps, 0.4 / steps, 9)).clamp(1e-3, 1)
        best_low, best_high = search(around, around)
    else:
        best_low, best_high = search(*pairs(line(1 / steps, 1, steps), line(1 / steps, 1, steps)))
        fine = line(-0.75 / steps, 0.75 / steps, 7)
        around_low, around_high = ((best[:, None] + fine).clamp(1e-3, 1) for best in (best_low, best_high))
        best_low, best_high = search(*pairs(around_low, around_high))
    return low * best_low, high * best_high
