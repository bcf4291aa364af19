"""Quantized layers: a float parameter, a weight quantizer and an activation quantizer each.

They are built from a float layer, take over its parameters (not copies) and its children, and keep its
names, so that a float checkpoint loads into a quantized network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsrq.errors import ConfigError
from vsrq.ops.partial_conv import PartialConv2d, part_of
from vsrq.quant.adaptive import AdaptiveQuantizer
from vsrq.quant.autograd import fake_quantized_conv2d
from vsrq.quant.functional import is_exporting
from vsrq.quant.grouped import ActQuantizer, GroupedQuantizer
from vsrq.quant.presets import resolve
from vsrq.quant.quantizer import UniformQuantizer, WeightQuantizer
from vsrq.quant.recorder import Call, Kind, is_recording, record
from vsrq.quant.switchable import NestedQuantizer, SwitchableQuantizer

QuantizerConfig = dict[str, Any]


class QuantLayer(nn.Module):
    """What all quantized layers share.

    Attributes:
        weight_quantizer: Per output channel unless configured otherwise.
        act_quantizer: Of the layer's input.
        input_parts: Channels of the tensors that the input is a concatenation of; see
            :func:`vsrq.quant.grouped.declare_parts`.
    """

    input_parts: tuple[int, ...] | None = None
    weight: Any  # a parameter; nn.Conv2d and nn.Linear declare it differently
    bias: Any
    weight_quantizer: WeightQuantizer
    act_quantizer: ActQuantizer

    def add_quantizers(self, weight: QuantizerConfig, act: QuantizerConfig) -> None:
        """Attach the quantizers described by two configs (see :func:`weight_quantizer`).

        Raises:
            ConfigError: A config is wrong, or ``input_parts`` are not parts of the input.
        """
        self._check_parts()
        self.weight_quantizer = weight_quantizer(weight, self.weight)
        self.act_quantizer = act_quantizer(act, self.input_channels(), self.input_parts).to(self.weight.device)

    def input_channels(self) -> tuple[int, ...]:
        """Shape that broadcasts one value per input channel over the layer's input."""
        raise NotImplementedError

    def _check_parts(self) -> None:
        channels, groups = max(self.input_channels()), getattr(self, "groups", 1)
        if self.input_parts is not None and (sum(self.input_parts) != channels or groups > 1):
            raise ConfigError(
                f"parts of {self.input_parts} channels do not make up the {channels} input channels of one group "
                f"(groups={groups}); correct declare_parts()."
            )

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply the layer's linear map with ``weight`` and without the bias."""
        raise NotImplementedError

    def add_bias(self, y: Tensor) -> Tensor:
        """Return ``y`` plus the bias as a new tensor."""
        raise NotImplementedError

    def count_macs(self, y: Tensor) -> int:
        """Multiply-accumulates of one call with output ``y``."""
        raise NotImplementedError

    def report(
        self, kind: Kind, y: Tensor, weight_bits: int, act_bits: float, *, share: float = 1.0, elementwise: int = 0
    ) -> None:
        """Tell the recorder, if there is one, what this call computed.

        Args:
            kind: How the call counts.
            y: Its output.
            weight_bits: Bit width of the weight.
            act_bits: Bit width of the input, on average.
            share: Which part of the input channels was there.
            elementwise: See :class:`vsrq.quant.recorder.Call`.
        """
        if is_recording():
            record(Call(self, kind, round(self.count_macs(y) * share), weight_bits, act_bits, elementwise))

    def frame_kind(self) -> Kind:
        """How a call counts that stands on its own."""
        both_float = self.weight_quantizer.bits == self.act_quantizer.bits == 32
        return "float" if both_float else "frame"


def weight_quantizer(config: QuantizerConfig, weight: Tensor) -> WeightQuantizer:
    """Build a weight quantizer; ``axis`` makes it per channel, its size comes from the weight.

    Args:
        config: See :func:`vsrq.quant.presets.resolve`.
        weight: The weight.
    """
    settings = resolve(config, "weight")
    for key in ("shift", "dynamic", "adaptive", "per_part"):
        if settings.pop(key, False):
            raise ConfigError(f"{key}=True is for activations only; remove it from the weight's settings.")
    kind = NestedQuantizer if settings.pop("policy", False) else WeightQuantizer
    axis = settings["axis"]
    if axis is not None and axis not in range(weight.dim()):
        raise ConfigError(f"the weight has axes 0 to {weight.dim() - 1}, not axis {axis}.")
    size = None if axis is None else weight.shape[axis]
    return kind(**settings, num_channels=size).to(weight.device)


