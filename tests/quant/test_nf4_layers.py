"""Layers that store their weights as NF4."""

import copy
import io

import pytest
import torch
from torch import nn

from vsrq.errors import ConfigError
from vsrq.ops.partial_conv import PartialConv2d
from vsrq.quant import NF4Conv2d, NF4Layer, cost, merge_lora, nf4, prepare, prepare_nf4
from vsrq.quant.weight_cache import quantize_weights_once


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(16, 16, (1, 3), padding=(0, 1), padding_mode="reflect"), nn.ReLU())
        self.again = self.body[0]  # one module under two names
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.again(self.body(self.first(x))).mean((2, 3)))


def with_weights_on_the_grid(net):
    """The float network that the NF4 network stands for."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for module in net.modules():
            if hasattr(module, "weight"):
                module.weight.copy_(nf4.dequantize(nf4.quantize(module.weight), module.weight.shape))
    return net


def test_the_network_computes_in_float_with_dequantized_weights():
    net, x = Net(), torch.randn(2, 3, 8, 9)
    expected = with_weights_on_the_grid(net)(x)
    table = prepare_nf4(net, roles={"body.*": "trunk"})
    assert torch.equal(net(x), expected)
    with quantize_weights_once():
        assert torch.equal(net(x), expected)
    assert net.again is net.body[0]
    assert [(r.name, r.type, r.weight_bits, r.act_bits, r.role) for r in table] == [
        ("first", "NF4Conv2d", 4, 32, ""),
        ("body.0", "NF4Conv2d", 4, 32, "trunk"),
        ("head", "NF4Linear", 4, 32, ""),
    ]
    assert not any(name.endswith("weight") for name, _ in net.named_parameters())


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 8, 3, stride=2, dilation=2, groups=2, bias=False), nn.Linear(5, 3)])
def test_geometry_is_that_of_the_float_layer(layer):
    x = torch.randn(2, 5) if isinstance(layer, nn.Linear) else torch.randn(1, 4, 12, 12)
    model = nn.Sequential(layer)
    expected = with_weights_on_the_grid(model)(x)
    prepare_nf4(model)
    assert torch.equal(model(x), expected)


def test_parts_of_the_input_add_up():
    model = nn.Sequential(PartialConv2d(6, 4, 3, padding=1))
    x = torch.randn(1, 6, 8, 8)
    prepare_nf4(model)
    parts = [model[0](x[:, part], part) for part in (slice(0, 2), slice(2, 6))]
    assert torch.allclose(sum(parts), model(x), atol=1e-6)


def test_a_checkpoint_holds_codes_and_restores_the_network():
    net, x = nn.Sequential(nn.Conv2d(64, 64, 3), nn.Conv2d(64, 64, 3)), torch.randn(1, 64, 6, 6)
    float_size = saved(net).getbuffer().nbytes
    prepare_nf4(net)
    file = saved(net)
    assert file.getbuffer().nbytes < 0.16 * float_size
    other = nn.Sequential(nn.Conv2d(64, 64, 3), nn.Conv2d(64, 64, 3))
    prepare_nf4(other)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), net(x))


def saved(net):
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    return file


def test_cost_counts_float_operations_and_packed_storage():
    net = nn.Sequential(nn.Conv2d(64, 256, 3, padding=1, bias=False), nn.Conv2d(256, 3, 1))
    prepare_nf4(net, rules=[dict(pattern="1", quantize=False)])
    report = cost.measure(net, torch.randn(1, 2, 64, 6, 6), run=lambda clip: [net(x) for x in clip.unbind(1)])
    assert [layer.calls for layer in report.layers] == [{"weight-only": 2}, {"float": 2}]
    assert report.bops_per_mac() == 1024  # no bit operation is saved
    weights, rest = 64 * 256 * 9, 256 * 3 + 3
    scales = weights // 64
    assert report.storage_bits == 4 * weights + 8 * scales + 32 * (scales // 256) + 32 + 32 * rest
    assert report.parameters == weights + rest
    assert report.bits_per_parameter == report.storage_bits / (weights + rest)
    packed = next(module for module in net.modules() if isinstance(module, NF4Layer)).nf4
    assert packed.storage_bits / weights == pytest.approx(4.127, abs=1e-3)


def test_dequantized_layers_are_the_float_layers_again():
    net, x = Net(), torch.randn(2, 3, 8, 9)
    names = list(net.state_dict())
    prepare_nf4(net)
    expected = net(x)
    assert set(merge_lora(net).values()) == {"float"}
    assert torch.equal(net(x), expected)
    assert list(net.state_dict()) == names
    assert type(net.first) is nn.Conv2d
    assert net.again is net.body[0]


def test_gradients_pass_to_the_input_and_the_bias():
    net, x = Net(), torch.randn(1, 3, 8, 8, requires_grad=True)
    prepare_nf4(net)
    net(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert net.first.bias.grad.abs().sum() > 0


def test_single_layers_can_be_left_out_or_stored_otherwise():
    net = Net()
    rules = [dict(pattern="head", quantize=False), dict(pattern="first", block=128, double=False)]
    assert [row.weight_bits for row in prepare_nf4(net, rules=rules)] == [4, 4, 32]
    assert type(net.head) is nn.Linear
    assert (net.first.nf4.block, net.first.nf4.scale_absmax) == (128, None)
    assert isinstance(net.body[0], NF4Conv2d)
    assert net.body[0].nf4.block == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(block=100), r"layer first: block must be one of 32, 64"),
        (dict(rules=[dict(pattern="bdy", quantize=False)]), "rule 'bdy' has no effect"),
        (dict(rules=[dict(pattern="head", bits=3)]), "unknown key 'bits' in a rule"),
    ],
)
def test_bad_settings_are_refused_and_leave_the_network_float(arguments, message):
    net = Net()
    with pytest.raises(ConfigError, match=message):
        prepare_nf4(net, **arguments)
    assert not any(isinstance(module, NF4Layer) for module in net.modules())


def test_unsuitable_networks_are_refused():
    net = Net()
    prepare(net)
    with pytest.raises(ConfigError, match="quantized already"):
        prepare_nf4(net)
    with pytest.raises(ConfigError, match="ReLU has no convolution or linear layer"):
        prepare_nf4(nn.ReLU())
    broken = Net()
    broken.body[0].weight.data[0] = float("inf")
    with pytest.raises(ConfigError, match=r"layer body\.0: 48 of 768 weights are not finite"):
        prepare_nf4(broken)
