"""Activation bits that change at run time: by one with the layer and by one with what runs through the network.

Reference: QBasicVSR (NeurIPS 2025), after the idea of its two shifts; how they are normalized is described here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vsrq.errors import ConfigError
from vsrq.quant.autograd import Grid
from vsrq.quant.functional import grid_limits
from vsrq.quant.quantizer import ALLOWED_BITS, FLOAT_BITS, UniformQuantizer

NARROWEST, WIDEST = (limit(bits for bits in ALLOWED_BITS if bits != FLOAT_BITS) for limit in (min, max))


def regrid(grid: Grid, qmin: int, qmax: int, *, symmetric: bool, power_of_two: bool = False) -> Grid:
    """Return the grid with other codes that covers the same range.

    Args:
        grid: The grid.
        qmin: Smallest code of the new one.
        qmax: Largest code of the new one.
        symmetric: Zero point 0; the new step covers both ends.
        power_of_two: Change the step by a power of two, which may clip or widen one end by a step.
    """
    if power_of_two:
        ratio = 2.0 ** round(torch.log2(torch.tensor((grid.qmax - grid.qmin + 1) / (qmax - qmin + 1))).item())
    elif symmetric:
        ratio = max(grid.qmax / qmax, grid.qmin / qmin if qmin else 0.0)
    else:
        ratio = (grid.qmax - grid.qmin) / (qmax - qmin)
    scale, zero_point = grid.scale * ratio, grid.zero_point
    if not symmetric:
        low = (grid.qmin - zero_point) / ratio if grid.offset is None else grid.offset.detach() / scale.detach()
        zero_point = (qmin - torch.round(low)).clamp(qmin, qmax).to(torch.int32)
    return grid._replace(scale=scale, zero_point=zero_point, qmin=qmin, qmax=qmax)


class Spread:
    """How far the tensors of successive calls spread in space and in time.

    Attributes:
        spatial: Standard deviation within a channel ``(h, w)``, mean over channels and calls.
        temporal: Root of half the mean squared change from call to call: the standard deviation over time of what
            is not correlated between them.
    """

    def __init__(self) -> None:
        self._sums = [0.0, 0.0]
        self._counts = [0, 0]
        self._previous: Tensor | None = None

    def update(self, x: Tensor) -> None:
        """Take a call's tensor into account: ``(n, c, h, w)``, or ``(..., features)`` as one channel."""
        channels = x.flatten(2) if x.dim() == 4 else x.reshape(1, 1, -1)
        self._add(0, channels.std(-1, unbiased=False).mean().item())
        if self._previous is not None and self._previous.shape == x.shape:
            self._add(1, ((x - self._previous).square().mean() / 2).sqrt().item())
        self._previous = x.clone()

    def _add(self, which: int, value: float) -> None:
        self._sums[which] += value
        self._counts[which] += 1

    def forget_last(self) -> None:
        """Free the tensor that the next call would be compared with."""
        self._previous = None

    @property
    def spatial(self) -> float:
        """See the class."""
        return self._sums[0] / max(self._counts[0], 1)

    @property
    def temporal(self) -> float:
        """See the class; 0 if there were no two calls of one shape."""
        return self._sums[1] / max(self._counts[1], 1)


def layer_shifts(spatial: Sequence[float], temporal: Sequence[float], share: float) -> list[int]:
    """Decide which layers get a bit less and which a bit more, as many of the one as of the other.

    Layers are ordered by the sum of their ranks in both spreads, so that neither unit counts more.

    Args:
        spatial: Spatial spread of each layer's input.
        temporal: Its temporal spread.
        share: Share of the layers at either end, 0 to 0.5.

    Returns:
        -1, 0 or 1 per layer.
    """
    ranks = torch.zeros(len(spatial), dtype=torch.float64)
    for values in (spatial, temporal):
        ranks += torch.tensor(values, dtype=torch.float64).argsort(stable=True).argsort()
    order = ranks.argsort(stable=True).tolist()
    count = int(share * len(order))
    shifts = [0] * len(order)
    for layer in order[:count]:
        shifts[layer] = -1
    for layer in order[len(order) - count :]:
        shifts[layer] = 1
    return shifts


class VariableQuantizer(UniformQuantizer):
    """Quantizer of an activation whose bits change while the network runs.

    The range is calibrated at the base bits and shared by all widths: only the number of steps in it changes. While
    it is calibrated the base bits are used.

    Args:
        **settings: As :class:`UniformQuantizer`; ``bits`` are the base.

    Attributes:
        bits: Those in force. Setting them sets the base.

    Raises:
        ConfigError: As :class:`UniformQuantizer`, or the base is 32.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.bits == FLOAT_BITS:
            raise ConfigError(f"bits that change have a base of {NARROWEST} to {WIDEST} bits, got {FLOAT_BITS}.")

    @property
    def bits(self) -> int:
        """Bits in force."""
        return self._base if self._base == FLOAT_BITS or self.observer is not None else self.bits_now()

    @bits.setter
    def bits(self, base: int) -> None:
        self._base = base

    def bits_now(self) -> int:
        """Return the bits to use once there is a range, 2 to 8."""
        raise NotImplementedError

    def limits(self) -> tuple[int, int]:
        """Return ``(qmin, qmax)`` of the grid that is calibrated, at the base bits."""
        return grid_limits(self._base, signed=self.symmetric and self._grid_signed)

    def grid_at(self, bits: int, x: Tensor | None) -> Grid:
        """Return the grid of a width; ``x`` as in :meth:`UniformQuantizer.qparams`."""
        grid = super()._grid(x)
        if bits == self._base:
            return grid
        limits = grid_limits(bits, signed=self.symmetric and self._grid_signed)
        return regrid(grid, *limits, symmetric=self.symmetric, power_of_two=self.power_of_two)

    def _grid(self, x: Tensor | None) -> Grid:
        return self.grid_at(self.bits, x)


class AdaptiveQuantizer(VariableQuantizer):
    """Quantizer of an activation whose bits shift around those it is calibrated at.

    Args:
        **settings: As :class:`VariableQuantizer`.

    Attributes:
        bits: The base, shifted, within 2 to 8. Setting it sets the base.
        clip_shift: Shift by what runs at the moment; 0 unless somebody sets it.
        spread: What the last calibration saw.

    Raises:
        ConfigError: As :class:`VariableQuantizer`.
    """

    clip_shift = 0
    _own_shift = 0
    layer_shift: Tensor

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register_buffer("layer_shift", torch.zeros((), dtype=torch.int8))
        self.spread = Spread()

    def bits_now(self) -> int:
        """See :meth:`VariableQuantizer.bits_now`."""
        return min(max(self._base + self._own_shift + self.clip_shift, NARROWEST), WIDEST)

    def set_layer_shift(self, shift: int) -> None:
        """Shift the bits for good; a checkpoint carries it."""
        self.layer_shift.fill_(shift)
        self._own_shift = shift

    def start_observing(self, *, first_pass: bool) -> None:
        """Begin a pass; the first one forgets the layer's shift and spread."""
        super().start_observing(first_pass=first_pass)
        if first_pass:
            self.set_layer_shift(0)
            self.spread = Spread()

    def observe(self, x: Tensor) -> None:
        """Take ``x`` into the range and the spread."""
        super().observe(x)
        if self.observer is not None:
            self.spread.update(x.detach())

    def stop_observing(self) -> None:
        """Keep range and spread."""
        super().stop_observing()
        self.spread.forget_last()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._own_shift = int(self.layer_shift)

    def extra_repr(self) -> str:
        """The recipe in one line."""
        return f"{super().extra_repr()}, adaptive around {self._base}"
