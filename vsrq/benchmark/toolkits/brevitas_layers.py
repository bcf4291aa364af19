"""Brevitas: layers of the eager network are swapped, ranges come from its float recurrence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vsrq.benchmark.toolkits.toolkit import Quantized
from vsrq.quant.prepare import swap_layers


@torch.no_grad()
def quantize(net: nn.Module, clips: list[Tensor], folder: Path) -> Quantized:
    """Swap the convolutions and calibrate; see :meth:`vsrq.benchmark.toolkits.Toolkit.quantize`."""
    from brevitas.graph.calibrate import calibration_mode

    # subclasses do more than convolve, which the swapped layer would not
    names = [name for name, module in net.named_modules() if type(module) is nn.Conv2d]
    swap_layers(net, names, lambda _, layer: _swapped(layer))
    model: Any = net.eval()
    with calibration_mode(model):
        for clip in clips:
            model.upscale(clip[None])
    return Quantized(lambda clip: model.upscale(clip[None])[0], frozenset(names))


def _swapped(conv: Any) -> nn.Module:
    from brevitas.nn import QuantConv2d
    from brevitas.quant.scaled_int import Int8WeightPerChannelFloat
    from brevitas.quant.shifted_scaled_int import ShiftedUint8ActPerTensorFloat

    new = QuantConv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        padding_mode=conv.padding_mode,
        bias=conv.bias is not None,
        weight_quant=Int8WeightPerChannelFloat,
        input_quant=ShiftedUint8ActPerTensorFloat,
    )
    new.weight.copy_(conv.weight)
    if conv.bias is not None:
        new.bias.copy_(conv.bias)
    return new
