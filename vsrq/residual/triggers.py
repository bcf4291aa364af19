"""Key frames on demand: what tells a layer that its past is no good, for each sample of a batch on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vsrq.errors import ConfigError, check_keys, did_you_mean
from vsrq.quant.grouped import ActQuantizer
from vsrq.quant.quantizer import FLOAT_BITS
from vsrq.residual.tiles import TileQuantizer

_BINS = 8  # few, because the past may lie on a grid of 16 values


class Evidence(NamedTuple):
    """What a trigger may look at.

    Attributes:
        x: Input of this call, ``(n, ...)``.
        residual: Its difference to the prediction.
        past: What it was predicted from.
        quantizer: The residual's quantizer.
        drift: Estimated error power that the output has gathered since the key frame, relative to the layer's
            gain, ``(n,)``.
    """

    x: Tensor
    residual: Tensor
    past: Tensor
    quantizer: ActQuantizer | TileQuantizer
    drift: Tensor


def beyond_grid(x: Tensor, quantizer: ActQuantizer | TileQuantizer) -> Tensor:
    """Return which values lie beyond the outermost codes by more than half a step: a mask of the shape of ``x``."""
    if quantizer.bits == FLOAT_BITS:
        return torch.zeros_like(x, dtype=torch.bool)
    scale, zero_point, qmin, qmax = quantizer.qparams(x)
    return (x < (qmin - 0.5 - zero_point) * scale) | (x > (qmax + 0.5 - zero_point) * scale)


def clip_rate(evidence: Evidence) -> Tensor:
    """Share of residual values beyond the residual's grid, ``(n,)``; 0 where there is no grid."""
    return beyond_grid(evidence.residual, evidence.quantizer).flatten(1).float().mean(1)


def residual_energy(evidence: Evidence) -> Tensor:
    """Energy of the residual over that of the input, ``(n,)``: 1 means that predicting gains nothing."""
    return _power(evidence.residual) / _power(evidence.x).clamp(min=1e-30)


def histogram_distance(evidence: Evidence) -> Tensor:
    """Half the summed difference of the histograms of input and past, ``(n,)``, from 0 (equal) to 1 (disjoint)."""
    return torch.stack([_distance(x, past) for x, past in zip(evidence.x, evidence.past, strict=True)])


def accumulated_error(evidence: Evidence) -> Tensor:
    """Estimated error power of the output so far over the input's power, ``(n,)``."""
    return evidence.drift / _power(evidence.x).clamp(min=1e-30)


MEASURES = {
    "clip_rate": clip_rate,
    "energy": residual_energy,
    "histogram": histogram_distance,
    "accumulated_error": accumulated_error,
}


@dataclass(frozen=True, kw_only=True)
class KeyTrigger:
    """Asks for a key frame where a measure exceeds a threshold.

    Args:
        type: ``'clip_rate'``, ``'energy'`` and ``'histogram'`` find scene cuts; ``'accumulated_error'`` grows with the
            distance to the last key frame (adaptive schedule).
        threshold: Above it the call is a key frame; above 0.

    Raises:
        ConfigError: The type is unknown or the threshold not positive.
    """

    type: str
    threshold: float

    def __post_init__(self) -> None:
        if self.type not in MEASURES:
            hint = did_you_mean(self.type, MEASURES)
            raise ConfigError(f"unknown trigger type {self.type!r}{hint}. Allowed: {', '.join(MEASURES)}.")
        if not isinstance(self.threshold, (int, float)) or isinstance(self.threshold, bool) or self.threshold <= 0:
            raise ConfigError(f"threshold of trigger {self.type} must be above 0, got {self.threshold!r}.")

    @classmethod
    def build(cls, config: Mapping[str, Any] | None) -> KeyTrigger | None:
        """Build the trigger ``dict(type=..., threshold=...)`` describes; ``None`` stays ``None``."""
        if config is None:
            return None
        check_keys(config, ["type", "threshold"], "trigger")
        missing = {"type", "threshold"} - set(config)
        if missing:
            raise ConfigError(f"a trigger needs {' and '.join(sorted(missing))}, got {dict(config)}.")
        return cls(**config)

    @torch.no_grad()
    def __call__(self, evidence: Evidence) -> Tensor:
        """Return which samples need a key frame, ``(n,)`` bool."""
        return MEASURES[self.type](evidence) > self.threshold


def grow_drift(drift: Tensor, a: Tensor, change: Tensor, weight_error: Tensor, rounding: Tensor | None) -> Tensor:
    """Estimate the output's error after one more residual call.

    With unequal weight grids each residual adds ``(W_r - W_k) Q(r)``; in an open loop its rounding error
    stays as well. Both fade with the coefficient.

    Args:
        drift: Estimate after the call before, ``(n,)``.
        a: Coefficient, scalar or one per group.
        change: Quantized residual, ``(n, ...)``.
        weight_error: ``|W_r - W_k|^2 / |W_k|^2``.
        rounding: Rounding error of the residual, same shape, in an open loop; otherwise ``None``.
    """
    new = weight_error * _power(change)
    if rounding is not None:
        new = new + _power(rounding)
    return a.mean().square() * drift + new


def _power(x: Tensor) -> Tensor:
    return x.flatten(1).square().mean(1)


def _distance(x: Tensor, past: Tensor) -> Tensor:
    low = torch.minimum(x.min(), past.min()).item()
    high = max(torch.maximum(x.max(), past.max()).item(), low + 1e-12)
    counts = [torch.histc(v.float(), _BINS, low, high) / v.numel() for v in (x, past)]
    return (counts[0] - counts[1]).abs().sum() / 2
