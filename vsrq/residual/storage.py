"""The form in which a layer keeps its past: floats, half floats or 8-bit codes.

What is stored is what the next call predicts from, so the loop stays closed around the storage. The accumulated
output, though, stands for the input as it was before rounding. That difference fades with the coefficient ``a`` and
ends at a key frame; on a still clip, where every call rounds alike, it grows to ``1 / (1 - a)`` times one rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from vsrq.errors import ConfigError
from vsrq.quant.autograd import straight_through
from vsrq.quant.grouped import ActQuantizer
from vsrq.quant.quantizer import FLOAT_BITS, QParams
from vsrq.residual.coding import check_choice

InputForm = Literal["float32", "float16", "uint8"]
OutputForm = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Forms of what a layer remembers.

    Args:
        input: ``'float32'`` is the dtype the network runs in, ``'float16'`` half of it. ``'uint8'`` keeps codes on the
            layer's own activation grid, refined to 8 bit: exact for a key frame, rounded for what residuals add.
        output: The same of the accumulated output; codes are not offered, for they would drift.

    Raises:
        ConfigError: A form is unknown.
    """

    input: InputForm = "float32"
    output: OutputForm = "float32"

    def __post_init__(self) -> None:
        check_choice("storage input", self.input, get_args(InputForm))
        check_choice("storage output", self.output, get_args(OutputForm))

    def check(self, quantizer: ActQuantizer) -> None:
        """Raise :class:`ConfigError` if inputs on the grid of ``quantizer`` cannot be kept in this form."""
        if self.input == "uint8" and (quantizer.bits == FLOAT_BITS or quantizer.dynamic):
            raise ConfigError(
                "storage input 'uint8' needs a calibrated activation grid of 2 to 8 bit; use 'float16' or 'float32'."
            )

    def pack_input(self, x: Tensor, quantizer: ActQuantizer) -> Tensor:
        """Return a reconstructed input in the form it is kept in; with gradients as floats that hold its values."""
        if self.input == "uint8":
            grid = refined_grid(quantizer)
            codes = (x / grid.scale).round_().add_(grid.zero_point).clamp_(grid.qmin, grid.qmax)
            if not x.requires_grad:
                return codes.to(torch.uint8)
            return straight_through(x, (codes - grid.zero_point) * grid.scale)
        return _pack(x, self.input)

    def unpack_input(self, stored: Tensor, quantizer: ActQuantizer, dtype: torch.dtype) -> Tensor:
        """Return the input a layer predicts from."""
        if stored.dtype == torch.uint8:
            grid = refined_grid(quantizer)
            return (stored.to(dtype) - grid.zero_point).mul_(grid.scale)
        return stored.to(dtype)

    def pack_output(self, z: Tensor) -> Tensor:
        """Return an accumulated output in the form it is kept in."""
        return _pack(z, self.output)


def _pack(x: Tensor, form: str) -> Tensor:
    if form == "float32":
        return x
    limit = torch.finfo(torch.float16).max
    return x.clamp(-limit, limit).half()


def refined_grid(quantizer: ActQuantizer) -> QParams:
    """Return an unsigned 8-bit grid that contains every point of a quantizer's grid.

    Each step is divided into equal ones. Below 8 bit a half of the codes lies beyond the quantizer's range, for a
    reconstructed input follows its input there: at both sides of it, or above if nothing is negative.
    """
    scale, zero_point, qmin, qmax = quantizer.qparams()
    width = qmax - qmin
    parts = max(1, 127 // width)
    spare = 255 - parts * width
    below = torch.where(zero_point == qmin, 0, spare // 2).to(zero_point.dtype)
    return QParams(scale.detach() / parts, (zero_point - qmin) * parts + below, 0, 255)