def act_quantizer(
    config: QuantizerConfig, input_channels: tuple[int, ...] | None, parts: tuple[int, ...] | None = None
) -> ActQuantizer:
    """Build an activation quantizer.

    Args:
        config: See :func:`vsrq.quant.presets.resolve`.
        input_channels: Shape of a learned shift, see :meth:`QuantLayer.input_channels`; ``None`` if what is quantized
            must keep its zero.
        parts: Channels of the tensors that are concatenated. With ``per_part=True``, the default, each gets a grid of
            its own, unless its bits follow the clip or a policy.
    """
    settings = resolve(config, "act")
    if settings.pop("axis", None) is not None:
        raise ConfigError(f"activations have one grid per tensor; remove axis={config['axis']}.")
    shift = settings.pop("shift", False)
    if shift and input_channels is None:
        raise ConfigError("a residual must keep its zero, so it cannot be shifted; set shift=False or type='LSQ'.")
    adaptive, policy = settings.pop("adaptive", False), settings.pop("policy", False)
    per_part = settings.pop("per_part")
    if (adaptive or policy) and input_channels is None:
        raise ConfigError("the bits of residuals do not adapt; set adaptive=False and policy=False.")
    if adaptive and policy:
        raise ConfigError("the bits of an activation follow adaptive or policy, not both; set one of them to False.")
    kind = AdaptiveQuantizer if adaptive else SwitchableQuantizer if policy else UniformQuantizer
    if parts is not None and per_part and kind is UniformQuantizer:
        shapes = [(1, size, 1, 1) if shift else None for size in parts]
        return GroupedQuantizer([UniformQuantizer(**settings, shift_shape=shape) for shape in shapes], parts)
    return kind(**settings, shift_shape=input_channels if shift else None)


