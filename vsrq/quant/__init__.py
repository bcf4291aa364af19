"""Quantization of layers: maths, observers, quantizers, layers, rules, calibration, NF4 storage, LoRA, cost.

Nothing here knows of video or of a particular network.
"""

from vsrq.quant.allocate import Option, allocate, bit_rules
from vsrq.quant.calibrate import calibrate
from vsrq.quant.layers import (
    QuantConv2d,
    QuantDeformConv2d,
    QuantLayer,
    QuantLinear,
    register_quant_layer,
)
from vsrq.quant.lora import add_lora, merge_lora
from vsrq.quant.nf4_layers import NF4Conv2d, NF4Layer, NF4Linear, prepare_nf4
from vsrq.quant.prepare import LayerRow, prepare
from vsrq.quant.quantizer import QParams, UniformQuantizer
from vsrq.quant.sensitivity import measure_sensitivity

__all__ = [
    "LayerRow",
    "NF4Conv2d",
    "NF4Layer",
    "NF4Linear",
    "Option",
    "QParams",
    "QuantConv2d",
    "QuantDeformConv2d",
    "QuantLayer",
    "QuantLinear",
    "UniformQuantizer",
    "add_lora",
    "allocate",
    "bit_rules",
    "calibrate",
    "measure_sensitivity",
    "merge_lora",
    "prepare",
    "prepare_nf4",
    "register_quant_layer",
]
