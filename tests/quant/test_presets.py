import pytest
import torch
from torch import nn

from vsrq.errors import CalibrationError, ConfigError
from vsrq.quant import UniformQuantizer, calibrate, cost, prepare
from vsrq.quant.presets import PRESETS, register_preset, resolve
from vsrq.residual import TemporalState, convert_residual, temporal

WEIGHT = [name for name, recipe in PRESETS.items() if "weight" in recipe]
ACT = [name for name, recipe in PRESETS.items() if "act" in recipe]


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))


def calibrated(weight, act, x, net=None):
    net = net or network()
    prepare(net, weight=weight, act=act)
    calibrate(net, lambda: net(x))
    return net


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("act", ACT)
def test_every_preset_stays_on_its_grid_and_trains(act, bits):
    x = torch.randn(2, 3, 8, 8)
    weight = act if act in WEIGHT else "MSE"
    net = calibrated(dict(type=weight, bits=bits), dict(type=act, bits=bits), x)
    layer = net[2]
    feature = layer.act_quantizer.redistribute(net[1](net[0](x)))
    scale, zero_point, qmin, qmax = layer.act_quantizer.qparams(feature)
    codes = layer.act_quantizer.quantize(feature).detach() / scale + zero_point
    assert torch.allclose(codes, codes.round(), atol=1e-3)
    assert codes.min() >= qmin - 1e-3
    assert codes.max() <= qmax + 1e-3
    assert qmax - qmin == 2**bits - 1
    net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
    learned = {name for name, _ in net.named_parameters() if "quantizer" in name}
    assert {name.rpartition(".")[2] for name in learned} == {
        "LSQ": {"factor"},
        "LSQPlus": {"factor", "offset"},
        "RLQ": {"factor", "shift"},
        "PACT": {"factor"},
        "PAMS": {"factor"},
        "LearnedPercentile": {"factor"},
    }.get(act, set())


@pytest.mark.parametrize("weight", WEIGHT)
def test_every_weight_preset_approximates_the_weight(weight):
    net = calibrated(dict(type=weight, bits=8), {}, torch.randn(2, 3, 8, 8))
    error = net[0].weight_quantizer(net[0].weight) - net[0].weight
    assert error.square().mean() < 5e-3 * net[0].weight.square().mean()


def test_rlq_is_lsq_plus_a_shift_and_soft_rounding():
    x = torch.randn(2, 3, 8, 8)
    lsq, rlq = (calibrated(dict(type=t, bits=4), dict(type=t, bits=4), x) for t in ("LSQ", "RLQ"))
    assert torch.equal(lsq(x), rlq(x))  # the shift starts at 0 and rounding differs backwards only
    quantizer = rlq[0].act_quantizer
    assert quantizer.shift.shape == (1, 3, 1, 1)
    assert quantizer.scale.shape == rlq[0].weight_quantizer.scale.shape == (1,)
    with torch.no_grad():
        quantizer.shift.copy_(torch.tensor([0.3, -0.2, 0.1]).view(1, 3, 1, 1))
    shifted = quantizer.quantize(x + quantizer.shift)
    expected = nn.functional.conv2d(shifted, rlq[0].weight_quantizer(rlq[0].weight), rlq[0].bias, padding=1)
    assert torch.allclose(rlq[0](x), expected, atol=1e-6)
    assert "soft rounding (k=1), learned shift" in repr(quantizer)


def test_the_sign_is_decided_by_calibration_and_stays():
    net = calibrated({}, dict(type="LSQ", bits=4), torch.rand(2, 3, 8, 8))
    assert net[0].act_quantizer.limits() == net[2].act_quantizer.limits() == (0, 15)
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    assert net[0].act_quantizer.limits() == (0, 15)


def test_own_settings_win_over_the_preset_and_rules_over_both():
    net = network()
    rules = [dict(pattern="2", act=dict(type="LSQ"), weight=dict(axis=0))]
    prepare(net, weight=dict(type="RLQ", bits=3), act=dict(type="Percentile", bits=5, symmetric=True), rules=rules)
    assert net[0].act_quantizer.symmetric
    assert net[0].act_quantizer.observer_config["percentile"] == 99.9
    assert net[2].act_quantizer.learn == "step"
    assert net[2].act_quantizer.bits == 5
    assert net[2].weight_quantizer.scale.shape == (3,)
    assert net[0].weight_quantizer.scale.shape == (1,)


def test_a_registered_preset_works_by_name(monkeypatch):
    monkeypatch.setattr("vsrq.quant.presets.PRESETS", dict(PRESETS))
    register_preset("Wide", act=dict(observer=dict(type="MinMax"), power_of_two=True))
    assert resolve(dict(type="Wide", bits=3), "act")["power_of_two"]
    with pytest.raises(ConfigError, match="Wide is not for weights"):
        resolve(dict(type="Wide"), "weight")


