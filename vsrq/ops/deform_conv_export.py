"""Deformable convolution as one operator of torch.library, so that a traced graph keeps it whole.

Set :func:`deform_conv2d` as the ``op`` of the deformable layers before exporting, and give the converter
:func:`openvino_extension`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vsrq.ops import deform_conv
from vsrq.ops.deform_conv import Pair

if TYPE_CHECKING:
    from openvino.frontend.pytorch import ConversionExtension

OPERATOR = "vsrq::deform_conv2d"


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
    """Compute :func:`vsrq.ops.deform_conv.deform_conv2d` by the operator ``vsrq::deform_conv2d``."""
    if mask is None:
        mask = torch.ones_like(offset[:, ::2])
    if bias is None:
        bias = torch.zeros_like(weight[:, 0, 0, 0])
    pairs = [[value, value] if isinstance(value, int) else list(value) for value in (stride, padding, dilation)]
    return _operator(x, offset, mask, weight, bias, *pairs, groups, deform_groups)


@torch.library.custom_op(OPERATOR, mutates_args=())
def _operator(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    deform_groups: int,
) -> Tensor:
    return deform_conv.deform_conv2d(
        x,
        offset,
        mask,
        weight,
        bias,
        (stride[0], stride[1]),
        (padding[0], padding[1]),
        (dilation[0], dilation[1]),
        groups,
        deform_groups,
    )


@_operator.register_fake
def _(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(offset.shape[0], weight.shape[0], *offset.shape[2:])


def openvino_extension() -> ConversionExtension:
    """Return what ``openvino.convert_model(..., extension=...)`` needs to turn the operator into its own.

    The result is OpenVINO's standard DeformableConvolution, whose corners outside of the image count zero one by
    one, as in torchvision and mmcv.
    """
    from openvino import opset8 as ops
    from openvino.frontend.pytorch import ConversionExtension

    def convert(node: Any) -> list[Any]:
        x, offset, mask, weight, bias = (node.get_input(i) for i in range(5))
        stride, padding, dilation, groups, deform_groups = (node.get_values_from_const_input(i) for i in range(5, 10))
        out = ops.deformable_convolution(
            x,
            offset,
            weight,
            stride,
            padding,
            padding,
            dilation,
            mask=mask,
            auto_pad="EXPLICIT",
            group=groups,
            deformable_group=deform_groups,
            bilinear_interpolation_pad=True,
        )
        return [ops.add(out, ops.reshape(bias, [1, -1, 1, 1], special_zero=False)).output(0)]

    return ConversionExtension(OPERATOR, convert)
