import torch
from torch import nn

from vsrq.quant import calibrate, prepare
from vsrq.quant.weight_cache import quantize_weights_once


def recurrent():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    prepare(net, weight=dict(type="LSQ", bits=4), act=dict(type="LSQ", bits=4))
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


def test_sharing_the_quantized_weight_changes_neither_output_nor_gradients():
    net, x = recurrent()
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
