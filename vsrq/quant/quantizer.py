"""The one quantizer: grid + range source + rounding, with an explicit ``initialized`` state."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from vsrq.errors import CalibrationError, ConfigError
from vsrq.quant.calibratable import Calibratable
from vsrq.quant.functional import affine_qparams, fake_quantize, grid_limits, symmetric_qparams
from vsrq.quant.observers import MinMaxObserver, build_observer

FLOAT_BITS = 32
ALLOWED_BITS = (*range(2, 9), FLOAT_BITS)
NEGATIVE_TOLERANCE = -1e-5  # below it, 'auto' decides for a signed grid (QuantSR's released rule)


class QParams(NamedTuple):
    """Everything simulation and export need to know of a grid."""

    scale: Tensor
    zero_point: Tensor
    qmin: int
    qmax: int


class UniformQuantizer(Calibratable):
    """Uniform quantizer of one tensor.

    Uncalibrated at birth: run data through it inside :func:`vsrq.quant.calibrate.observing`, or load a
    checkpoint. With ``bits=32`` it returns its input unchanged.

    Args:
        bits: 2 to 8, or 32 for float.
        symmetric: Zero point 0 if true; otherwise an affine grid whose zero point is calibrated.
        signed: Symmetric grids only: two's complement, natural, or decided by the first data (``'auto'``:
            signed if a value lies below -1e-5).
        axis: Channel axis of a per-channel grid, or ``None`` for one grid per tensor.
        num_channels: Size of that axis; required with ``axis``.
        observer: Range source, for instance ``dict(type='MSE')``; see ``vsrq.quant.observers``.

    Raises:
        ConfigError: A value is outside what is allowed.
    """

    scale: Tensor
    zero_point: Tensor
    _flags: Tensor

    def __init__(
        self,
        *,
        bits: int = 8,
        symmetric: bool = True,
        signed: bool | Literal["auto"] = "auto",
        axis: int | None = None,
        num_channels: int | None = None,
        observer: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if bits not in ALLOWED_BITS or isinstance(bits, bool):
            raise ConfigError(f"bits must be one of {', '.join(map(str, ALLOWED_BITS))}, got {bits!r}.")
        if signed not in (True, False, "auto"):
            raise ConfigError(f"signed must be True, False or 'auto', got {signed!r}.")
        if (axis is None) != (num_channels is None):
            raise ConfigError(f"axis and num_channels go together, got axis={axis}, num_channels={num_channels}.")
        self.bits = bits
        self.symmetric = symmetric
        self.signed = signed
        self.axis = axis
        self.observer_config = dict(observer or {"type": "MSE"})
        build_observer(self.observer_config, axis=axis)  # a wrong config fails here and not at calibration
        self.observer: MinMaxObserver | None = None
        size = num_channels or 1
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size, dtype=torch.int32))
        # (initialized, signed) as a buffer, so that a checkpoint carries both; mirrored in plain attributes
        # because reading a tensor in every forward would stall a GPU.
        self.register_buffer("_flags", torch.zeros(2, dtype=torch.bool))
        self._initialized = False
        self._grid_signed = False
        self._stale = False

    @property
    def initialized(self) -> bool:
        """Whether the quantizer has a range."""
        return self._initialized or self.bits == FLOAT_BITS

    def limits(self) -> tuple[int, int]:
        """Return ``(qmin, qmax)``; affine grids use natural codes."""
        return grid_limits(self.bits, signed=self.symmetric and self._grid_signed)

    def qparams(self) -> QParams:
        """Return scale, zero point and code limits: the only source for simulation and export.

        Raises:
            CalibrationError: The quantizer has no range yet.
            ConfigError: ``bits`` is 32, which has no grid.
        """
        if self.bits == FLOAT_BITS:
            raise ConfigError("a 32-bit quantizer has no grid; check `bits` before asking for qparams.")
        if not self._initialized:
            raise CalibrationError(
                f"{self.name} is not calibrated; run vsrq.quant.calibrate on clips or load a quantized checkpoint."
            )
        return QParams(self.scale, self.zero_point, *self.limits())

    def forward(self, x: Tensor) -> Tensor:
        """Quantize and dequantize ``x``, any shape; observes it first while calibration is on."""
        if self.bits == FLOAT_BITS:
            return x
        if self.observer is not None:
            self.observe(x)
            self._refresh()
        return fake_quantize(x, *self.qparams(), axis=self.axis)

    def start_observing(self, *, first_pass: bool) -> None:
        """Begin a pass with a fresh observer; the former range is replaced by the first call."""
        if self.bits != FLOAT_BITS:
            self.observer = build_observer(self.observer_config, axis=self.axis)

    def stop_observing(self) -> None:
        """Keep the range and free the observer."""
        self._refresh()
        self.observer = None

    def problem(self) -> str | None:
        """Say why what was observed gives no usable range; ``None`` if it does."""
        if self.bits == FLOAT_BITS or self.observer is None:
            return None
        if self.observer.low is None:
            return "saw no data" if self.required else None
        low, high = self.observer.extremes()
        if (low == high).all():
            return f"constant value {low.flatten()[0].item():g}"
        return None

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Take ``x`` into the range without quantizing it.

        Raises:
            CalibrationError: ``x`` is empty or not finite.
        """
        if self.bits == FLOAT_BITS or self.observer is None:
            return
        try:
            self.observer.update(x)
        except CalibrationError as error:
            raise CalibrationError(f"{self.name}: {error}") from None
        self._stale = True

    @torch.no_grad()
    def _refresh(self) -> None:
        """Fit the grid to what was observed, if anything is new: the search is dearer than the observation."""
        if not self._stale or self.observer is None:
            return
        self._stale = False
        self._set_flags(initialized=True, signed=self._decide_sign(self.observer.extremes()[0]))
        qmin, qmax = self.limits()
        ends = self.observer.range(qmin, qmax, symmetric=self.symmetric)
        make = symmetric_qparams if self.symmetric else affine_qparams
        scale, zero_point = make(*ends, qmin, qmax)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)

    def _decide_sign(self, low: Tensor) -> bool:
        if self.signed == "auto":
            return bool((low < NEGATIVE_TOLERANCE).any())
        return bool(self.signed)

    def _set_flags(self, *, initialized: bool, signed: bool) -> None:
        if (initialized, signed) != (self._initialized, self._grid_signed):
            self._flags.copy_(torch.tensor([initialized, signed]))
            self._initialized, self._grid_signed = initialized, signed

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._initialized, self._grid_signed = (bool(flag) for flag in self._flags)

    def extra_repr(self) -> str:
        """The recipe in one line."""
        if self.bits == FLOAT_BITS:
            return "bits=32 (float)"
        kind = "symmetric" if self.symmetric else "affine"
        where = "per tensor" if self.axis is None else f"per channel (axis {self.axis})"
        state = "calibrated" if self._initialized else "not calibrated"
        return f"bits={self.bits}, {kind}, signed={self.signed}, {where}, {self.observer_config['type']}, {state}"


class WeightQuantizer(UniformQuantizer):
    """Quantizer of a parameter: calibration looks at it once, for it does not change between calls or passes."""

    def start_observing(self, *, first_pass: bool) -> None:
        """Begin the first pass with a fresh observer; later passes keep what it found."""
        if first_pass or not self.initialized:
            super().start_observing(first_pass=first_pass)

    def observe(self, x: Tensor) -> None:
        """Take ``x`` into the range, unless this calibration has seen it."""
        if self.observer is not None and self.observer.low is None:
            super().observe(x)

    def problem(self) -> str | None:
        """As for activations, but a constant weight is no mistake: untrained offset layers hold only zeros."""
        unseen = self.observer is not None and self.observer.low is None
        return super().problem() if unseen else None
