"""Quantizers that run at the width of the moment, and what the one who chose it learns."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vsrq.errors import ConfigError
from vsrq.quant import QuantConv2d, UniformQuantizer, calibrate, cost, prepare
from vsrq.quant.adaptive import regrid
from vsrq.quant.functional import fake_quantize, grid_limits
from vsrq.quant.nested import nested
from vsrq.quant.packing import pack_weights, unpack_weights
from vsrq.quant.quantizer import WeightQuantizer
from vsrq.quant.switchable import NestedQuantizer, SwitchableQuantizer
from vsrq.quant.weight_cache import quantize_weights_once
from vsrq.quant.width import Choice, check_widths, chosen, current_choice

WIDTHS = (8, 6, 4)
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.3


def network(act=None, **weight):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(0.1, inplace=True), nn.Conv2d(4, 2, 3))
    prepare(net, weight=dict(bits=8, policy=True, **weight), act=dict(bits=8, policy=True, **(act or {})))
    calibrate(net, lambda: net(X))
    return net


def at(bits, gate=None):
    return chosen(Choice(WIDTHS, WIDTHS.index(bits), gate))


def by_hand(layer, x, bits):
    """A layer at a width, from its own grids and PyTorch's convolution."""
    w, a = layer.weight_quantizer.qparams(), layer.act_quantizer._grid(None)
    weight = fake_quantize(layer.weight, w.scale, w.zero_point, w.qmin, w.qmax, 0)
    weight = nested(weight, w.scale.view(-1, 1, 1, 1), 8, bits)
    signed = a.qmin < 0
    a = regrid(a, *grid_limits(bits, signed=signed), symmetric=layer.act_quantizer.symmetric)
    return F.conv2d(fake_quantize(x, a.scale, a.zero_point, a.qmin, a.qmax), weight, layer.bias, padding=layer.padding)


@pytest.mark.parametrize("act", [{}, dict(symmetric=True), dict(type="LSQPlus")])
@pytest.mark.parametrize("bits", WIDTHS)
@torch.no_grad()
def test_a_layer_at_a_width_computes_with_high_bits_and_the_shared_range(bits, act):
    layer = network(act)[0]
    with at(bits):
        assert torch.equal(layer(X), by_hand(layer, X, bits))


@torch.no_grad()
def test_without_a_choice_and_at_the_widest_it_is_the_plain_quantizer():
    plain, weight = UniformQuantizer(bits=8, symmetric=False), WeightQuantizer(bits=8, axis=0, num_channels=2)
    switch, nest = SwitchableQuantizer(bits=8, symmetric=False), NestedQuantizer(bits=8, axis=0, num_channels=2)
    calibrate(nn.ModuleList([plain, weight, switch, nest]), lambda: [q(X) for q in (plain, weight, switch, nest)])
    for _ in range(2):
        assert torch.equal(switch(X), plain(X))
        assert torch.equal(nest(X), weight(X))
        with at(8):
            assert torch.equal(switch(X), plain(X))
            assert torch.equal(nest(X), weight(X))
    assert current_choice() is None


def test_calibration_does_not_see_the_choice():
    net, other = network(), network()
    with at(4):
        calibrate(other, lambda: other(X))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


@torch.no_grad()
def test_the_cost_follows_and_storage_is_one_copy():
    net = network()
    reports = {}

    def run(clip, bits):
        with at(bits):
            net(clip[:, 0])

    for bits in WIDTHS:
        reports[bits] = cost.measure(net, X[:, None], run=lambda clip, bits=bits: run(clip, bits))
        assert all(layer.bops == layer.macs * bits**2 for layer in reports[bits].layers)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(4, 2, 3))
    prepare(plain, weight=dict(bits=8), act=dict(bits=8))
    assert {r.storage_bits for r in reports.values()} == {cost.storage_bits(plain)}


