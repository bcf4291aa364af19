"""Bits where the picture changes: each tile of a residual gets the fewest bits that keep a common error bound.

All tiles share one step. A tile whose residual is small needs few codes, one that hardly differs from the
prediction none at all (0 bit: skipped). So the step alone trades accuracy for bit operations, as the quantization
parameter of a video codec does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrq.errors import ConfigError, check_keys
from vsrq.quant.autograd import straight_through
from vsrq.quant.grouped import ActQuantizer
from vsrq.quant.quantizer import FLOAT_BITS, QParams

_ALLOWED_LEVELS = (0, *range(2, 9))
_SLACK = 2.0  # clipping may add as much error as rounding to the common step does


class TileQuantizer(nn.Module):
    """Quantizer of a residual ``(n, c, h, w)`` whose bit width differs between tiles.

    Args:
        frame: The layer's activation quantizer, whose range is the measure of the step.
        size: Edge of a tile in pixels.
        levels: Bit widths a tile may have, rising; 0 skips it.
        coarseness: The step over that of an 8-bit grid on the range of ``frame``; see :func:`fit_coarseness`.

    Attributes:
        bits: The largest level.
        coarseness: A buffer, so that a checkpoint carries what was fitted.

    Raises:
        ConfigError: A value is out of range, or ``frame`` has no calibrated grid.
    """

    coarseness: Tensor

    def __init__(
        self,
        frame: ActQuantizer,
        *,
        size: int = 8,
        levels: Sequence[int] = (0, 2, 4, 8),
        coarseness: float = 8.0,
    ) -> None:
        super().__init__()
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"tile size must be an integer of 1 or more, got {size!r}.")
        if not levels or list(levels) != sorted(set(levels)) or not set(levels) <= set(_ALLOWED_LEVELS):
            raise ConfigError(f"tile levels must rise and be among 0, 2 to 8, got {tuple(levels)}.")
        if not isinstance(coarseness, (int, float)) or not coarseness > 0:
            raise ConfigError(f"tile coarseness must be above 0, got {coarseness!r}.")
        if frame.bits == FLOAT_BITS or frame.dynamic:
            raise ConfigError("tiles need a calibrated activation grid of 2 to 8 bit for the layer's frames.")
        self._frame = (frame,)  # not a child: it belongs to the layer
        self.size = size
        self.levels = tuple(levels)
        self.bits = self.levels[-1]
        self.dynamic = False
        self.required = True
        self.register_buffer("coarseness", torch.tensor(float(coarseness)))

    @classmethod
    def build(cls, config: Mapping[str, Any], frame: ActQuantizer) -> TileQuantizer:
        """Build the quantizer that ``dict(size=..., levels=..., coarseness=...)`` describes."""
        check_keys(config, ["size", "levels", "coarseness"], "tiles")
        return cls(frame, **config)

    @property
    def observer(self) -> object | None:
        """Not ``None`` while the layer is being calibrated."""
        return self._frame[0].observer

    def qparams(self, x: Tensor | None = None) -> QParams:
        """Return step and code limits of the largest level."""
        scale, _, qmin, qmax = self._frame[0].qparams(x)
        step = scale.detach() * ((qmax - qmin) / 255) * self.coarseness
        limit = _limit(self.bits)
        return QParams(step, torch.zeros_like(step, dtype=torch.int32), -limit, limit)

    def quantize(self, x: Tensor) -> Tensor:
        """Quantize every tile with the smallest level that keeps its error within the bound."""
        with torch.no_grad():
            step, _, low, high = self.qparams(x)
            u = x / step
            codes = u.round().clamp_(low, high)
            limits = self._expand(self._limits(u, codes), x)
            quantized = torch.minimum(torch.maximum(codes, -limits), limits).mul_(step)
        return straight_through(x, quantized) if x.requires_grad else quantized

    def forward(self, x: Tensor) -> Tensor:
        """The same as :meth:`quantize`."""
        return self.quantize(x)

    def bit_map(self, quantized: Tensor) -> Tensor:
        """Return the bit width of every tile ``(n, rows, columns)`` of what :meth:`quantize` returned."""
        codes = (quantized.detach() / self.qparams(quantized).scale).abs().amax(1, keepdim=True)
        largest = F.max_pool2d(codes, self.size, ceil_mode=True)[:, 0].round()
        bits = torch.full_like(largest, self.bits)
        for level in reversed(self.levels):
            bits = torch.where(largest <= _limit(level), level, bits)
        return bits

    def average_bits(self, quantized: Tensor) -> float:
        """Return the mean bit width over all pixels of what :meth:`quantize` returned."""
        return self._expand(self.bit_map(quantized)[:, None], quantized).mean().item()

    def _limits(self, u: Tensor, codes: Tensor) -> Tensor:
        """Return the largest code of every tile, ``(n, 1, rows, columns)``."""
        limits = torch.full_like(self._tile_mean(u[:, :1]), _limit(self.bits))
        for level in reversed(self.levels[:-1]):
            limit = _limit(level)
            error = self._tile_mean((u - codes.clamp(-limit, limit)).square_().mean(1, keepdim=True))
            limits = torch.where(error <= _SLACK / 12, limit, limits)
        return limits

    def _tile_mean(self, values: Tensor) -> Tensor:
        return F.avg_pool2d(values, self.size, ceil_mode=True, count_include_pad=False)

    def _expand(self, tiles: Tensor, like: Tensor) -> Tensor:
        """Repeat ``(n, 1, rows, columns)`` over the pixels of ``like``."""
        pixels = tiles.repeat_interleave(self.size, -2).repeat_interleave(self.size, -1)
        return pixels[..., : like.shape[-2], : like.shape[-1]]

    def extra_repr(self) -> str:
        """The recipe in one line."""
        return f"tiles of {self.size}, bits {self.levels}, coarseness {self.coarseness.item():g}"


def _limit(bits: int) -> int:
    return 0 if bits == 0 else 2 ** (bits - 1) - 1


@torch.no_grad()
def fit_coarseness(model: nn.Module, measure: Callable[[], float], budget: float, *, steps: int = 6) -> float:
    """Set the coarseness of all tile quantizers of a network to the smallest that keeps a budget.

    Args:
        model: Calibrated network.
        measure: Returns the cost to be limited, for instance BOPs per MAC of a clip; it falls with the coarseness.
        budget: The most it may be.
        steps: Number of bisections, each of them one measurement.

    Returns:
        The cost that was reached.

    Raises:
        ConfigError: The network has no tiles, or even the coarsest step costs more.
    """
    quantizers = [module for module in model.modules() if isinstance(module, TileQuantizer)]
    if not quantizers:
        raise ConfigError("the network has no residual layer with tiles; set tiles=dict(...) first.")

    def cost(exponent: float) -> float:
        for quantizer in quantizers:
            quantizer.coarseness.fill_(2.0**exponent)
        return measure()

    fine, coarse = -2.0, 10.0
    reached = cost(coarse)
    if reached > budget:
        raise ConfigError(f"a budget of {budget:g} cannot be met; the smallest cost is {reached:g}.")
    for _ in range(steps):
        middle = (fine + coarse) / 2
        value = cost(middle)
        if value > budget:
            fine = middle
        else:
            coarse, reached = middle, value
    return cost(coarse)
