"""Uniform quantization of layers: maths, observers, quantizers, layers, rules, calibration, cost.

Nothing here knows of video or of a particular network.
"""

from vsrq.quant.calibrate import calibrate
from vsrq.quant.layers import (
    QuantConv2d,
    QuantDeformConv2d,
    QuantLayer,
    QuantLinear,
    register_quant_layer,
)
from vsrq.quant.prepare import LayerRow, prepare
from vsrq.quant.quantizer import QParams, UniformQuantizer

__all__ = [
    "LayerRow",
    "QParams",
    "QuantConv2d",
    "QuantDeformConv2d",
    "QuantLayer",
    "QuantLinear",
    "UniformQuantizer",
    "calibrate",
    "prepare",
    "register_quant_layer",
]