@torch.no_grad()
def test_packed_weights_give_every_width():
    net, other = network(), network()
    other.load_state_dict(unpack_weights(pack_weights(net), other))
    for bits in WIDTHS:
        with at(bits):
            assert torch.equal(other(X), net(X))


@pytest.mark.parametrize("bits", WIDTHS)
def test_training_computes_what_evaluation_does(bits):
    net = network(act=dict(type="LSQ"), type="LSQ", axis=0)
    gate = torch.eye(3)[WIDTHS.index(bits)].requires_grad_()
    with at(bits, gate), quantize_weights_once():
        trained = net(X)
    with torch.no_grad(), at(bits):
        assert torch.allclose(net(X), trained, atol=1e-6)
    trained.sum().backward()
    for layer in (net[0], net[2]):
        for quantizer in (layer.weight_quantizer, layer.act_quantizer):
            assert quantizer.factor.grad.abs().sum() > 0
        assert layer.weight.grad.abs().sum() > 0


def test_the_choice_learns_as_if_the_sum_over_all_widths_had_been_computed():
    """The reference computes all widths and weighs them; its quantizers round straight through."""
    layer = network()[0]
    target = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    gate = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
    with at(6, gate):
        (layer(X) - target).square().sum().backward()

    sums = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
    w, a = layer.weight_quantizer, layer.act_quantizer
    with torch.no_grad():
        stored = w(layer.weight)
        weights = [nested(stored, w.scale.view(-1, 1, 1, 1), 8, bits) for bits in WIDTHS]
        acts = [a.at(X, bits) for bits in WIDTHS]
    weight = sum(g * form for g, form in zip(sums, weights, strict=True))
    act = sum(g * form for g, form in zip(sums, acts, strict=True))
    (F.conv2d(act, weight, layer.bias, padding=1) - target).square().sum().backward()

    def centred(g):
        return g - g[1]

    # what is common to all widths does not reach logits behind a softmax
    assert torch.allclose(gate.grad, centred(sums.grad), rtol=1e-3, atol=1e-3 * sums.grad.abs().max().item())
    assert gate.grad[1] == 0
    assert gate.grad.abs().max() > 0


def test_calls_at_several_widths_share_one_quantized_weight():
    net = network(type="LSQ", axis=0)
    calls = []
    original = UniformQuantizer.forward
    quantizer = net[0].weight_quantizer

    def count(self, x):
        calls.append(self is quantizer)
        return original(self, x)

    UniformQuantizer.forward = count
    try:
        with quantize_weights_once():
            outputs = []
            for bits in WIDTHS:
                with at(bits):
                    outputs.append(net(X))
    finally:
        UniformQuantizer.forward = original
    assert sum(calls) == 1
    torch.stack(outputs).sum().backward()
    assert net[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("widths", [(4, 6, 8), (8,), (8, 8, 4), (9, 4), (8, 1), (8, True), "84", ()])
def test_bad_widths_are_refused(widths):
    with pytest.raises(ConfigError, match=r"widths must be two or more descending integers from 2 to 8"):
        check_widths(widths)


@pytest.mark.parametrize(
    ("weight", "act", "message"),
    [
        (dict(symmetric=False), {}, "layer 0: weights at several widths need a symmetric grid"),
        (dict(bits=32), {}, "layer 0: weights at several widths are stored in 2 to 8 bits, got bits=32"),
        ({}, dict(bits=32), "layer 0: bits that change have a base of 2 to 8 bits, got 32"),
        ({}, dict(adaptive=True), "layer 0: the bits of an activation follow adaptive or policy, not both"),
    ],
)
def test_what_cannot_switch_is_refused(weight, act, message):
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ConfigError, match=message):
        prepare(net, weight=dict(policy=True, **weight), act=dict(policy=True, **act))


def test_convolutions_without_a_policy_still_run_fused():
    assert UniformQuantizer.fusible
    assert not SwitchableQuantizer.fusible
    assert isinstance(network()[0], QuantConv2d)
