"""AdaRound: learn for every weight whether to round it down or up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vsrq.quant.quantizer import UniformQuantizer

_STRETCH, _SHIFT = 1.2, -0.1  # of the sigmoid, so that 0 and 1 are reached


def rectified_sigmoid(v: Tensor) -> Tensor:
    """Return ``clip(1.2 sigmoid(v) - 0.1, 0, 1)``, any shape; equation 23 of the paper."""
    return (torch.sigmoid(v) * _STRETCH + _SHIFT).clamp(0, 1)


class SoftRounding(nn.Module):
    """Stands in for a weight quantizer while its rounding is learned.

    ``W^ = s clip(floor(W / s) + h(V))`` with a learned V per weight, which starts where h is the remainder, so that
    W^ is the float weight (clipped to the grid).

    Args:
        quantizer: The calibrated weight quantizer; its grid stays as it is.
        weight: The float weight.

    Reference: Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization (ICML 2020).
    """

    def __init__(self, quantizer: UniformQuantizer, weight: Tensor) -> None:
        super().__init__()
        self.quantizer = quantizer
        scale, zero_point, qmin, qmax = quantizer.qparams()
        shape = [1] * weight.dim()
        if quantizer.axis is not None:
            shape[quantizer.axis] = -1
        self.bits = quantizer.bits
        self.scale = scale.detach().view(shape)
        zero = zero_point.view(shape)
        self.low, self.high = (qmin - zero).float(), (qmax - zero).float()
        u = weight.detach() / self.scale
        self.floor = u.floor()
        remainder = ((u - self.floor - _SHIFT) / _STRETCH).clamp(1e-4, 1 - 1e-4)
        self.v = nn.Parameter(torch.logit(remainder))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the softly rounded weight; the argument is the float weight it replaces."""
        return self._on_grid(rectified_sigmoid(self.v))

    def penalty(self, beta: float) -> Tensor:
        """Return ``sum(1 - |2 h - 1|^beta)``, 0 when all decisions are made; equation 24 of the paper."""
        return (1 - (2 * rectified_sigmoid(self.v) - 1).abs().pow(beta)).sum()

    @torch.no_grad()
    def decided(self) -> Tensor:
        """Return the weight with every decision made; the quantizer leaves it as it is."""
        return self._on_grid((rectified_sigmoid(self.v) >= 0.5).float())

    def _on_grid(self, up: Tensor) -> Tensor:
        return (self.floor + up).clamp(self.low, self.high) * self.scale
