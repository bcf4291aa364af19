"""The one quantizer: grid + range source + rounding, with an explicit ``initialized`` state."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vsrq.errors import CalibrationError, ConfigError, check_keys
from vsrq.quant.autograd import Gradient, Grid, fake_quantize_with_gradient, straight_through
from vsrq.quant.calibratable import Calibratable
from vsrq.quant.functional import (
    affine_qparams,
    fake_quantize,
    grid_limits,
    is_exporting,
    nearest_power_of_two,
    symmetric_qparams,
)
from vsrq.quant.observers import MinMaxObserver, build_observer
from vsrq.quant.weight_cache import cached

FLOAT_BITS = 32
ALLOWED_BITS = (*range(2, 9), FLOAT_BITS)
NEGATIVE_TOLERANCE = -1e-5  # below it, 'auto' decides for a signed grid (QuantSR's released rule)

MIN_FACTOR = 1e-2  # a learned step may shrink, but not vanish or change its sign


class QParams(NamedTuple):
    """Everything simulation and export need to know of a grid."""

    scale: Tensor
    zero_point: Tensor
    qmin: int
    qmax: int


def rounding_sharpness(rounding: dict[str, Any] | None) -> float:
    """Return k of the soft rounding a config asks for, 0 for the straight-through estimator.

    Raises:
        ConfigError: The type or a key is unknown, or k is not positive.
    """
    if rounding is None:
        return 0.0
    check_keys(rounding, ["type", "sharpness"], "rounding")
    kind, sharpness = rounding.get("type"), rounding.get("sharpness", 1.0)
    if kind != "tanh":
        raise ConfigError(f"rounding type must be 'tanh', or rounding None, got {kind!r}.")
    if not isinstance(sharpness, (int, float)) or not 0 < sharpness < 100:
        raise ConfigError(f"sharpness must lie in (0, 100), got {sharpness!r}.")
    return float(sharpness)


class Redistributed(nn.Module):
    """What quantizers share that may shift their input before they quantize it."""

    def shift_of(self, channels: slice | None) -> Tensor | None:
        """Return the learned shift of RLQ for all or for some channels; ``None`` if there is none."""
        raise NotImplementedError

    def quantize(self, x: Tensor) -> Tensor:
        """Quantize and dequantize ``x`` without shifting it."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Shift, quantize and dequantize ``x``, any shape; observes it first while calibration is on."""
        return self.quantize(self.redistribute(x))

    def redistribute(self, x: Tensor, channels: slice | None = None) -> Tensor:
        """Add the learned shift of RLQ, if there is one, to ``x`` or to the part of its channels that ``x`` is."""
        shift = self.shift_of(channels)
        return x if shift is None else x + shift


