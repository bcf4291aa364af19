"""Residual layers: key frames at full cost, then only the change since the last call.

A layer f(x) = W x + b is linear, so with the prediction ``a x^_{t-1}`` of its input (first-order DPCM, closed loop)

    r_t = x_t - a x^_{t-1};   x^_t = a x^_{t-1} + Q_r(r_t);   z_t = a z_{t-1} + W_r Q_r(r_t);   y_t = z_t + b

``x^`` is the reconstructed input and ``z`` the accumulated output. Quantization errors of the activations fade
with ``a`` and do not pile up. a = 1 is ResQ (ICCV 2023) with a closed loop, a = 0 is frame quantization.
An open loop has ``x_{t-1}`` in the place of ``x^_{t-1}``; with a key frame as the reference, t-1 is that frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from vsrq.ops.partial_conv import part_of
from vsrq.quant.functional import is_exporting
from vsrq.quant.grouped import ActQuantizer
from vsrq.quant.layers import QuantConv2d, QuantLayer, QuantLinear, weight_quantizer
from vsrq.quant.quantizer import WeightQuantizer
from vsrq.quant.recorder import is_recording
from vsrq.residual.coding import Coding
from vsrq.residual.listen import current_listener
from vsrq.residual.prediction import LeakyPrediction
from vsrq.residual.schedule import KeyFrameSchedule
from vsrq.residual.state import Memory, current_state, join_samples
from vsrq.residual.storage import Storage
from vsrq.residual.tiles import TileQuantizer
from vsrq.residual.triggers import Evidence, KeyTrigger, grow_drift


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that makes a quantized layer a residual one.

    Attributes:
        weight: Config of the residual weight quantizer.
        act: Quantizer of the residual.
        prediction: The coefficient.
        schedule: Which calls are key frames.
        trigger: What else asks for a key frame, or ``None``.
        coding: Reference and loop.
        storage: Form of the memory.
    """

    weight: dict[str, Any]
    act: ActQuantizer | TileQuantizer
    prediction: LeakyPrediction
    schedule: KeyFrameSchedule
    trigger: KeyTrigger | None
    coding: Coding
    storage: Storage


