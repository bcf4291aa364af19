"""Leaky prediction: the coefficient that says how much of the past a layer trusts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.quant.autograd import straight_through
from vsrq.quant.calibratable import Calibratable

Coefficient = float | Literal["calibrated", "learned"]


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
    """The coefficient of one layer, or one for each group of its channels.

    Args:
        coefficient: A fixed number in [0, 1]: 1 is ResQ, 0 is frame quantization. ``'calibrated'`` is the least-squares
            fit; ``'learned'`` starts from it and is a parameter.
        groups: Number of coefficients; ``None`` for a single one, a scalar.

    Raises:
        ConfigError: The value is none of these.
    """

    coefficient: Tensor

    def __init__(self, coefficient: Coefficient = "calibrated", *, groups: int | None = None) -> None:
        super().__init__()
        self.calibrated = coefficient in ("calibrated", "learned")
        number = isinstance(coefficient, (int, float)) and not isinstance(coefficient, bool)
        if not self.calibrated and not (number and 0 <= coefficient <= 1):  # type: ignore[operator]
            raise ConfigError(
                f"coefficient must be 'calibrated', 'learned' or a number in [0, 1], got {coefficient!r}."
            )
        self.learned = coefficient == "learned"
        start = torch.full(() if groups is None else (groups,), 1.0 if self.calibrated else float(coefficient))
        if self.learned:
            self.coefficient = nn.Parameter(start)
        else:
            self.register_buffer("coefficient", start)
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
        """Return the coefficient in [0, 1]: a scalar, or shape ``(groups,)``."""
        if not self.learned:
            return self.coefficient
        return straight_through(self.coefficient, self.coefficient.clamp(0, 1))

    @torch.no_grad()
    def observe(self, x: Tensor, past: Tensor) -> None:
        """Take one pair of calls into the coefficient.

        Args:
            x: Input of this call; with groups ``(n, c, h, w)``, otherwise any shape.
            past: Reconstructed input of the call before, same shape.
        """
        if not self._observing:
            return
        cross, energy = self._sum(x * past), self._sum(past.square())
        if self._sums is not None:
            cross, energy = cross + self._sums[0], energy + self._sums[1]
        self._sums = cross, energy
        self.coefficient.copy_(optimal_coefficient(cross, energy))

    def _sum(self, products: Tensor) -> Tensor:
        if self.coefficient.dim() == 0:
            return products.sum().double()
        return products.unflatten(1, (len(self.coefficient), -1)).transpose(0, 1).flatten(1).sum(1).double()

    def extra_repr(self) -> str:
        """The value and where it comes from."""
        origin = "learned" if self.learned else "calibrated" if self.calibrated else "fixed"
        count = self.coefficient.numel()
        return f"{self.coefficient.mean().item():.3f}{f' (mean of {count})' if count > 1 else ''}, {origin}"
