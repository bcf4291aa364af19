"""Observers: what range a tensor takes over a stream of calls, and which part of it a grid should cover."""

from __future__ import annotations

import torch
from torch import Tensor

from vsrq.errors import CalibrationError, ConfigError, check_keys, did_you_mean
from vsrq.quant.functional import mse_range


def _as_channels(x: Tensor, axis: int | None) -> Tensor:
    """View ``x`` as ``(channels, values)``; one row when there is no channel axis."""
    x = x.detach()
    if axis is None:
        return x.reshape(1, -1)
    return x.movedim(axis, 0).flatten(1)


class MinMaxObserver:
    """Smallest and largest value seen.

    Args:
        axis: Channel axis, or ``None`` for one range per tensor.

    Attributes:
        symmetric_only: Whether only a symmetric grid can use the range.
    """

    symmetric_only = False

    def __init__(self, *, axis: int | None = None) -> None:
        self.axis = axis
        self.low: Tensor | None = None
        self.high: Tensor | None = None

    def update(self, x: Tensor) -> None:
        """Take in one tensor.

        Raises:
            CalibrationError: ``x`` is empty or holds NaN or infinity.
        """
        values = _as_channels(x, self.axis)
        if values.numel() == 0:
            raise CalibrationError("calibration data are empty; feed at least one non-empty clip.")
        low, high = values.amin(1).float(), values.amax(1).float()
        if not (torch.isfinite(low).all() and torch.isfinite(high).all()):
            raise CalibrationError(
                "calibration data hold NaN or infinity; check the clips and the float network before calibrating."
            )
        self._merge(values, low, high)

    def _merge(self, values: Tensor, low: Tensor, high: Tensor) -> None:
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)

    def range(self, qmin: int, qmax: int, *, symmetric: bool, power_of_two: bool = False) -> tuple[Tensor, Tensor]:
        """Return the ends to cover, shape ``(c,)`` each, with ``low <= 0 <= high``.

        Args:
            qmin: Smallest code of the grid.
            qmax: Largest code of the grid.
            symmetric: Whether the grid has its zero point at 0.
            power_of_two: Whether the grid's step is rounded to a power of two.

        Raises:
            CalibrationError: Nothing was observed.
        """
        low, high = self.extremes()
        return low.clamp(max=0), high.clamp(min=0)

    def extremes(self) -> tuple[Tensor, Tensor]:
        """Return the extremes as observed, shape ``(c,)`` each."""
        if self.low is None or self.high is None:
            raise CalibrationError("nothing was observed; run the calibration clips through the layer.")
        return self.low, self.high


class EMAMinMaxObserver(MinMaxObserver):
    """Exponential moving average of each call's extremes.

    Args:
        axis: Channel axis, or ``None`` for one range per tensor.
        momentum: Weight of the newest call, in (0, 1].
    """

    def __init__(self, *, axis: int | None = None, momentum: float = 0.1) -> None:
        super().__init__(axis=axis)
        if not 0 < momentum <= 1:
            raise ConfigError(f"momentum must lie in (0, 1], got {momentum}.")
        self.momentum = momentum

    def _merge(self, values: Tensor, low: Tensor, high: Tensor) -> None:
        if self.low is None or self.high is None:
            self.low, self.high = low, high
        else:
            self.low = self.low.lerp(low, self.momentum)
            self.high = self.high.lerp(high, self.momentum)


class MeanAbsObserver(MinMaxObserver):
    """Mean magnitude: LSQ's initial step ``2 mean|v| / sqrt(qmax)``, for symmetric grids.

    Args:
        axis: Channel axis, or ``None`` for one range per tensor.

    Reference: Esser et al., Learned Step Size Quantization (ICLR 2020).
    """

    symmetric_only = True

    def __init__(self, *, axis: int | None = None) -> None:
        super().__init__(axis=axis)
        self.total: Tensor | None = None
        self.count = 0

    def _merge(self, values: Tensor, low: Tensor, high: Tensor) -> None:
        super()._merge(values, low, high)
        total = values.abs().sum(1, dtype=torch.float64)
        self.total = total if self.total is None else self.total + total
        self.count += values.shape[1]

    def range(self, qmin: int, qmax: int, *, symmetric: bool, power_of_two: bool = False) -> tuple[Tensor, Tensor]:
        """See :meth:`MinMaxObserver.range`."""
        self.extremes()
        mean = (self.total / self.count).float()  # type: ignore[operator,union-attr]
        step = 2 * mean / qmax**0.5
        return step * qmin, step * qmax


MAX_COUNTED = 2**16  # values per channel and call that enter a histogram; the extremes are always exact


