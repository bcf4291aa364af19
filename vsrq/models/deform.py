"""Deformable layers of the networks, and how their offsets come from a convolution's output."""

from __future__ import annotations

from typing import Any

import mmcv.ops
import torch
from torch import Tensor, nn

from vsrq.compat import mmcv_ext
from vsrq.ops.deform_conv import deform_conv2d


class DeformConv2d(mmcv.ops.ModulatedDeformConv2d):
    """A modulated deformable convolution that is given its offsets and mask.

    The network computes them from the output of the child ``conv_offset``, which only has its name here so that
    parameters are called as in mmagic. So this layer may be replaced by any other with the same ``forward``.

    Args:
        *args: As in mmcv's ``ModulatedDeformConv2d``.
        conv_offset: Computes ``3 * deform_groups * kh * kw`` channels; its last convolution starts at zero.
        **kwargs: As in mmcv's ``ModulatedDeformConv2d``.
    """

    op = staticmethod(deform_conv2d if mmcv_ext.in_use() else mmcv.ops.modulated_deform_conv2d)

    def __init__(self, *args: Any, conv_offset: nn.Module, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.conv_offset = conv_offset
        last: Any = conv_offset[-1] if isinstance(conv_offset, nn.Sequential) else conv_offset
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolve ``x``; shapes as in :func:`vsrq.ops.deform_conv.deform_conv2d`."""
        return self.op(
            x,
            offset,
            mask,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.deform_groups,
        )


def split_offsets(out: Tensor) -> tuple[Tensor, Tensor]:
    """Split the output of ``conv_offset`` (n, 3k, h, w) into offsets (n, 2k, h, w) in pixels and mask (n, k, h, w).

    Reference: Wang et al., EDVR (CVPRW 2019), as in mmagic's ``ModulatedDCNPack``.
    """
    points = out.shape[1] // 3
    return out[:, : 2 * points], torch.sigmoid(out[:, 2 * points :])


def second_order_offsets(out: Tensor, flow_1: Tensor, flow_2: Tensor, max_magnitude: float) -> tuple[Tensor, Tensor]:
    """Turn the output of ``conv_offset`` into residues around two optical flows.

    Args:
        out: (n, 3k, h, w), ``k`` points, of which the first half samples the first-order feature.
        flow_1: Flow to the previous frame, (n, 2, h, w) in pixels, x before y.
        flow_2: Flow to the frame before it.
        max_magnitude: Largest residue in pixels.

    Returns:
        Offsets (n, 2k, h, w), y before x, and mask (n, k, h, w).

    Reference: Chan et al., BasicVSR++ (CVPR 2022), equations 4 to 6.
    """
    residues, mask = split_offsets(out)
    repeats = residues.shape[1] // 4
    flows = torch.cat([flow_1.flip(1).repeat(1, repeats, 1, 1), flow_2.flip(1).repeat(1, repeats, 1, 1)], dim=1)
    return max_magnitude * torch.tanh(residues) + flows, mask