def test_dynamic_ranges_follow_each_tensor_and_need_no_calibration():
    quantizer = UniformQuantizer(bits=8, symmetric=False, dynamic=True, observer=dict(type="MinMax"))
    quantizer.name = "head.act_quantizer"
    for size in (0.1, 10.0):
        x = torch.randn(100) * size
        assert (quantizer(x) - x).abs().max() <= (x.max() - x.min()) / 255 * 0.51
    with pytest.raises(ConfigError, match=r"head\.act_quantizer takes its range from each tensor"):
        quantizer.qparams()
    with pytest.raises(CalibrationError, match=r"head\.act_quantizer: .*NaN"):
        quantizer(torch.tensor([float("nan")]))
    assert torch.equal(quantizer(torch.zeros(3)), torch.zeros(3))


def test_learned_ranges_travel_in_the_checkpoint():
    x = torch.randn(2, 3, 8, 8)
    net = calibrated(dict(type="RLQ", bits=4), dict(type="RLQ", bits=4), x)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "quantizer" in name:
                parameter.add_(0.1)
    other = network()
    prepare(other, weight=dict(type="RLQ", bits=4), act=dict(type="RLQ", bits=4))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))
    calibrate(net, lambda: net(x))
    assert net[0].act_quantizer.factor.item() == 1  # a new calibration forgets what was learned


def test_storage_counts_what_is_deployed():
    learned, fixed = network(), network()
    prepare(learned, weight=dict(type="LSQ", bits=4), act=dict(type="LSQ", bits=4))
    prepare(fixed, weight=dict(bits=4, axis=None), act=dict(bits=4, symmetric=True))
    assert cost.storage_bits(learned) == cost.storage_bits(fixed)
    shifted = network()
    prepare(shifted, weight=dict(type="RLQ", bits=4), act=dict(type="RLQ", bits=4))
    assert cost.storage_bits(shifted) - cost.storage_bits(fixed) == 32 * (3 + 4)


@torch.no_grad()
def test_residual_layers_code_the_shifted_input():
    """With a_t = 0 a residual layer is frame quantization, so its key and residual calls must agree on the shift."""
    x = torch.randn(4, 1, 3, 8, 8)

    def run():
        with temporal(net, TemporalState()):
            return torch.stack([net(frame) for frame in x])

    net = network()
    prepare(net, weight=dict(bits=8), act=dict(type="RLQ", bits=8))
    convert_residual(net, weight=dict(bits=8), act=dict(bits=8), coefficient=0.0)
    for layer in (net[0], net[2]):
        layer.act_quantizer.shift.fill_(0.25)
    calibrate(net, run)
    reference = network()
    for layer, source in ((reference[0], net[0]), (reference[2], net[2])):
        layer.load_state_dict({"weight": source.weight, "bias": source.bias})
        layer.register_forward_pre_hook(lambda _module, inputs: inputs[0] + 0.25)
        layer.padding_mode = "zeros"
    expected = torch.stack([reference(frame) for frame in x])
    assert (run() - expected).abs().max() < 0.05 * expected.abs().max()


def test_residual_layers_train_what_they_learn():
    x = torch.randn(4, 1, 3, 8, 8)
    net = network()
    prepare(net, weight=dict(type="LSQ", bits=4), act=dict(type="RLQ", bits=4))
    convert_residual(net, weight=dict(type="LSQ", bits=4), act=dict(type="LSQPlus", bits=4))

    def run():
        with temporal(net, TemporalState()):
            return torch.stack([net(frame) for frame in x])

    with torch.no_grad():
        calibrate(net, run, passes=2)
    run().square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(weight=dict(type="LSk")), "layer 0: unknown quantizer type 'LSk'; did you mean 'LSQ'"),
        (dict(weight=dict(type="PACT")), "quantizer PACT is not for weights. Allowed: MinMax"),
        (dict(weight=dict(type="Dynamic")), "not for weights"),
        (dict(weight=dict(shift=True)), "shift=True is for activations only"),
        (dict(weight=dict(type="RLQ", bits=16)), "layer 0: bits must be one of .* got 16"),
        (dict(act=dict(type="RLQ", rounding=dict(type="sigmoid"))), "rounding type must be 'tanh'"),
        (dict(act=dict(type="RLQ", rounding=dict(type="tanh", sharpness=0))), "sharpness must lie in"),
        (dict(act=dict(type="LSQ", symmetric=False)), "observer MeanAbs needs a symmetric grid"),
        (dict(act=dict(learn_offset=True)), "learn_offset needs an affine grid"),
        (dict(act=dict(learn="both")), "learn must be 'step', 'clip' or None"),
        (dict(act=dict(type="Dynamic", symmetric=True)), "needs signed=True or False"),
        (dict(act=dict(type="Dynamic", learn="step")), "not learned"),
        (dict(act=dict(axis=1)), "layer 0: activations have one grid per tensor; remove axis=1"),
        (dict(act=dict(learned=True)), "unknown key 'learned' in act; did you mean 'learn'"),
    ],
)
def test_bad_recipes_are_refused_with_the_layers_name(arguments, message):
    with pytest.raises(ConfigError, match=message):
        prepare(network(), **arguments)


def test_a_residual_cannot_be_shifted():
    net = network()
    prepare(net)
    with pytest.raises(ConfigError, match="layer 0: a residual must keep its zero"):
        convert_residual(net, act=dict(type="RLQ"))