class QuantConv2d(QuantLayer, nn.Conv2d):
    """Convolution with quantized weight and input; input ``(n, c, h, w)``."""

    @classmethod
    def from_float(cls, layer: nn.Conv2d, weight: QuantizerConfig, act: QuantizerConfig) -> QuantConv2d:
        """Take over a float convolution.

        Args:
            layer: The float layer; its parameters are shared, not copied.
            weight: Config of the weight's quantizer, see :func:`weight_quantizer`.
            act: Config of the input's quantizer, see :func:`act_quantizer`.
        """
        with torch.device("meta"):
            new = cls(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,  # type: ignore[arg-type]
                stride=layer.stride,  # type: ignore[arg-type]
                padding=layer.padding,  # type: ignore[arg-type]
                dilation=layer.dilation,  # type: ignore[arg-type]
                groups=layer.groups,
                bias=layer.bias is not None,
                padding_mode=layer.padding_mode,
            )
        return _take_over(new, layer, weight, act)

    def forward(self, x: Tensor, channels: slice | None = None) -> Tensor:
        """Convolve the quantized input with the quantized weight.

        Args:
            x: The input, or a part of its channels.
            channels: Which part; see :class:`vsrq.ops.partial_conv.PartialConv2d`.
        """
        weight, bias = part_of(channels, self.weight_quantizer(self.weight), self.bias)
        y = self._quantized_conv(x, self.act_quantizer.shift_of(channels), weight, bias)
        share = x.shape[1] / self.in_channels
        self.report(self.frame_kind(), y, self.weight_quantizer.bits, self.act_quantizer.bits, share=share)
        return y

    def _quantized_conv(self, x: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
        quantizer = self.act_quantizer
        if isinstance(quantizer, GroupedQuantizer) and is_exporting():
            # integer kernels take one grid each; the sum is the same
            outputs = (
                self._conv_forward(part(x[:, own]), weight[:, own], None if own.start else bias)
                for part, own in quantizer.slices()
            )
            return reduce(torch.add, outputs)
        zero_padded = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        if (
            zero_padded
            and isinstance(quantizer, UniformQuantizer)
            and quantizer.fusible
            and quantizer.observer is None
            and quantizer.trains(x)
        ):
            return fake_quantized_conv2d(
                x,
                quantizer.grid(x),
                weight,
                bias,
                shift=shift,
                stride=self.stride,
                padding=self.padding,  # type: ignore[arg-type]
                dilation=self.dilation,
                groups=self.groups,
            )
        shifted = x if shift is None else x + shift
        return self._conv_forward(quantizer.quantize(shifted), weight, bias)

    def input_channels(self) -> tuple[int, ...]:
        """See :meth:`QuantLayer.input_channels`."""
        return (1, self.in_channels, 1, 1)

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :meth:`QuantLayer.linear`."""
        return self._conv_forward(x, weight, None)

    def add_bias(self, y: Tensor) -> Tensor:
        """See :meth:`QuantLayer.add_bias`."""
        return y.clone() if self.bias is None else y + self.bias[:, None, None]

    def count_macs(self, y: Tensor) -> int:
        """See :meth:`QuantLayer.count_macs`."""
        return y.numel() * self.weight[0].numel()


class QuantLinear(QuantLayer, nn.Linear):
    """Fully connected layer with quantized weight and input; input ``(..., in_features)``."""

    @classmethod
    def from_float(cls, layer: nn.Linear, weight: QuantizerConfig, act: QuantizerConfig) -> QuantLinear:
        """Take over a float layer; see :meth:`QuantConv2d.from_float`."""
        with torch.device("meta"):
            new = cls(layer.in_features, layer.out_features, bias=layer.bias is not None)
        return _take_over(new, layer, weight, act)

    def input_channels(self) -> tuple[int, ...]:
        """See :meth:`QuantLayer.input_channels`."""
        return (self.in_features,)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the quantized input by the quantized weight."""
        y = F.linear(self.act_quantizer(x), self.weight_quantizer(self.weight), self.bias)
        self.report(self.frame_kind(), y, self.weight_quantizer.bits, self.act_quantizer.bits)
        return y

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :meth:`QuantLayer.linear`."""
        return F.linear(x, weight)

    def add_bias(self, y: Tensor) -> Tensor:
        """See :meth:`QuantLayer.add_bias`."""
        return y.clone() if self.bias is None else y + self.bias

    def count_macs(self, y: Tensor) -> int:
        """See :meth:`QuantLayer.count_macs`."""
        return y.numel() * self.in_features


class DeformableLayer(Protocol):
    """What :class:`QuantDeformConv2d` asks of a float modulated deformable convolution."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    stride: Any
    padding: Any
    dilation: Any
    groups: int
    deform_groups: int
    op: Callable[..., Tensor]


class QuantDeformConv2d(QuantLayer):
    """Modulated deformable convolution (DCNv2) with quantized weight and input.

    Offsets and mask stay float: they are positions, not signals. Not linear in time (the offsets move), so
    there is no residual variant.
    """

    def __init__(self, layer: DeformableLayer) -> None:
        super().__init__()
        self.op = layer.op
        self.geometry = (layer.stride, layer.padding, layer.dilation, layer.groups, layer.deform_groups)

    @classmethod
    def from_float(cls, layer: nn.Module, weight: QuantizerConfig, act: QuantizerConfig) -> QuantDeformConv2d:
        """Take over a float layer; see :meth:`QuantConv2d.from_float`."""
        return _take_over(cls(layer), layer, weight, act)  # type: ignore[arg-type]

    def input_channels(self) -> tuple[int, ...]:
        """See :meth:`QuantLayer.input_channels`."""
        return (1, self.weight.shape[1] * self.geometry[3], 1, 1)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Sample and convolve.

        Args:
            x: Input, ``(n, c, h, w)``.
            offset: Displacements in pixels, ``(n, 2 g k, h, w)``, order y0, x0, y1, x1, ...
            mask: Modulation in [0, 1], ``(n, g k, h, w)``.
        """
        weight = self.weight_quantizer(self.weight)
        y = self.op(self.act_quantizer(x), offset, mask, weight, self.bias, *self.geometry)
        self.report(self.frame_kind(), y, self.weight_quantizer.bits, self.act_quantizer.bits)
        return y

    def count_macs(self, y: Tensor) -> int:
        """See :meth:`QuantLayer.count_macs`."""
        return y.numel() * self.weight[0].numel()


def _take_over(new: Any, layer: nn.Module, weight: QuantizerConfig, act: QuantizerConfig) -> Any:
    """Move parameters and children of ``layer`` into ``new`` and attach its quantizers."""
    new.weight, new.bias = layer.weight, layer.bias
    for name, child in layer.named_children():
        new.add_module(name, child)
    new.input_parts = getattr(layer, "input_parts", None)
    new.add_quantizers(weight, act)
    return new.train(layer.training)


QUANT_LAYERS: dict[type[nn.Module], type[QuantLayer]] = {
    nn.Conv2d: QuantConv2d,
    PartialConv2d: QuantConv2d,
    nn.Linear: QuantLinear,
}


def register_quant_layer(float_type: type[nn.Module], quant_type: type[QuantLayer]) -> None:
    """Make :func:`vsrq.quant.prepare` swap ``float_type`` (exactly, not its subclasses) by ``quant_type``."""
    QUANT_LAYERS[float_type] = quant_type
