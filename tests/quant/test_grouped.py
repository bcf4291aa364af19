"""One grid per concatenated tensor."""

import pytest
import torch
from torch import nn

from vsrq.errors import ConfigError
from vsrq.quant import QuantConv2d, UniformQuantizer, calibrate, prepare
from vsrq.quant.functional import fake_quantize
from vsrq.quant.grouped import GroupedQuantizer, declare_parts, grids
from vsrq.residual import TemporalState, convert_residual, temporal


def frame_and_features(seed=0, n=1):
    generator = torch.Generator().manual_seed(seed)
    frame = torch.randint(0, 256, (n, 3, 12, 10), generator=generator) / 255
    return torch.cat([frame, 3 * torch.randn(n, 5, 12, 10, generator=generator)], dim=1)


def layer(**act):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 4, 3, padding=1)
    declare_parts(conv, 3, 5)
    net = nn.Sequential(conv)
    prepare(net, act=dict(type="MinMax", **act))
    return net


def calibrated(**act):
    net = layer(**act)
    calibrate(net, lambda: net(frame_and_features()))
    return net


def test_a_frame_on_its_own_grid_loses_nothing_at_8_bit():
    x = frame_and_features()
    own, joint = calibrated(), calibrated(per_part=False)
    torch.testing.assert_close(own[0].act_quantizer(x)[:, :3], x[:, :3], atol=1e-6, rtol=0)
    assert (joint[0].act_quantizer(x)[:, :3] - x[:, :3]).abs().max() > 0.01


@pytest.mark.parametrize("act", [dict(), dict(symmetric=True), dict(bits=4)])
def test_each_part_is_quantized_as_if_alone(act):
    x = frame_and_features()
    quantizer = calibrated(**act)[0].act_quantizer
    assert isinstance(quantizer, GroupedQuantizer)
    alone = torch.cat([quantizer.parts[0](x[:, :3]), quantizer.parts[1](x[:, 3:])], dim=1)
    assert torch.equal(quantizer(x), alone)


@pytest.mark.parametrize("act", [dict(), dict(symmetric=True), dict(bits=4)])
def test_qparams_hold_for_every_channel_in_natural_codes(act):
    x = frame_and_features(1)
    quantizer = calibrated(**act)[0].act_quantizer
    scale, zero_point, qmin, qmax = quantizer.qparams()
    assert (qmin, qmax) == (0, 2**quantizer.bits - 1)
    codes = (torch.round(x / scale) + zero_point).clamp(qmin, qmax)
    torch.testing.assert_close((codes - zero_point) * scale, quantizer(x), atol=1e-6, rtol=0)


def test_recorded_for_export_it_is_one_convolution_per_part():
    x = frame_and_features(2)
    net = calibrated().eval()
    with torch.no_grad():
        traced = torch.jit.trace(net, x, check_trace=False)
        convolutions = [n for n in traced.inlined_graph.nodes() if n.kind() == "aten::_convolution"]
        assert len(convolutions) == 2
        torch.testing.assert_close(traced(x), net(x), atol=1e-5, rtol=0)


def test_shifts_and_steps_of_the_parts_are_learned():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 4, 3, padding=1)
    declare_parts(conv, 3, 5)
    net = nn.Sequential(conv)
    prepare(net, weight=dict(type="RLQ", bits=4), act=dict(type="RLQ", bits=4))
    calibrate(net, lambda: net(frame_and_features()))
    net(frame_and_features()).square().sum().backward()
    parts = grids(net[0].act_quantizer)
    assert [tuple(part.shift.shape) for part in parts] == [(1, 3, 1, 1), (1, 5, 1, 1)]
    assert all(part.factor.grad.abs().sum() > 0 and part.shift.grad.abs().sum() > 0 for part in parts)


@pytest.mark.parametrize("storage", ["float32", "uint8"])
def test_residuals_are_coded_part_by_part(storage):
    net = layer()
    convert_residual(net, act=dict(type="MinMax", bits=4), storage=dict(input=storage))
    assert isinstance(net[0].residual_act_quantizer, GroupedQuantizer)
    clip = [frame_and_features(0) + 0.05 * torch.randn(1, 8, 12, 10).abs() * k for k in range(4)]

    def run():
        with temporal(net, TemporalState()):
            return [net(x) for x in clip]

    calibrate(net, run)
    exact = [torch.nn.functional.conv2d(x, net[0].weight, net[0].bias, padding=1) for x in clip]
    for found, wanted in zip(run(), exact, strict=True):
        assert (found - wanted).abs().max() < 0.15 * wanted.abs().max()


def test_float_bits_return_the_input_itself():
    x = frame_and_features()
    conv = nn.Conv2d(8, 4, 3)
    declare_parts(conv, 3, 5)
    net = nn.Sequential(conv)
    prepare(net, weight=dict(bits=32), act=dict(bits=32))
    assert net[0].act_quantizer(x) is x


def test_without_parts_there_is_one_grid():
    assert isinstance(layer(per_part=False)[0].act_quantizer, UniformQuantizer)
    plain = nn.Sequential(nn.Conv2d(8, 4, 3))
    prepare(plain)
    assert isinstance(plain[0].act_quantizer, UniformQuantizer)


def test_parts_are_for_activations():
    with pytest.raises(ConfigError, match="per_part=True is for activations only"):
        prepare(nn.Sequential(nn.Conv2d(8, 4, 3)), weight=dict(per_part=True))


def test_parts_must_make_up_the_input():
    conv = nn.Conv2d(8, 4, 3)
    declare_parts(conv, 3, 4)
    with pytest.raises(ConfigError, match=r"\(3, 4\).* 8"):
        prepare(nn.Sequential(conv))


def test_a_grouped_convolution_is_not_split():
    conv = nn.Conv2d(8, 8, 3, groups=8)
    declare_parts(conv, 3, 5)
    with pytest.raises(ConfigError, match="groups=8"):
        prepare(nn.Sequential(conv))


def test_the_fake_quantization_is_the_usual_one():
    x = frame_and_features()
    part = calibrated()[0].act_quantizer.parts[1]
    scale, zero_point, qmin, qmax = part.qparams()
    assert torch.equal(part(x[:, 3:]), fake_quantize(x[:, 3:], scale, zero_point, qmin, qmax))
    assert isinstance(calibrated()[0], QuantConv2d)
