"""Residual layers: key frames at full cost, then only the change since the last call.

A layer f(x) = W x + b is linear, so with the prediction ``a x^_{t-1}`` of its input (first-order DPCM, closed loop)

    r_t = x_t - a x^_{t-1};   x^_t = a x^_{t-1} + Q_r(r_t);   z_t = a z_{t-1} + W_r Q_r(r_t);   y_t = z_t + b

``x^`` is the reconstructed input and ``z`` the accumulated output. Quantization errors of the activations fade
with ``a`` and do not pile up. a = 1 is ResQ (ICCV 2023) with a closed loop, a = 0 is frame quantization.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vsrq.quant.layers import QuantConv2d, QuantLayer, QuantLinear, act_quantizer, weight_quantizer
from vsrq.quant.quantizer import UniformQuantizer, WeightQuantizer
from vsrq.residual.prediction import LeakyPrediction
from vsrq.residual.schedule import KeyFrameSchedule
from vsrq.residual.state import Memory, current_state


class ResidualLayer(QuantLayer):
    """A quantized layer with a second pair of quantizers for residuals.

    Outside of a :func:`vsrq.residual.temporal` block there is no past, and every call is a key frame.

    Attributes:
        residual_weight_quantizer: Weight grid of residual calls.
        residual_act_quantizer: Grid of the residual; signed data even after a ReLU.
        prediction: The coefficient ``a``.
        schedule: Which calls are key frames.
    """

    residual_weight_quantizer: WeightQuantizer
    residual_act_quantizer: UniformQuantizer
    prediction: LeakyPrediction
    schedule: KeyFrameSchedule

    @classmethod
    def from_quant(
        cls,
        layer: QuantLayer,
        *,
        weight: dict[str, Any],
        act: dict[str, Any],
        prediction: LeakyPrediction,
        schedule: KeyFrameSchedule,
    ) -> ResidualLayer:
        """Take over a frame-quantized layer.

        Args:
            layer: The layer; its parameters and quantizers are shared, not copied.
            weight: Arguments of the residual weight quantizer.
            act: Arguments of the residual activation quantizer.
            prediction: Coefficient of the layer.
            schedule: Which calls are key frames.
        """
        new = cls.__new__(cls)
        new.__dict__.update(layer.__dict__)
        new._modules = dict(layer._modules)  # its own: what is added here must not appear in ``layer``
        new.residual_weight_quantizer = weight_quantizer(weight, layer.weight)
        new.residual_act_quantizer = act_quantizer(act, None).to(layer.weight.device)
        new.prediction = prediction.to(layer.weight.device)
        new.schedule = schedule
        if schedule.period == 1:  # they never run
            new.residual_weight_quantizer.required = new.residual_act_quantizer.required = False
        return new

    def forward(self, x: Tensor) -> Tensor:
        """Run one call; see the module's docstring for the maths."""
        if self.schedule.period == 1:  # every call stands on its own: frame quantization, and nothing to remember
            return super().forward(x)
        x = self.act_quantizer.redistribute(x)  # what is remembered and predicted includes the shift
        state = current_state()
        memory = Memory() if state is None else state.memory(self)
        if memory.input is not None and not memory.fits(x):
            memory.input, memory.output, memory.calls = None, None, 0
        past = memory.input
        if past is None or self.schedule.is_key(memory.calls):
            y = self._key(x, memory)
        else:
            y = self._residual(x, past, memory)
        memory.calls += 1
        return y

    def _key(self, x: Tensor, memory: Memory) -> Tensor:
        quantized = self.act_quantizer.quantize(x)
        weight = self.weight_quantizer(self.weight)
        # in float mode the quantizer returns x itself, which an in-place activation may overwrite later
        memory.input = x.clone() if quantized is x else quantized
        memory.output = self.linear(quantized, weight)
        self.report("key", memory.output, self.weight_quantizer, self.act_quantizer)
        return self.add_bias(memory.output)

    def _residual(self, x: Tensor, past: Tensor, memory: Memory) -> Tensor:
        if self.residual_act_quantizer.observer is not None:
            self.prediction.observe(x, past)
            self.act_quantizer.observe(x)
        a = self.prediction()
        predicted = a * past
        change = self.residual_act_quantizer(x - predicted)
        z = self.linear(change, self.residual_weight_quantizer(self.weight))
        memory.input, memory.output = predicted + change, a * memory.output + z
        # difference, prediction and reconstruction of the input; scaling and accumulation of the output
        extra = 3 * x.numel() + 2 * z.numel()
        self.report("residual", z, self.residual_weight_quantizer, self.residual_act_quantizer, elementwise=extra)
        return self.add_bias(memory.output)


class ResidualConv2d(ResidualLayer, QuantConv2d):
    """Convolution on the change since the last call; input ``(n, c, h, w)``."""


class ResidualLinear(ResidualLayer, QuantLinear):
    """Fully connected layer on the change since the last call; input ``(..., in_features)``."""


RESIDUAL_LAYERS: dict[type[QuantLayer], type[ResidualLayer]] = {
    QuantConv2d: ResidualConv2d,
    QuantLinear: ResidualLinear,
}
