"""Leaky prediction: the coefficient that says how much of the past a layer trusts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vsrq.errors import ConfigError
from vsrq.quant.calibratable import Calibratable


def optimal_coefficient(cross: Tensor, energy: Tensor) -> Tensor:
    """Least-squares coefficient ``<x_t, x^_{t-1}> / <x^_{t-1}, x^_{t-1}>``, clipped to [0, 1].

    It is the lag-1 correlation for data of constant energy. The residual's energy is then ``1 - rho**2`` times
    the frame's, never more.

    Args:
        cross: Inner product of input and past, any shape.
        energy: Inner product of the past with itself, same shape; where it is 0 the coefficient is 0.
    """
    return torch.where(energy > 0, cross / energy.clamp(min=1e-30), 0.0).clamp(0, 1)


class LeakyPrediction(Calibratable):
    """One coefficient for one layer.

    Args:
        coefficient: ``'calibrated'``, or a fixed number in [0, 1]: 1 is ResQ, 0 is frame quantization.

    Raises:
        ConfigError: The value is neither.
    """

    coefficient: Tensor

    def __init__(self, coefficient: float | Literal["calibrated"] = "calibrated") -> None:
        super().__init__()
        self.calibrated = coefficient == "calibrated"
        if not self.calibrated and not (isinstance(coefficient, (int, float)) and 0 <= coefficient <= 1):
            raise ConfigError(f"coefficient must be 'calibrated' or a number in [0, 1], got {coefficient!r}.")
        self.register_buffer("coefficient", torch.tensor(1.0 if self.calibrated else float(coefficient)))
        self._sums: tuple[Tensor, Tensor] | None = None
        self._observing = False

    def start_observing(self, *, first_pass: bool) -> None:
        """Estimate the coefficient in the first pass; later passes find the ranges that belong to it."""
        self._observing = self.calibrated and first_pass
        self._sums = None

    def stop_observing(self) -> None:
        """Keep the coefficient."""
        self._observing = False
        self._sums = None

    def forward(self) -> Tensor:
        """Return the coefficient, a scalar tensor."""
        return self.coefficient

    @torch.no_grad()
    def observe(self, x: Tensor, past: Tensor) -> None:
        """Take one pair of calls into the coefficient.

        Args:
            x: Input of this call.
            past: Reconstructed input of the call before, same shape.
        """
        if not self._observing:
            return
        cross, energy = (x * past).sum().double(), past.square().sum().double()
        if self._sums is not None:
            cross, energy = cross + self._sums[0], energy + self._sums[1]
        self._sums = cross, energy
        self.coefficient.copy_(optimal_coefficient(cross, energy))

    def extra_repr(self) -> str:
        """The value and where it comes from."""
        return f"{self.coefficient.item():.3f}, {'calibrated' if self.calibrated else 'fixed'}"
