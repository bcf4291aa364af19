import pytest
import torch
from torch import nn

from vsrq.errors import CalibrationError, ConfigError
from vsrq.quant import QuantConv2d, QuantLayer, QuantLinear, calibrate, prepare


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1))
        self.head = nn.Linear(4, 2)
        self.again = self.head  # one module under two names

    def forward(self, x):
        return self.again(self.body(self.first(x)).mean((2, 3)))


def test_table_and_types():
    net = Net()
    rules = [
        dict(pattern="first", weight=dict(bits=8), act=dict(bits=6)),
        dict(pattern="body.0", quantize=False),
        dict(pattern="body.*", act=dict(symmetric=True)),
    ]
    table = prepare(net, weight=dict(bits=4), act=dict(bits=4), rules=rules, roles={"body.*": "trunk"})
    assert [(r.name, r.type, r.weight_bits, r.act_bits, r.role) for r in table] == [
        ("first", "QuantConv2d", 8, 6, ""),
        ("body.0", "Conv2d", 32, 32, "trunk"),
        ("body.2", "QuantConv2d", 4, 4, "trunk"),
        ("head", "QuantLinear", 4, 4, ""),
    ]
    assert net.body[2].act_quantizer.symmetric
    assert not net.first.act_quantizer.symmetric
    assert net.again is net.head


def test_first_matching_rule_wins():
    net = Net()
    prepare(net, rules=[dict(pattern="body.0", weight=dict(bits=2)), dict(pattern="body.*", weight=dict(bits=5))])
    assert net.body[0].weight_quantizer.bits == 2
    assert net.body[2].weight_quantizer.bits == 5


def test_float_checkpoint_loads_into_the_prepared_network():
    net, trained = Net(), Net()
    prepare(net)
    result = net.load_state_dict(trained.state_dict(), strict=False)
    assert result.unexpected_keys == []
    assert all("quantizer" in key for key in result.missing_keys)
    assert torch.equal(net.first.weight, trained.first.weight)


def test_32_bits_equal_float_exactly():
    net, x = Net(), torch.randn(2, 3, 8, 8)
    expected = net(x)
    prepare(net, weight=dict(bits=32), act=dict(bits=32))
    assert torch.equal(net(x), expected)
    assert isinstance(net.first, QuantConv2d)
    assert isinstance(net.head, QuantLinear)


def test_checkpoint_of_a_calibrated_network_restores_its_output():
    net, x = Net(), torch.randn(2, 3, 8, 8)
    prepare(net, weight=dict(bits=4), act=dict(bits=4))
    calibrate(net, lambda: net(x))
    other = Net()
    prepare(other, weight=dict(bits=4), act=dict(bits=4))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(rules=[dict(pattern="bdy.*", quantize=False)]), "rule 'bdy.*' has no effect: it matches no"),
        (
            dict(rules=[dict(pattern="body.*"), dict(pattern="body.0")]),
            "'body.0' has no effect: earlier rules take all its layers",
        ),
        (dict(rules=[dict(pattern="first", weigth=dict(bits=2))]), "'weigth' in a rule; did you mean 'weight'"),
        (dict(rules=[dict(weight=dict(bits=2))]), "every rule needs a `pattern`"),
        (dict(rules=[dict(pattern="first"), dict(pattern="first")]), "two rules have the pattern 'first'"),
        (dict(weight=dict(bits=11)), "layer .*: bits must be one of .* got 11"),
        (dict(act=dict(bit=4)), "unknown key 'bit' .*did you mean 'bits'"),
        (dict(weight=dict(axis=7)), "axis 7"),
    ],
)
def test_bad_recipes_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        prepare(Net(), **arguments)


def test_a_refused_recipe_leaves_the_network_float():
    net = Net()
    with pytest.raises(ConfigError):
        prepare(net, rules=[dict(pattern="nothing")])
    assert not any(isinstance(module, QuantLayer) for module in net.modules())


def test_preparing_twice_and_networks_without_layers_are_refused():
    net = Net()
    prepare(net)
    with pytest.raises(ConfigError, match="quantized already"):
        prepare(net)
    with pytest.raises(ConfigError, match="no layer that can be quantized"):
        prepare(nn.Sequential(nn.ReLU()))


def test_calibration_errors_name_the_layer_and_restore_the_former_ranges():
    net, x = Net(), torch.randn(2, 3, 8, 8)
    prepare(net)
    calibrate(net, lambda: net(x))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(CalibrationError, match=r"first\.act_quantizer"):
        calibrate(net, lambda: net(x * float("nan")))
    with pytest.raises(
        CalibrationError, match=r"body\.0\.act_quantizer: saw no data|first\.act_quantizer: saw no data"
    ):
        calibrate(net, lambda: None)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with pytest.raises(ConfigError, match="passes must be 1 or more, got 0"):
        calibrate(net, lambda: net(x), passes=0)
    assert net.training


def test_calibration_sees_the_quantized_recurrence():
    """A recurrence whose quantized features leave the float range must be calibrated on the quantized ones."""

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.step = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, clip):
            feat = clip[0]
            for frame in clip:
                feat = self.step(feat) + frame
            return feat

    net, clip = Recurrent(), torch.rand(8, 1, 2, 16, 16)
    ranges = {}

    def largest_input(key):
        def hook(_module, inputs):
            ranges[key] = max(ranges.get(key, 0), inputs[0].max().item())

        return net.step.register_forward_pre_hook(hook)

    handle = largest_input("float")
    net(clip)
    handle.remove()
    prepare(net, weight=dict(bits=2), act=dict(bits=8, observer=dict(type="MinMax")))
    handle = largest_input("quantized")
    calibrate(net, lambda: net(clip))
    assert ranges["quantized"] != pytest.approx(ranges["float"], rel=0.01)
    scale, zero_point, _, qmax = net.step.act_quantizer.qparams()
    assert (scale * (qmax - zero_point)).item() == pytest.approx(ranges["quantized"], abs=scale.item())
