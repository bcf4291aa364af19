import copy

import pytest
import torch
from torch import nn

from vsrq.models import DeformConv2d
from vsrq.quant import QuantConv2d, QuantDeformConv2d, QuantLinear, calibrate

EIGHT = dict(bits=8, symmetric=True, axis=0)
FLOAT = dict(bits=32)


def conv_cases():
    yield nn.Conv2d(4, 6, 3, padding=1), torch.randn(2, 4, 9, 7)
    yield nn.Conv2d(4, 8, 3, stride=2, dilation=2, groups=2, bias=False), torch.randn(1, 4, 12, 12)
    yield nn.Conv2d(3, 5, (1, 3), padding=(0, 1), padding_mode="reflect"), torch.randn(1, 3, 6, 6)


@pytest.mark.parametrize(("layer", "x"), conv_cases())
def test_conv_at_32_bits_equals_float_exactly(layer, x):
    quantized = QuantConv2d.from_float(layer, FLOAT, FLOAT)
    assert torch.equal(quantized(x), layer(x))


def test_linear_at_32_bits_equals_float_exactly():
    layer, x = nn.Linear(7, 5), torch.randn(3, 2, 7)
    assert torch.equal(QuantLinear.from_float(layer, FLOAT, FLOAT)(x), layer(x))


def deform_case():
    layer = DeformConv2d(4, 6, 3, padding=1, deform_groups=2, conv_offset=nn.Conv2d(4, 54, 3, padding=1))
    return layer, (torch.randn(1, 4, 8, 8), torch.randn(1, 36, 8, 8), torch.rand(1, 18, 8, 8))


def test_deformable_conv_at_32_bits_equals_float_exactly():
    layer, inputs = deform_case()
    quantized = QuantDeformConv2d.from_float(layer, FLOAT, FLOAT)
    assert torch.equal(quantized(*inputs), layer(*inputs))
    assert quantized.conv_offset is layer.conv_offset


def test_quantized_conv_is_the_conv_of_quantized_operands():
    layer, x = nn.Conv2d(4, 6, 3, padding=1), torch.randn(2, 4, 9, 7)
    quantized = QuantConv2d.from_float(layer, dict(EIGHT, bits=4), dict(bits=5, symmetric=False))
    calibrate(quantized, lambda: quantized(x))
    scale, zero_point, qmin, qmax = quantized.act_quantizer.qparams()
    codes = (torch.round(x / scale) + zero_point).clamp(qmin, qmax) - zero_point
    weight_scale, _, low, high = quantized.weight_quantizer.qparams()
    weight_codes = torch.round(layer.weight / weight_scale[:, None, None, None]).clamp(low, high)
    accumulator = nn.functional.conv2d(codes, weight_codes, padding=1)  # what an integer kernel computes
    assert torch.equal(accumulator, accumulator.round())
    expected = accumulator * scale * weight_scale[:, None, None] + layer.bias[:, None, None]
    assert torch.allclose(quantized(x), expected, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_more_bits_less_error(bits):
    layer, inputs = deform_case()
    reference = layer(*inputs)

    def error(width):
        quantized = QuantDeformConv2d.from_float(copy.deepcopy(layer), dict(EIGHT, bits=width), dict(bits=width))
        calibrate(quantized, lambda: quantized(*inputs))
        return (quantized(*inputs) - reference).square().mean().item()

    assert error(bits) < error(bits - 2)
    assert error(8) < 1e-3 * reference.square().mean().item()


def test_names_parameters_and_mode_are_those_of_the_float_layer():
    layer, _ = deform_case()
    names = set(layer.state_dict())
    quantized = QuantDeformConv2d.from_float(layer.eval(), EIGHT, dict(bits=8))
    assert names <= set(quantized.state_dict())
    assert quantized.weight is layer.weight
    assert not quantized.training
    conv = nn.Conv2d(2, 2, 1)
    quantized = QuantConv2d.from_float(conv, EIGHT, dict(bits=8))
    assert quantized.weight is conv.weight
    assert quantized.bias is conv.bias


def test_gradients_reach_weight_bias_and_input():
    layer, x = nn.Conv2d(2, 3, 3), torch.randn(1, 2, 6, 6, requires_grad=True)
    quantized = QuantConv2d.from_float(layer, EIGHT, dict(bits=8))
    calibrate(quantized, lambda: quantized(x.detach()))
    quantized(x).square().sum().backward()
    for tensor in (layer.weight, layer.bias, x):
        assert tensor.grad.abs().sum() > 0
