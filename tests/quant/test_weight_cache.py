import pytest
import torch
from torch import nn

from vsrq.quant import calibrate, prepare
from vsrq.quant.weight_cache import quantize_weights_once


def recurrent(act="LSQ"):
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    prepare(net, weight=dict(type="LSQ", bits=4), act=dict(type=act, bits=4))
    x = torch.randn(1, 3, 8, 8)
    calibrate(net, lambda: net(net(x)))
    return net, x


def gradients(net, x, *, once):
    net.zero_grad()
    if once:
        with quantize_weights_once():
            y = net(net(net(x)))
    else:
        y = net(net(net(x)))
    y.square().sum().backward()
    return y.detach(), [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize("act", ["LSQ", "LSQPlus"])
def test_sharing_weight_and_grid_changes_neither_output_nor_gradients(act):
    net, x = recurrent(act)
    shared, each = gradients(net, x, once=True), gradients(net, x, once=False)
    assert torch.equal(shared[0], each[0])
    for a, b in zip(shared[1], each[1], strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_weight_is_quantized_once_per_block():
    net, x = recurrent()
    layer = net[0]
    with quantize_weights_once(), torch.no_grad():
        first = layer.weight_quantizer(layer.weight)
        assert layer.weight_quantizer(layer.weight) is first
        with torch.enable_grad():
            assert layer.weight_quantizer(layer.weight).requires_grad  # not the one without a graph
    with quantize_weights_once() as cache:
        net(x)
    with quantize_weights_once(cache):
        kept = layer.weight_quantizer(layer.weight)
        layer.weight.data.zero_()
        assert layer.weight_quantizer(layer.weight) is kept
    assert layer.weight_quantizer(layer.weight).abs().max() == 0


def test_a_learned_grid_is_made_once_per_block_unless_its_range_is_being_found():
    net, x = recurrent("LSQPlus")
    quantizer = net[0].act_quantizer
    with quantize_weights_once():
        grid = quantizer.grid(x)
        assert quantizer.grid(x).scale is grid.scale
        assert quantizer.grid(x).offset is grid.offset
    with torch.no_grad():
        quantizer.factor.mul_(2)
    with quantize_weights_once():
        torch.testing.assert_close(quantizer.grid(x).scale, 2 * grid.scale)
    with quantize_weights_once():
        before = quantizer.qparams().scale.clone()
        quantizer.start_observing(first_pass=True)
        quantizer(8 * x)
        assert quantizer.qparams().scale > 2 * before
        quantizer.stop_observing()
