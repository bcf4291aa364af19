"""Quantizers that run at the width which is chosen at the moment, see :mod:`vsrq.quant.width`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vsrq.errors import ConfigError
from vsrq.quant.adaptive import VariableQuantizer
from vsrq.quant.functional import fake_quantize, grid_limits
from vsrq.quant.nested import nested
from vsrq.quant.quantizer import FLOAT_BITS, WeightQuantizer
from vsrq.quant.width import Choice, current_choice, weighted


class SwitchableQuantizer(VariableQuantizer):
    """Quantizer of an activation that runs at the chosen width, at its own bits where nothing is chosen.

    Args:
        **settings: As :class:`vsrq.quant.adaptive.VariableQuantizer`.

    Attributes:
        base_bits: The bits it is calibrated at.
    """

    fusible = False  # the choice learns from the quantized tensor

    @property
    def base_bits(self) -> int:
        """Bits without a choice."""
        return self._base

    def bits_now(self) -> int:
        """See :meth:`VariableQuantizer.bits_now`."""
        choice = current_choice()
        return self._base if choice is None else choice.bits

    def quantize(self, x: Tensor) -> Tensor:
        """Quantize and dequantize ``x`` at the chosen width."""
        y = super().quantize(x)
        choice = _choice_of(self)
        return y if choice is None else weighted(y, x, choice, self.at)

    @torch.no_grad()
    def at(self, x: Tensor, bits: int) -> Tensor:
        """Return ``x`` at a width, without a graph."""
        grid = self.grid_at(bits, x)
        return fake_quantize(x.float(), grid.scale, grid.zero_point, grid.qmin, grid.qmax)


class NestedQuantizer(WeightQuantizer):
    """Quantizer of a weight that is stored once; lower widths are the high bits of its codes.

    Its grid, for checkpoints and storage, is that of the stored weight. Where nothing is chosen that weight is used.

    Args:
        **settings: As :class:`vsrq.quant.quantizer.UniformQuantizer`; ``bits`` are those that are stored.

    Attributes:
        bits: Those in force. Setting them sets the stored ones.
        base_bits: The bits that are stored.

    Raises:
        ConfigError: The grid is not symmetric, or the weight is left float.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if not self.symmetric:
            raise ConfigError("weights at several widths need a symmetric grid; set symmetric=True.")
        if self._base == FLOAT_BITS:
            raise ConfigError("weights at several widths are stored in 2 to 8 bits, got bits=32; set policy=False.")

    @property
    def bits(self) -> int:
        """Bits in force."""
        choice = _choice_of(self)
        return self._base if choice is None else choice.bits

    @bits.setter
    def bits(self, base: int) -> None:
        self._base = base

    @property
    def base_bits(self) -> int:
        """Bits without a choice."""
        return self._base

    def limits(self) -> tuple[int, int]:
        """Return ``(qmin, qmax)`` of the stored grid."""
        return grid_limits(self._base, signed=self._grid_signed)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weight ``x`` at the chosen width; it is quantized once, as in :class:`WeightQuantizer`."""
        stored = super().forward(x)
        choice = _choice_of(self)
        if choice is None:
            return stored
        scale = self._scale_along(stored)
        weight = nested(stored, scale, self._base, choice.bits)
        return weighted(weight, stored, choice, lambda values, bits: nested(values, scale, self._base, bits))

    def _scale_along(self, x: Tensor) -> Tensor:
        scale = self.qparams().scale.detach()
        return scale if self.axis is None else scale.view([-1 if d == self.axis else 1 for d in range(x.dim())])


def is_switchable(quantizer: object) -> bool:
    """Whether a quantizer of a weight or an activation runs at chosen widths."""
    return isinstance(quantizer, (SwitchableQuantizer, NestedQuantizer))


def _choice_of(quantizer: SwitchableQuantizer | NestedQuantizer) -> Choice | None:
    """Return the choice in force; ``None`` also for a quantizer that is being calibrated or was made float."""
    busy = quantizer.observer is not None or quantizer.base_bits == FLOAT_BITS
    return None if busy else current_choice()
