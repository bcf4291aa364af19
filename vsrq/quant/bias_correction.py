"""Bias correction: take the mean error that quantization adds to a layer's output out of its bias."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vsrq.quant.layers import QuantConv2d, QuantLinear


@torch.no_grad()
def correct_bias(model: nn.Module, run: Callable[[], object]) -> int:
    """Correct the biases of the quantized convolutions and linear layers that have one.

    Each layer is compared with its float self on the same input, so that the errors of earlier layers are not
    counted twice and all layers are corrected in one run. Layers that are given their input in parts stay.

    Args:
        model: Calibrated network, changed in place.
        run: Runs the calibration clips through the network once.

    Returns:
        The number of layers corrected.

    Reference: Nagel et al., Data-Free Quantization (ICCV 2019), section 4.2, with measured means.
    """
    sums: dict[QuantConv2d | QuantLinear, tuple[Tensor, int]] = {}

    def collect(layer: QuantConv2d | QuantLinear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        axis, width = (
            (1, layer.in_channels) if isinstance(layer, QuantConv2d) else (output.dim() - 1, layer.in_features)
        )
        if inputs[0].shape[axis] != width:
            return
        error = (layer.add_bias(layer.linear(inputs[0], layer.weight)) - output).movedim(axis, 0).flatten(1).double()
        total, count = sums.get(layer, (0, 0))
        sums[layer] = total + error.sum(1), count + error.shape[1]

    layers = [m for m in model.modules() if isinstance(m, (QuantConv2d, QuantLinear)) and m.bias is not None]
    handles = [layer.register_forward_hook(collect) for layer in layers]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    for layer, (total, count) in sums.items():
        layer.bias.add_((total / count).to(layer.bias.dtype))
    return len(sums)