class HistogramObserver(MinMaxObserver):
    """Distribution of the values, per tensor or per channel; base of percentile and MSE.

    The bins are laid anew, wider, whenever a value falls outside; memory does not grow with the data.
    Of a large tensor evenly spaced values are counted.

    Args:
        axis: Channel axis, or ``None`` for one range per tensor.
        bins: Number of bins per channel.
    """

    def __init__(self, *, axis: int | None = None, bins: int = 1024) -> None:
        super().__init__(axis=axis)
        if bins < 64:
            raise ConfigError(f"bins must be 64 or more, got {bins}.")
        self.bins = bins
        self.counts: Tensor | None = None
        self.edges: tuple[Tensor, Tensor] | None = None

    def _merge(self, values: Tensor, low: Tensor, high: Tensor) -> None:
        super()._merge(values, low, high)
        if self.counts is None or self.edges is None:
            self.counts = torch.zeros(len(values), self.bins, device=values.device, dtype=torch.float64)
            self.edges = low.clone(), torch.maximum(high, low + 1e-12)
        start, stop = self.edges
        if (low < start).any() or (high > stop).any():
            self._widen(low, high)
        stride = -(-values.shape[1] // MAX_COUNTED) | 1  # odd, so as not to fall in step with a row of pixels
        self._count(values[:, ::stride].float())

    def _widen(self, low: Tensor, high: Tensor) -> None:
        """Lay the bins over a range wide enough for the new extremes, with room to spare."""
        centres, counts = self.samples()
        start, stop = torch.minimum(self.edges[0], low), torch.maximum(self.edges[1], high)  # type: ignore[index]
        slack = (stop - start) / 4
        start = torch.where(low < self.edges[0], start - slack * (start < 0), start)  # type: ignore[index]
        stop = torch.where(high > self.edges[1], stop + slack, stop)  # type: ignore[index]
        self.edges = start, stop
        self.counts = torch.zeros_like(counts, dtype=torch.float64)
        self._count(centres, counts)

    def _count(self, values: Tensor, weights: Tensor | None = None) -> None:
        start, stop = (edge[:, None] for edge in self.edges)  # type: ignore[union-attr]
        index = ((values - start) * (self.bins / (stop - start))).long().clamp_(0, self.bins - 1)
        index += torch.arange(len(values), device=values.device)[:, None] * self.bins
        flat = None if weights is None else weights.flatten().double()
        found = torch.bincount(index.flatten(), flat, minlength=len(values) * self.bins)
        self.counts = self.counts + found.view(len(values), self.bins)  # type: ignore[operator]

    def samples(self) -> tuple[Tensor, Tensor]:
        """Return bin centres and counts, both ``(c, bins)``; the bin that holds 0 is centred on 0 exactly."""
        self.extremes()
        start, stop = self.edges  # type: ignore[misc]
        width = (stop - start) / self.bins
        position = torch.arange(self.bins, device=start.device) + 0.5
        centres = start[:, None] + width[:, None] * position
        centres = torch.where(centres.abs() <= width[:, None] / 2, 0.0, centres)
        return centres, self.counts.float()  # type: ignore[union-attr]


class PercentileObserver(HistogramObserver):
    """Covers the central part of the distribution.

    Args:
        axis: Channel axis, or ``None`` for one range per tensor.
        bins: Number of bins per channel.
        percentile: Share of values at or below the upper end, in percent, in (50, 100]; the lower end mirrors it.
    """

    def __init__(self, *, axis: int | None = None, bins: int = 1024, percentile: float = 99.9) -> None:
        super().__init__(axis=axis, bins=bins)
        if not 50 < percentile <= 100:
            raise ConfigError(f"percentile must lie in (50, 100], got {percentile}.")
        self.percentile = percentile

    def range(self, qmin: int, qmax: int, *, symmetric: bool, power_of_two: bool = False) -> tuple[Tensor, Tensor]:
        """See :meth:`MinMaxObserver.range`."""
        low, high = self.extremes()
        centres, counts = self.samples()
        share = counts.cumsum(1) / counts.sum(1, keepdim=True)
        p = self.percentile / 100
        first = (share >= 1 - p).int().argmax(1, keepdim=True)
        last = (share >= p - 1e-9).int().argmax(1, keepdim=True)
        low = torch.maximum(low, centres.gather(1, first)[:, 0]) if p < 1 else low
        high = torch.minimum(high, centres.gather(1, last)[:, 0]) if p < 1 else high
        return low.clamp(max=0), high.clamp(min=0)


class MSEObserver(HistogramObserver):
    """Covers the range whose grid reproduces the values with the smallest squared error.

    Args:
        axis: Channel axis, or ``None`` for one range per tensor.
        bins: Number of bins per channel.
    """

    def range(self, qmin: int, qmax: int, *, symmetric: bool, power_of_two: bool = False) -> tuple[Tensor, Tensor]:
        """See :meth:`MinMaxObserver.range`."""
        return mse_range(*self.samples(), qmin, qmax, symmetric=symmetric, power_of_two=power_of_two)


OBSERVERS: dict[str, type[MinMaxObserver]] = {
    "MinMax": MinMaxObserver,
    "EMAMinMax": EMAMinMaxObserver,
    "MeanAbs": MeanAbsObserver,
    "Percentile": PercentileObserver,
    "MSE": MSEObserver,
}


def build_observer(config: dict, *, axis: int | None) -> MinMaxObserver:
    """Build the observer a config names, for instance ``dict(type='Percentile', percentile=99.9)``.

    Args:
        config: ``type`` (a key of ``OBSERVERS``) and the observer's own arguments.
        axis: Channel axis, or ``None`` for one range per tensor.

    Raises:
        ConfigError: The type or an argument is unknown, or a value is out of range.
    """
    arguments = dict(config)
    name = arguments.pop("type", None)
    if name not in OBSERVERS:
        raise ConfigError(
            f"unknown observer type {name!r}{did_you_mean(name, OBSERVERS)}. Allowed: {', '.join(OBSERVERS)}."
        )
    cls = OBSERVERS[name]
    known = {"EMAMinMax": {"momentum"}, "Percentile": {"bins", "percentile"}, "MSE": {"bins"}}
    check_keys(arguments, known.get(name, set()), f"observer {name}")
    return cls(axis=axis, **arguments)
