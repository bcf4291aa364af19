"""Fake quantization as one operator of torch.library, for ``torch.export``.

PyTorch's own operator cannot be recorded there: it has no shape function for a scale that is a tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor

OPERATOR = "vsrq::fake_quantize"


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, axis: int | None) -> Tensor:
    """Compute :func:`vsrq.quant.functional.fake_quantize` by the operator ``vsrq::fake_quantize``."""
    return _operator(x, scale, zero_point, qmin, qmax, -1 if axis is None else axis)


@torch.library.custom_op(OPERATOR, mutates_args=())
def _operator(x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, axis: int) -> Tensor:
    shape = [1] * x.dim()
    if axis >= 0:
        shape[axis] = -1
    s, z = scale.view(shape), zero_point.view(shape)
    return torch.round(x / s).clamp(qmin - z, qmax - z) * s


@_operator.register_fake
def _(x: Tensor, *_: object) -> Tensor:
    return torch.empty_like(x)
