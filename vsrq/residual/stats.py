"""Does predicting pay? Per layer: correlation in time, energy of the residual, clipping, quantization noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from vsrq.residual.listen import listening
from vsrq.residual.triggers import beyond_grid


@dataclass(frozen=True)
class LayerStats:
    """What was measured of one layer over all its residual calls.

    Attributes:
        name: Module name.
        calls: Number of residual calls.
        coefficient: Of the prediction, mean over its groups.
        rho: Correlation of input and prediction, not centred.
        variance_ratio: Variance of the residual over that of the input; prediction pays below 1.
        clip_rate: Share of residual values beyond the residual's grid.
        act_bits: Bits of the frame grid.
        residual_bits: Bits of the residual grid.
        sqnr_frame: Signal-to-noise ratio in dB of the input on the frame grid.
        sqnr_residual: The same of the reconstructed input.
    """

    name: str
    calls: int
    coefficient: float
    rho: float
    variance_ratio: float
    clip_rate: float
    act_bits: int
    residual_bits: int
    sqnr_frame: float
    sqnr_residual: float

    @property
    def gain(self) -> float:
        """Noise saved by the residual, dB."""
        return self.sqnr_residual - self.sqnr_frame


@dataclass
class Sums:
    """Running sums of one layer, double precision."""

    calls: float = 0.0
    values: float = 0.0
    x: float = 0.0
    xx: float = 0.0
    r: float = 0.0
    rr: float = 0.0
    xp: float = 0.0
    pp: float = 0.0
    clipped: float = 0.0
    frame_noise: float = 0.0
    residual_noise: float = 0.0

    def add(self, other: Sums) -> None:
        """Add all sums of another call."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class ResidualStats:
    """Collects the statistics of all residual layers; see :func:`residual_stats`.

    Args:
        model: The network, for the names.
    """

    def __init__(self, model: nn.Module) -> None:
        self._names = {id(module): name for name, module in model.named_modules()}
        self._layers: dict[str, tuple[nn.Module, Sums]] = {}

    @torch.no_grad()
    def residual_call(self, layer: nn.Module, x: Tensor, residual: Tensor, change: Tensor) -> None:
        """See :class:`vsrq.residual.listen.Listener`."""
        predicted = x - residual
        frame = layer.act_quantizer.quantize(x)  # type: ignore[operator,union-attr]
        sums = Sums(
            calls=1,
            values=x.numel(),
            x=_total(x),
            xx=_total(x * x),
            r=_total(residual),
            rr=_total(residual * residual),
            xp=_total(x * predicted),
            pp=_total(predicted * predicted),
            clipped=_total(beyond_grid(residual, layer.residual_act_quantizer)),  # type: ignore[arg-type]
            frame_noise=_total((x - frame).square()),
            residual_noise=_total((residual - change).square()),
        )
        name = self._names[id(layer)]
        self._layers.setdefault(name, (layer, Sums()))[1].add(sums)

    def rows(self) -> list[LayerStats]:
        """Return one row per layer that coded residuals, in the order of their first calls."""
        return [_row(name, layer, sums) for name, (layer, sums) in self._layers.items()]


@contextmanager
def residual_stats(model: nn.Module) -> Iterator[ResidualStats]:
    """Measure the residual layers of ``model`` while the block runs clips through it.

    Args:
        model: A calibrated network with residual layers.
    """
    with listening(ResidualStats(model)) as stats:
        yield stats


def _total(values: Tensor) -> float:
    return values.sum(dtype=torch.float64).item()


def _row(name: str, layer: nn.Module, sums: Sums) -> LayerStats:
    n = sums.values
    variance = sums.xx / n - (sums.x / n) ** 2
    residual_variance = sums.rr / n - (sums.r / n) ** 2
    scale = math.sqrt(sums.xx * sums.pp)
    quantizer = layer.residual_act_quantizer
    return LayerStats(
        name=name,
        calls=int(sums.calls),
        coefficient=layer.prediction().mean().item(),  # type: ignore[operator]
        rho=sums.xp / scale if scale > 0 else 0.0,
        variance_ratio=residual_variance / variance if variance > 0 else 0.0,
        clip_rate=sums.clipped / n,
        act_bits=layer.act_quantizer.bits,  # type: ignore[arg-type,union-attr]
        residual_bits=quantizer.bits,  # type: ignore[arg-type,union-attr]
        sqnr_frame=_sqnr(sums.xx, sums.frame_noise),
        sqnr_residual=_sqnr(sums.xx, sums.residual_noise),
    )


def _sqnr(signal: float, noise: float) -> float:
    return 10 * math.log10(signal / noise) if noise > 0 and signal > 0 else math.inf
