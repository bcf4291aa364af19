"""The optical flow network of the recurrent models, for frames of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmagic.models.editors.basicvsr.basicvsr_net import SPyNet as MMagicSPyNet
from torch import Tensor

from vsrq.ops.warp import flow_warp

_LEVELS = 6
_STRIDE = 2 ** (_LEVELS - 1)


class SPyNet(MMagicSPyNet):
    """SPyNet with the parameters and the arithmetic of mmagic's; height and width stay open when it is traced.

    Reference: Ranjan and Black, Optical Flow Estimation using a Spatial Pyramid Network (CVPR 2017).
    """

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        """Return the flow (n, 2, h, w) in pixels from ``ref`` to ``supp``, both (n, 3, h, w) in [0, 1]."""
        height, width = ref.shape[-2:]
        padded = tuple(_round_up(size) for size in (height, width))
        flow = self.compute_flow(_resize(ref, padded), _resize(supp, padded))
        flow = _resize(flow, (height, width))
        return torch.cat([flow[:, :1] * (width / padded[1]), flow[:, 1:] * (height / padded[0])], dim=1)

    def compute_flow(self, ref: Tensor, supp: Tensor) -> Tensor:
        """Compute the flow of frames whose sizes are multiples of 32, from the coarsest level to the finest."""
        refs, supps = self._pyramid(ref), self._pyramid(supp)
        flow_up = torch.zeros_like(refs[0][:, :2])
        flow = flow_up
        for level in range(_LEVELS):
            if level:
                flow_up = F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True) * 2.0
            moved = flow_warp(supps[level], flow_up, padding_mode="border")
            flow = flow_up + self.basic_module[level](torch.cat([refs[level], moved, flow_up], dim=1))
        return flow

    def _pyramid(self, frame: Tensor) -> list[Tensor]:
        """Return the normalized frame at all sizes, the smallest first."""
        levels = [(frame - self.mean) / self.std]
        for _ in range(_LEVELS - 1):
            levels.append(F.avg_pool2d(levels[-1], kernel_size=2, stride=2, count_include_pad=False))
        return levels[::-1]


def _round_up(size: int) -> int:
    return (size + _STRIDE - 1) // _STRIDE * _STRIDE


def _resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
