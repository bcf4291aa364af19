"""Layers whose weights are stored as NF4 codes. They compute in float: storage is saved, bit operations are not."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsrq.errors import ConfigError
from vsrq.ops.partial_conv import PartialConv2d, part_of
from vsrq.quant import nf4
from vsrq.quant.layers import QUANT_LAYERS, QuantLayer
from vsrq.quant.prepare import LayerRow, swap_layers
from vsrq.quant.quantizer import FLOAT_BITS
from vsrq.quant.recorder import Call, is_recording, record
from vsrq.quant.rules import Rule, RuleBook, first_match
from vsrq.quant.weight_cache import cached

NF4_BITS = 4


class NF4Weight(nn.Module):
    """A weight as packed codes and scales, the only form in which it is kept and saved.

    Args:
        weight: Float weight, any shape.
        block: See :func:`vsrq.quant.nf4.quantize`.
        double: See there.
    """

    packed: Tensor
    scales: Tensor
    scale_absmax: Tensor | None
    scale_mean: Tensor | None

    def __init__(self, weight: Tensor, *, block: int, double: bool) -> None:
        super().__init__()
        self.shape = weight.shape
        self.block = block
        for name, value in nf4.quantize(weight, block=block, double=double)._asdict().items():
            self.register_buffer(name, value)

    def forward(self) -> Tensor:
        """Return the weight, float32."""
        return nf4.dequantize(self._stored(), self.shape, block=self.block)

    @property
    def storage_bits(self) -> int:
        """Bits of codes and scales."""
        return nf4.storage_bits(self._stored())

    def _stored(self) -> nf4.NF4:
        return nf4.NF4(self.packed, self.scales, self.scale_absmax, self.scale_mean)

    def extra_repr(self) -> str:
        """The recipe in one line."""
        double = ", double quantization" if self.scale_absmax is not None else ""
        return f"{'x'.join(map(str, self.shape))}, block={self.block}{double}"


class NF4Layer(nn.Module):
    """What layers with an NF4 weight share.

    Args:
        layer: The float layer; its bias is shared, its weight is not kept.
        block: See :func:`vsrq.quant.nf4.quantize`.
        double: See there.

    Attributes:
        nf4: The weight.
        lora: Change of the weight that is learned, see :class:`vsrq.quant.lora.LoRA`; ``None`` without.
    """

    def __init__(self, layer: nn.Module, *, block: int, double: bool) -> None:
        super().__init__()
        self.nf4 = NF4Weight(layer.weight, block=block, double=double)  # type: ignore[arg-type]
        self.bias: nn.Parameter | None = layer.bias  # type: ignore[assignment]
        self.lora: nn.Module | None = None
        # geometry and arithmetic of the float layer, without its weight; in a tuple, so that it is no child
        self._float = (_without_parameters(layer),)
        self.train(layer.training)

    def weight(self) -> Tensor:
        """Return the weight, dequantized once per :func:`vsrq.quant.weight_cache.quantize_weights_once` block."""
        return cached(self, "weight", self._weight)

    def _weight(self) -> Tensor:
        weight = self.nf4()
        return weight if self.lora is None else self.lora(weight)

    def report(self, y: Tensor, share: float = 1.0) -> None:
        """Tell the recorder of a call with output ``y`` on a part of the input channels: 32 x 32 bit."""
        if is_recording():
            macs = round(y.numel() * self.nf4.shape[1:].numel() * share)
            record(Call(self, "weight-only", macs, FLOAT_BITS, FLOAT_BITS))

    @torch.no_grad()
    def to_float(self) -> nn.Module:
        """Return the float layer with the dequantized weight."""
        layer = copy.deepcopy(self._float[0])
        layer.register_parameter("weight", nn.Parameter(self._weight().clone()))
        layer.register_parameter("bias", self.bias)
        return layer.train(self.training)


class NF4Conv2d(NF4Layer):
    """Convolution with an NF4 weight; input ``(n, c, h, w)``."""

    def forward(self, x: Tensor, channels: slice | None = None) -> Tensor:
        """Convolve all input channels, or the part of them that ``x`` is."""
        conv: Any = self._float[0]
        y = conv._conv_forward(x, *part_of(channels, self.weight(), self.bias))
        self.report(y, 1.0 if channels is None else x.shape[1] / conv.in_channels)
        return y


class NF4Linear(NF4Layer):
    """Fully connected layer with an NF4 weight; input ``(..., in_features)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the input by the weight."""
        y = F.linear(x, self.weight(), self.bias)
        self.report(y)
        return y


NF4_LAYERS: dict[type[nn.Module], type[NF4Layer]] = {
    nn.Conv2d: NF4Conv2d,
    PartialConv2d: NF4Conv2d,
    nn.Linear: NF4Linear,
}


def prepare_nf4(
    model: nn.Module,
    *,
    block: int = 64,
    double: bool = True,
    rules: Iterable[Rule] = (),
    roles: Mapping[str, str] | None = None,
) -> list[LayerRow]:
    """Store the weights of convolutions and linear layers as NF4, in place. Needs no data.

    Args:
        model: Float network, changed in place. Its biases, and layers of other types, stay float.
        block: Weights per scale; see :func:`vsrq.quant.nf4.quantize`.
        double: Quantize the scales as well.
        rules: Mappings with ``pattern`` and any of ``block``, ``double`` and ``quantize`` (``False`` leaves a layer
            float); the first match wins.
        roles: Glob patterns over layer names to the role printed in the table.

    Returns:
        The table, one row per layer that has a weight, in the network's order: 4 bit weights, 32 bit activations.

    Raises:
        ConfigError: A rule matches nothing, a key is unknown, a value is out of range or a weight is not finite (names
            the layer), or the network has no such layer or is quantized already.
    """
    book = RuleBook(rules, ["block", "double", "quantize"])
    modules = dict(model.named_modules())
    if any(isinstance(module, (NF4Layer, QuantLayer)) for module in modules.values()):
        raise ConfigError("the network is quantized already; prepare_nf4() takes a float network.")
    names = [name for name, module in modules.items() if type(module) in NF4_LAYERS]
    if not names:
        raise ConfigError(f"{type(model).__name__} has no convolution or linear layer to store as NF4.")
    new: dict[str, NF4Layer] = {}
    for name in names:
        settings = {"block": block, "double": double, **book.settings(name)}
        if settings.pop("quantize", True):
            new[name] = _build(name, modules[name], **settings)
    book.check_all_used(names)
    swap_layers(model, new, lambda name, _: new[name])
    rows = []
    for name, module in modules.items():
        if type(module) in NF4_LAYERS or type(module) in QUANT_LAYERS:
            pattern = first_match(name, roles or {})
            bits = NF4_BITS if name in new else FLOAT_BITS
            kind = type(new.get(name, module)).__name__
            rows.append(LayerRow(name, kind, bits, FLOAT_BITS, roles[pattern] if roles and pattern else ""))
    return rows


def _build(name: str, layer: nn.Module, block: int, double: bool) -> NF4Layer:
    try:
        return NF4_LAYERS[type(layer)](layer, block=block, double=double)
    except ConfigError as error:
        raise ConfigError(f"layer {name}: {error}") from error


def _without_parameters(layer: nn.Module) -> nn.Module:
    """Return a copy of a layer without values."""
    memo: dict[int, Any] = {id(p): None for p in layer.parameters(recurse=False)}
    return copy.deepcopy(layer, memo)
