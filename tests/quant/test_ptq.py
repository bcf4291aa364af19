"""Equalisation, bias correction, learned rounding and block-by-block reconstruction."""

import copy

import pytest
import torch
from torch import nn

from vsrq.errors import CalibrationError, ConfigError
from vsrq.quant import QuantConv2d, calibrate, prepare
from vsrq.quant.adaround import SoftRounding, rectified_sigmoid
from vsrq.quant.bias_correction import correct_bias
from vsrq.quant.equalize import equalize, equalizing_factors
from vsrq.quant.prepare import float_copy
from vsrq.quant.reconstruction import Settings, reconstruct

PAIR = [dict(first="conv1", second="conv2")]


class Block(nn.Module):
    def __init__(self, channels=6):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(nn.functional.relu(self.conv1(x), inplace=True))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 6, 3, padding=1)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.unused = Block()

    def forward(self, clip):
        feat = 0
        for frame in clip:
            feat = 0.5 * feat + self.head(frame)
            for block in self.blocks:
                feat = block(feat)
        return feat


@pytest.fixture
def clip():
    return torch.rand(4, 1, 3, 16, 16, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def net():
    torch.manual_seed(4)
    net = Recurrent()
    with torch.no_grad():  # channels of very different size
        for block in net.blocks:
            block.conv1.weight.mul_(torch.logspace(-1.5, 1, 6).view(-1, 1, 1, 1))
            block.conv2.weight.mul_(torch.logspace(1.5, -1, 6).view(1, -1, 1, 1))
    return net


def quantized(net, clip, **recipe):
    model = copy.deepcopy(net)
    rules = [dict(pattern="unused.*", quantize=False)]
    prepare(model, weight=dict(bits=4, **recipe), act=dict(type="MSE", bits=4), rules=rules)
    calibrate(model, lambda: model(clip))
    return model


def error(model, net, clip):
    with torch.no_grad():
        return (model(clip) - net(clip)).square().mean().item()


@torch.no_grad()
def test_equalising_changes_ranges_but_not_the_function(net, clip):
    expected = net(clip)
    assert equalize(net, PAIR) == 3
    assert torch.allclose(net(clip), expected, rtol=1e-4, atol=1e-5)
    for block in net.blocks:
        rows = block.conv1.weight.abs().flatten(1).amax(1)
        columns = block.conv2.weight.abs().amax((0, 2, 3))
        assert torch.allclose(rows, columns, rtol=1e-4)


def test_equalising_helps_where_channels_differ(net, clip):
    before = error(quantized(net, clip, axis=None), net, clip)
    equal = copy.deepcopy(net)
    equalize(equal, PAIR)
    assert error(quantized(equal, clip, axis=None), net, clip) < 0.2 * before


def test_channels_of_zeros_are_left_alone():
    first, second = torch.randn(3, 4), torch.randn(5, 3)
    first[1] = 0
    factors = equalizing_factors(first, second)
    assert factors[1] == 1
    assert torch.isfinite(factors).all()


def test_bias_correction_takes_out_the_mean_error(net, clip):
    model = quantized(net, clip)
    layer = model.blocks[0].conv2
    assert correct_bias(model, lambda: model(clip)) == 5
    errors = []

    def collect(module, inputs, output):
        errors.append(nn.functional.conv2d(inputs[0], module.weight, None, padding=1) + reference - output)

    # the layer's float bias is the one from before
    reference = net.blocks[0].conv2.bias[:, None, None]
    layer.register_forward_hook(collect)
    with torch.no_grad():
        model(clip)
        assert torch.cat(errors).mean((0, 2, 3)).abs().max() < 0.5 * (layer.bias - net.blocks[0].conv2.bias).abs().max()
        before = quantized(net, clip)
        assert (model(clip) - net(clip)).mean().abs() < (before(clip) - net(clip)).mean().abs()


def test_soft_rounding_starts_at_the_float_weight_and_ends_on_the_grid():
    conv = nn.Conv2d(4, 5, 3)
    layer = QuantConv2d.from_float(conv, dict(bits=4, observer=dict(type="MinMax")), dict(bits=8))
    calibrate(layer, lambda: layer(torch.randn(1, 4, 8, 8)))
    soft = SoftRounding(layer.weight_quantizer, conv.weight)
    assert torch.allclose(soft(conv.weight), conv.weight, atol=1e-3)
    assert soft.penalty(20.0) > 0
    with torch.no_grad():
        soft.v += torch.randn_like(soft.v) * 5
        decided = soft.decided()
        assert torch.equal(layer.weight_quantizer(decided), decided)  # so that no trace of AdaRound is left
        scale = layer.weight_quantizer.qparams().scale[:, None, None, None]
        assert ((decided - conv.weight).abs() < 1.001 * scale).all()
        soft.v.copy_(torch.where(soft.v > 0, 10.0, -10.0))
    assert soft.penalty(2.0).item() == pytest.approx(0, abs=1e-4)
    assert rectified_sigmoid(torch.tensor([-10.0, 0.0, 10.0])).tolist() == [0.0, pytest.approx(0.5), 1.0]


def test_reconstruction_brings_blocks_and_network_closer_to_float(net, clip):
    model = quantized(net, clip)
    before = error(model, net, clip)
    reference = float_copy(model)
    assert torch.equal(reference(clip), net(clip))
    errors = reconstruct(model, reference, lambda m: m(clip), ["blocks.*", "head"], Settings(iters=60))
    assert [e.name for e in errors] == ["head", "blocks.0", "blocks.1"]  # in the order in which they run
    assert all(e.after < e.before for e in errors)
    assert error(model, net, clip) < 0.8 * before
    # nothing is left but weights on the grid and calibrated steps
    layer = model.blocks[0].conv1
    with torch.no_grad():
        assert torch.equal(layer.weight_quantizer(layer.weight), layer.weight)
    assert model.state_dict().keys() == quantized(net, clip).state_dict().keys()
    assert all(p.grad is None for p in model.parameters())


def test_a_fit_that_does_not_help_is_taken_back(net, clip):
    model = quantized(net, clip)
    before = copy.deepcopy(model.state_dict())
    errors = reconstruct(model, float_copy(model), lambda m: m(clip), ["blocks.1"], Settings(iters=3, lr=50.0))
    assert errors[0].after == errors[0].before
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_reconstruction_is_reproducible(net, clip):
    results = []
    for _ in range(2):
        model = quantized(net, clip)
        reconstruct(model, float_copy(model), lambda m: m(clip), ["blocks.*"], Settings(iters=5, max_calls=3))
        results.append(model.state_dict())
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, run: reconstruct(m, m, run, ["block.*"]), "'block.*' matches no module with quantized layers"),
        (lambda m, run: Settings(iters=0), "iters must be an integer of 1 or more, got 0"),
        (lambda m, run: Settings(lr=-1.0), "lr must not be negative, got -1.0"),
        (lambda m, run: Settings(warmup=1.0), r"warmup must lie in \[0, 1\), got 1.0"),
        (lambda m, run: equalize(m, [dict(first="conv1", second="conv9")]), "no layers end with 'conv1' and 'conv9'"),
        (lambda m, run: equalize(m, [dict(first="head", second="unused")]), "unused is no ungrouped convolution"),
    ],
)
def test_wrong_settings_are_refused(call, message, net, clip):
    model = quantized(net, clip)
    with pytest.raises(ConfigError, match=message):
        call(model, lambda m: m(clip))


def test_a_block_that_does_not_run_is_named(net, clip):
    prepare(net)
    calibrate(net.blocks, lambda: net.blocks[0](torch.rand(1, 6, 8, 8)) + net.blocks[1](torch.rand(1, 6, 8, 8)))
    with pytest.raises(CalibrationError, match="block unused does not run"):
        reconstruct(net, net, lambda m: m.blocks[0](torch.rand(1, 6, 8, 8)), ["unused", "blocks.0"])