class UniformQuantizer(Redistributed, Calibratable):
    """Uniform quantizer of one tensor.

    Uncalibrated at birth: run data through it inside :func:`vsrq.quant.calibrate.observing`, or load a
    checkpoint. With ``bits=32`` it returns its input unchanged.

    What is learned is relative to the calibrated range, so that one learning rate suits all layers and bit widths:
    the step is ``scale * factor``, the lower end of the grid moves by ``offset`` times its width.

    Args:
        bits: 2 to 8, or 32 for float.
        symmetric: Zero point 0 if true; otherwise an affine grid whose zero point is calibrated.
        signed: Symmetric grids only: two's complement, natural, or decided by the first data (``'auto'``:
            signed if a value lies below -1e-5).
        axis: Channel axis of a per-channel grid, or ``None`` for one grid per tensor.
        num_channels: Size of that axis; required with ``axis``.
        observer: Range source, for instance ``dict(type='MSE')``; see ``vsrq.quant.observers``.
        learn: ``'step'`` learns the step from rounding and clipping (LSQ), with its gradient scaled by
            ``1 / sqrt(N qmax)``; ``'clip'`` from clipped values only (PACT); ``None`` keeps what was calibrated.
        learn_offset: Affine grids that learn their step: learn the lower end as well (LSQ+).
        rounding: ``dict(type='tanh', sharpness=1.0)`` for RLQ's soft rounding in the backward pass; ``None`` is the
            straight-through estimator.
        shift_shape: Shape of a learned shift that is added to the input and not subtracted after (RLQ); ``None`` for
            no shift.
        dynamic: Take the range of each tensor anew, from the observer, instead of calibrating it.
        power_of_two: Only steps that are powers of two.

    Raises:
        ConfigError: A value is outside what is allowed.
    """

    fusible = True  # a convolution may quantize its input by :meth:`grid` alone

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
        learn: Literal["step", "clip"] | None = None,
        learn_offset: bool = False,
        rounding: dict[str, Any] | None = None,
        shift_shape: tuple[int, ...] | None = None,
        dynamic: bool = False,
        power_of_two: bool = False,
    ) -> None:
        super().__init__()
        if bits not in ALLOWED_BITS or isinstance(bits, bool):
            raise ConfigError(f"bits must be one of {', '.join(map(str, ALLOWED_BITS))}, got {bits!r}.")
        if signed not in (True, False, "auto"):
            raise ConfigError(f"signed must be True, False or 'auto', got {signed!r}.")
        if (axis is None) != (num_channels is None):
            raise ConfigError(f"axis and num_channels go together, got axis={axis}, num_channels={num_channels}.")
        if learn not in (None, "step", "clip"):
            raise ConfigError(f"learn must be 'step', 'clip' or None, got {learn!r}.")
        if learn_offset and (symmetric or learn is None):
            raise ConfigError("learn_offset needs an affine grid (symmetric=False) and learn='step' or 'clip'.")
        if dynamic and learn is not None:
            raise ConfigError(f"a dynamic range is not learned; remove learn={learn!r} or dynamic=True.")
        if dynamic and symmetric and signed == "auto":
            raise ConfigError("a dynamic symmetric grid needs signed=True or False: its sign cannot follow the data.")
        self.bits = bits
        self.symmetric = symmetric
        self.signed = signed
        self.axis = axis
        self.learn = learn
        self.dynamic = dynamic
        self.power_of_two = power_of_two
        self.sharpness = rounding_sharpness(rounding)
        self.observer_config = dict(observer or {"type": "MSE"})
        # a wrong config fails here and not at calibration
        if build_observer(self.observer_config, axis=axis).symmetric_only and not symmetric:
            raise ConfigError(f"observer {self.observer_config['type']} needs a symmetric grid; set symmetric=True.")
        self.observer: MinMaxObserver | None = None
        size = num_channels or 1
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size, dtype=torch.int32))
        quantizes = bits != FLOAT_BITS
        self.factor = nn.Parameter(torch.ones(size)) if quantizes and learn else None
        self.offset = nn.Parameter(torch.zeros(size)) if quantizes and learn_offset else None
        self.shift = nn.Parameter(torch.zeros(shift_shape)) if quantizes and shift_shape else None
        # (initialized, signed) as a buffer, so that a checkpoint carries both; mirrored in plain attributes
        # because reading a tensor in every forward would stall a GPU.
        self.register_buffer("_flags", torch.zeros(2, dtype=torch.bool))
        self._initialized = False
        self._grid_signed = bool(dynamic and signed is True)
        self._stale = False

    @property
    def initialized(self) -> bool:
        """Whether the quantizer has a range."""
        return self._initialized or self.dynamic or self.bits == FLOAT_BITS

    def limits(self) -> tuple[int, int]:
        """Return ``(qmin, qmax)``; affine grids use natural codes."""
        return grid_limits(self.bits, signed=self.symmetric and self._grid_signed)

    def qparams(self, x: Tensor | None = None) -> QParams:
        """Return scale, zero point and code limits: the only source for simulation and export.

        Args:
            x: The tensor to be quantized; needed, and looked at, by dynamic ranges only.

        Raises:
            CalibrationError: The quantizer has no range yet.
            ConfigError: ``bits`` is 32, which has no grid, or the range is dynamic and ``x`` is missing.
        """
        grid = self._grid(x)
        return QParams(grid.scale, grid.zero_point, grid.qmin, grid.qmax)

    def shift_of(self, channels: slice | None) -> Tensor | None:
        """Return the learned shift of RLQ for all or for some channels; ``None`` if there is none."""
        return self.shift if self.shift is None or channels is None else self.shift[:, channels]

    def quantize(self, x: Tensor) -> Tensor:
        """Quantize and dequantize ``x`` without shifting it."""
        if self.bits == FLOAT_BITS:
            return x
        if self.observer is not None:
            self.observe(x)
            self._refresh()
        if self.transparent:
            return x
        if self.trains(x):
            return fake_quantize_with_gradient(x, self.grid(x))
        return fake_quantize(x, *self.qparams(x), axis=self.axis)

    def trains(self, x: Tensor) -> bool:
        """Whether quantizing ``x`` now must leave a graph for gradients, for which vsrq has rules of its own."""
        if self.bits == FLOAT_BITS or not torch.is_grad_enabled() or is_exporting():
            return False
        return x.requires_grad or (self.factor is not None and self.factor.requires_grad)

    def grid(self, x: Tensor) -> Grid:
        """Return the grid on which ``x`` is to be quantized in training, with its gradient rule."""
        grid = self._grid(x)
        scale = (x.numel() / grid.scale.numel() * grid.qmax) ** -0.5 if self.learn == "step" else 1.0
        return grid._replace(gradient=Gradient(self.sharpness, self.learn == "clip", scale))

    def _grid(self, x: Tensor | None) -> Grid:
        if self.bits == FLOAT_BITS:
            raise ConfigError("a 32-bit quantizer has no grid; check `bits` before asking for qparams.")
        qmin, qmax = self.limits()
        if self.dynamic:
            scale, zero_point = self._dynamic_qparams(x)
            return Grid(scale, None, zero_point, qmin, qmax, self.axis)
        if not self._initialized:
            raise CalibrationError(
                f"{self.name} is not calibrated; run vsrq.quant.calibrate on clips or load a quantized checkpoint."
            )
        if self.factor is None:
            return Grid(self.scale, None, self.zero_point, qmin, qmax, self.axis)
        if self.observer is not None:  # the range may change
            return self._learned_grid(qmin, qmax)
        return cached(self, "grid", lambda: self._learned_grid(qmin, qmax))

    def share_grid(self) -> None:
        """Make the learned grid, if there is one, before the first call that shares it inside a block of
        :func:`vsrq.quant.weight_cache.quantize_weights_once`.
        """
        if self.factor is not None and self._initialized:
            UniformQuantizer._grid(self, None)

    def _learned_grid(self, qmin: int, qmax: int) -> Grid:
        assert self.factor is not None
        step = self.scale * straight_through(self.factor, self.factor.clamp(min=MIN_FACTOR))
        if self.power_of_two:
            step = straight_through(step, nearest_power_of_two(step))
        if self.offset is None:
            return Grid(step, None, self.zero_point, qmin, qmax, self.axis)
        low = self.scale * (self.offset * (qmax - qmin) + (qmin - self.zero_point))
        zero_point = (qmin - torch.round(low.detach() / step.detach())).clamp(qmin, qmax).to(torch.int32)
        return Grid(step, low, zero_point, qmin, qmax, self.axis)

    @torch.no_grad()
    def _dynamic_qparams(self, x: Tensor | None) -> tuple[Tensor, Tensor]:
        if x is None:
            raise ConfigError(
                f"{self.name} takes its range from each tensor, so it has no constant scale to export. Calibrate with "
                "dynamic=False for that."
            )
        observer = build_observer(self.observer_config, axis=self.axis)
        self._update(observer, x)
        return self._fit(observer)

    def start_observing(self, *, first_pass: bool) -> None:
        """Begin a pass with a fresh observer; the former range is replaced by the first call."""
        if self.bits != FLOAT_BITS and not self.dynamic:
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
        self._update(self.observer, x)
        self._stale = True

    def _update(self, observer: MinMaxObserver, x: Tensor) -> None:
        try:
            observer.update(x)
        except CalibrationError as error:
            raise CalibrationError(f"{self.name}: {error}") from None

    def _fit(self, observer: MinMaxObserver) -> tuple[Tensor, Tensor]:
        """Return scale and zero point of the grid that fits what was observed."""
        qmin, qmax = self.limits()
        ends = observer.range(qmin, qmax, symmetric=self.symmetric, power_of_two=self.power_of_two)
        make = symmetric_qparams if self.symmetric else affine_qparams
        return make(*ends, qmin, qmax, power_of_two=self.power_of_two)

    @torch.no_grad()
    def _refresh(self) -> None:
        """Fit the grid to what was observed, if anything is new: the search is dearer than the observation."""
        if not self._stale or self.observer is None:
            return
        self._stale = False
        self._set_flags(initialized=True, signed=self._decide_sign(self.observer.extremes()[0]))
        scale, zero_point = self._fit(self.observer)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)
        if self.factor is not None:
            self.factor.fill_(1)
        if self.offset is not None:
            self.offset.fill_(0)

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
        extra = {
            f"learned {self.learn}": self.learn,
            "learned offset": self.offset is not None,
            f"soft rounding (k={self.sharpness:g})": self.sharpness,
            "learned shift": self.shift is not None,
            "power of two": self.power_of_two,
        }
        state = "dynamic" if self.dynamic else "calibrated" if self._initialized else "not calibrated"
        parts = [f"bits={self.bits}", kind, f"signed={self.signed}", where, self.observer_config["type"]]
        return ", ".join([*parts, *(text for text, used in extra.items() if used), state])


class WeightQuantizer(UniformQuantizer):
    """Quantizer of a parameter: calibration looks at it once, for it does not change between calls or passes."""

    def forward(self, x: Tensor) -> Tensor:
        """Quantize ``x``, once per :func:`vsrq.quant.weight_cache.quantize_weights_once` block."""
        if self.bits == FLOAT_BITS or self.observer is not None:
            return super().forward(x)
        return cached(self, "weight", lambda: super(WeightQuantizer, self).forward(x))

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