class ResidualLayer(QuantLayer):
    """A quantized layer with a second pair of quantizers for residuals.

    Outside of a :func:`vsrq.residual.temporal` block there is no past, and every call is a key frame.

    Attributes:
        residual_weight_quantizer: Weight grid of residual calls.
        residual_act_quantizer: Grid of the residual; signed data even after a ReLU.
        prediction: The coefficient ``a``.
        schedule: Which calls are key frames.
        trigger: What else asks for a key frame, or ``None``.
        coding: Reference and loop.
        storage: Form of the memory.
    """

    residual_weight_quantizer: WeightQuantizer
    residual_act_quantizer: ActQuantizer | TileQuantizer
    prediction: LeakyPrediction
    schedule: KeyFrameSchedule
    trigger: KeyTrigger | None
    coding: Coding
    storage: Storage

    @classmethod
    def from_quant(cls, layer: QuantLayer, recipe: Recipe) -> ResidualLayer:
        """Take over a frame-quantized layer; its parameters and quantizers are shared, not copied."""
        device = layer.weight.device
        new = cls.__new__(cls)
        new.__dict__.update(layer.__dict__)
        new._modules = dict(layer._modules)  # its own: what is added here must not appear in ``layer``
        new._parameters = dict(layer._parameters)
        new.residual_weight_quantizer = weight_quantizer(recipe.weight, layer.weight)
        new.residual_act_quantizer = recipe.act.to(device)
        new.prediction = recipe.prediction.to(device)
        new.schedule = recipe.schedule
        new.trigger = recipe.trigger
        new.coding = recipe.coding
        new.storage = recipe.storage
        if recipe.schedule.period == 1:  # they never run
            new.residual_weight_quantizer.required = new.residual_act_quantizer.required = False
        return new

    def forward(self, x: Tensor, channels: slice | None = None) -> Tensor:
        """Run one call; see the module's docstring for the maths.

        Args:
            x: The input, or a part of its channels.
            channels: Which part; see :class:`vsrq.ops.partial_conv.PartialConv2d`. Each part needs a call site of
                its own.
        """
        if self.schedule.period == 1:  # every call stands on its own: frame quantization, and nothing to remember
            return super().forward(x, *([] if channels is None else [channels]))
        x = self.act_quantizer.redistribute(x, channels)  # what is remembered and predicted includes the shift
        state = current_state()
        memory = Memory() if state is None else state.memory(self)
        if not memory.fits(x):
            memory.clear()
        if self.coding.truncate and memory.calls % self.coding.truncate == 0:
            memory.detach_()
        if memory.input is None or self.schedule.is_key(memory.calls):
            z = self._key(x, memory, channels)
        elif self.trigger is None or self.residual_act_quantizer.observer is not None:  # calibrate on residuals
            z = self._residual(x, memory, channels)
        else:
            z = self._triggered(x, memory, channels, self.trigger)
        memory.calls += 1
        memory.dtype = x.dtype
        # a new tensor in any case: z is remembered, and an in-place activation may follow
        return z.clone() if channels is not None and channels.start else self.add_bias(z)

    def _key(self, x: Tensor, memory: Memory, channels: slice | None) -> Tensor:
        quantized = self.act_quantizer.quantize(x)
        weight, _ = part_of(channels, self.weight_quantizer(self.weight), None)
        z = self.linear(quantized, weight)
        self.report("key", z, self.weight_quantizer.bits, self.act_quantizer.bits, share=self._share(weight))
        # in float mode the quantizer returns x itself, which an in-place activation may overwrite later
        kept = x.clone() if quantized is x or self.coding.loop == "open" else quantized
        self._remember(memory, kept, z)
        if self.trigger is not None:
            memory.drift = z.new_zeros(len(z))
        return z

    def _residual(self, x: Tensor, memory: Memory, channels: slice | None) -> Tensor:
        past = self.storage.unpack_input(cast(Tensor, memory.input), self.act_quantizer, x.dtype)
        if self.residual_act_quantizer.observer is not None:
            self.prediction.observe(x, past)
            self.act_quantizer.observe(x)
        a_in, a_out = self.coefficients()
        update = self.coding.reference == "prev"
        # what is about to be replaced may be overwritten, unless somebody still needs its graph
        reuse = update and not (torch.is_grad_enabled() or past.requires_grad or is_exporting())
        predicted = past.mul_(a_in) if reuse else a_in * past
        residual = x - predicted
        change = self.residual_act_quantizer.quantize(residual)
        weight, _ = part_of(channels, self.residual_weight_quantizer(self.weight), None)
        z = self.linear(change, weight)
        self._report_residual(x, residual, change, z, self._share(weight))
        if self.trigger is not None:
            self._grow_drift(memory, residual, change)
        output = cast(Tensor, memory.output).to(z.dtype)
        z = output.mul_(a_out).add_(z) if reuse else a_out * output + z
        if update:
            closed = self.coding.loop == "closed"
            known = (predicted.add_(change) if reuse else predicted + change) if closed else x.clone()
            self._remember(memory, known, z)
        return z

    def _triggered(self, x: Tensor, memory: Memory, channels: slice | None, trigger: KeyTrigger) -> Tensor:
        """Let every sample of the batch have the call it needs."""
        past = self.storage.unpack_input(cast(Tensor, memory.input), self.act_quantizer, x.dtype)
        residual = x - self.coefficients()[0] * past
        keys = trigger(Evidence(x, residual, past, self.residual_act_quantizer, cast(Tensor, memory.drift)))
        if keys.all():
            return self._key(x, memory, channels)
        if not keys.any():
            return self._residual(x, memory, channels)
        parts, outputs = [], []
        for mask, run in ((keys, self._key), (~keys, self._residual)):
            part = memory.select(mask)
            outputs.append((mask, run(x[mask], part, channels)))
            parts.append((mask, part))
        memory.merge(parts)
        return join_samples(outputs)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Return the coefficient as it multiplies the input, and as it multiplies the output."""
        a = self.prediction()
        if a.dim() == 0:
            return a, a
        c_in, c_out = self.weight.shape[1] * len(a), self.weight.shape[0]
        return a.repeat_interleave(c_in // len(a))[:, None, None], a.repeat_interleave(c_out // len(a))[:, None, None]

    def _remember(self, memory: Memory, x: Tensor, z: Tensor) -> None:
        memory.input, memory.output = self.storage.pack_input(x, self.act_quantizer), self.storage.pack_output(z)

    def _share(self, weight: Tensor) -> float:
        return weight.shape[1] / self.weight.shape[1]

    def _grow_drift(self, memory: Memory, residual: Tensor, change: Tensor) -> None:
        with torch.no_grad():
            key_weight = self.weight_quantizer(self.weight)
            error = (self.residual_weight_quantizer(self.weight) - key_weight).square().sum()
            error = error / key_weight.square().sum().clamp(min=1e-30)
            rounding = residual - change if self.coding.loop == "open" else None
            memory.drift = grow_drift(cast(Tensor, memory.drift), self.prediction(), change, error, rounding)

    def _report_residual(self, x: Tensor, residual: Tensor, change: Tensor, z: Tensor, share: float) -> None:
        # difference, prediction and reconstruction of the input; scaling and accumulation of the output
        extra = 3 * x.numel() + 2 * z.numel()
        quantizer = self.residual_act_quantizer
        bits: float = quantizer.bits
        if isinstance(quantizer, TileQuantizer) and is_recording():
            bits = quantizer.average_bits(change)
        self.report("residual", z, self.residual_weight_quantizer.bits, bits, share=share, elementwise=extra)
        listener = current_listener()
        if listener is not None:
            listener.residual_call(self, x, residual, change)


class ResidualConv2d(ResidualLayer, QuantConv2d):
    """Convolution on the change since the last call; input ``(n, c, h, w)``."""


class ResidualLinear(ResidualLayer, QuantLinear):
    """Fully connected layer on the change since the last call; input ``(..., in_features)``."""


RESIDUAL_LAYERS: dict[type[QuantLayer], type[ResidualLayer]] = {
    QuantConv2d: ResidualConv2d,
    QuantLinear: ResidualLinear,
}
