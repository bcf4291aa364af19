"""References, loops, coefficients: each variant follows its equations."""

import copy

import pytest
import torch
from torch import nn

from tests.residual.nets import moving_clip, net, residual_net, run
from vsrq.quant import calibrate, prepare
from vsrq.quant.functional import fake_quantize
from vsrq.quant.presets import PRESETS
from vsrq.residual import TemporalState, convert_residual, temporal


def quantize(quantizer, values, axis=None):
    return fake_quantize(values, *quantizer.qparams(), axis=axis)


@pytest.mark.parametrize("reference", ["prev", "key"])
@pytest.mark.parametrize("loop", ["closed", "open"])
@pytest.mark.parametrize("a", [1.0, 0.75])
@torch.no_grad()
def test_every_variant_follows_its_equations(reference, loop, a):
    frames = moving_clip(6)
    settings = dict(reference=reference, loop=loop, coefficient=a, period=4)
    model = residual_net(frames, bits=6, residual_bits=3, **settings)[:1]
    layer = model[0]
    key_weight = quantize(layer.weight_quantizer, layer.weight, 0)
    residual_weight = quantize(layer.residual_weight_quantizer, layer.weight, 0)
    conv = lambda x, w: nn.functional.conv2d(x, w, padding=1)  # noqa: E731
    with temporal(model, TemporalState()):
        for call, x in enumerate(frames):
            if call % 4 == 0:
                known = quantize(layer.act_quantizer, x)
                y = z = conv(known, key_weight)
                past = x if loop == "open" else known
            else:
                change = quantize(layer.residual_act_quantizer, x - a * past)
                y = a * z + conv(change, residual_weight)
                if reference == "prev":
                    z, past = y, x if loop == "open" else a * past + change
            assert torch.allclose(model(x), y + layer.bias[:, None, None], atol=1e-5)


@pytest.mark.parametrize("settings", [dict(reference="key"), dict(loop="open"), dict(reference="key", loop="open")])
@pytest.mark.parametrize("period", [None, 3])
@torch.no_grad()
def test_32_bits_equal_float_up_to_rounding_in_double_precision(settings, period):
    float_net, frames = net().double(), [x.double() for x in moving_clip(12)]
    settings = dict(settings, coefficient=0.9, period=period)
    model = residual_net(frames, bits=32, residual_bits=32, float_net=float_net, **settings)
    for y, x in zip(run(model, frames), frames, strict=True):
        assert (y - float_net(x)).abs().max() < 1e-12


@torch.no_grad()
def test_the_open_loop_piles_up_error_and_the_closed_loop_does_not():
    frames = moving_clip(2, noise=0.0) * 8
    drift = [0.05 * k * torch.randn(1, 4, 1, 1) for k in range(len(frames))]
    frames = [x + d for x, d in zip(frames, drift, strict=True)]
    float_net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
    error = {}
    for loop in ("closed", "open"):
        model = residual_net(frames, float_net=float_net, loop=loop, coefficient=1.0, residual_bits=3)
        outputs = run(model, frames)
        error[loop] = sum(
            (y - float_net(x)).square().mean().item() for y, x in zip(outputs[8:], frames[8:], strict=True)
        )
    assert error["closed"] < 0.5 * error["open"]


@torch.no_grad()
def test_a_depthwise_layer_may_have_a_coefficient_per_channel():
    """Channel k changes at its own pace; one coefficient cannot suit all."""
    pace = torch.linspace(0.0, 1.0, 4)[:, None, None]
    frames = [torch.randn(1, 4, 12, 12)]
    for _ in range(9):
        frames.append(pace * frames[-1] + (1 - pace**2).sqrt() * torch.randn(1, 4, 12, 12))
    float_net = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=4))
    single = residual_net(frames, float_net=float_net, bits=8)
    model = residual_net(frames, float_net=float_net, bits=8, granularity="group")
    assert single[0].prediction().shape == ()
    assert torch.allclose(model[0].prediction(), pace.flatten(), atol=0.15)
    truth = [float_net(x) for x in frames]
    error = lambda m: sum((y - z).square().mean().item() for y, z in zip(run(m, frames), truth, strict=True))  # noqa: E731
    assert error(model) < 0.7 * error(single)


@torch.no_grad()
def test_coefficients_per_channel_are_exact_at_32_bits():
    float_net, frames = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=4)), moving_clip()
    model = residual_net(frames, float_net=float_net, bits=32, residual_bits=32, granularity="group")
    model[0].prediction.coefficient.copy_(torch.tensor([0.0, 0.3, 0.9, 1.0]))
    for y, x in zip(run(model, frames), frames, strict=True):
        assert torch.allclose(y, float_net(x), atol=1e-5)


def test_ordinary_convolutions_keep_one_coefficient():
    model = residual_net(moving_clip(), granularity="group")
    assert model[0].prediction().shape == ()


def test_a_learned_coefficient_starts_from_the_calibrated_one_and_gets_a_gradient():
    float_net, frames = net(), moving_clip()
    torch.manual_seed(1)
    calibrated = residual_net(frames, float_net=float_net)
    model = residual_net(frames, float_net=float_net, coefficient="learned")
    for index in (0, 2):
        assert torch.equal(model[index].prediction(), calibrated[index].prediction())
    assert all(torch.equal(y, z) for y, z in zip(run(model, frames), run(calibrated, frames), strict=True))
    run(model, frames)[-1].square().mean().backward()
    coefficient = model[0].prediction.coefficient
    assert isinstance(coefficient, nn.Parameter)
    assert coefficient.grad.abs() > 0
    with torch.no_grad():
        coefficient.fill_(1.5)
    assert model[0].prediction().item() == 1.0


def test_learning_the_coefficient_through_the_closed_loop_lowers_the_error():
    float_net, frames = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), moving_clip(8, noise=0.02)
    model = residual_net(frames, float_net=float_net, bits=5, residual_bits=3, coefficient="learned")
    with torch.no_grad():
        model[0].prediction.coefficient.fill_(0.2)
        truth = [float_net(x) for x in frames]
    optimizer = torch.optim.Adam([model[0].prediction.coefficient], lr=0.05)
    losses = []
    for _ in range(25):
        loss = sum((y - z).square().mean() for y, z in zip(run(model, frames), truth, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert model[0].prediction().item() > 0.6


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_residual_quantizers_take_every_preset(preset):
    """Learned ranges included; RLQ's shift is refused, for a residual must keep its zero."""
    frames = moving_clip()
    act = dict(type=preset, bits=4, **(dict(shift=False) if preset == "RLQ" else {}))
    weight = dict(type=preset if "weight" in PRESETS[preset] else "MSE", bits=4)
    model = net()
    prepare(model, weight=dict(bits=4), act=dict(bits=4))
    convert_residual(model, weight=weight, act=act)
    with torch.no_grad():
        calibrate(model, lambda: run(model, frames), passes=2)
    sum(y.square().mean() for y in run(model, frames)).backward()
    for quantizer in (model[0].residual_act_quantizer, model[0].residual_weight_quantizer):
        if quantizer.factor is not None:
            assert quantizer.factor.grad.abs().sum() > 0
    learned = {"LSQ", "LSQPlus", "RLQ", "LearnedPercentile"}
    assert (model[0].residual_act_quantizer.factor is not None) == (preset in learned | {"PACT", "PAMS"})


@pytest.mark.parametrize("symmetric", [True, False])
@torch.no_grad()
def test_zero_is_on_the_residual_grid(symmetric):
    model = residual_net(moving_clip(), act=dict(symmetric=symmetric))
    quantizer = model[0].residual_act_quantizer
    assert quantizer.symmetric is symmetric
    assert torch.equal(quantizer(torch.zeros(3)), torch.zeros(3))


@pytest.mark.parametrize("truncate", [1, 2, 3])
def test_truncation_stops_the_gradient(truncate):
    frames = [x.requires_grad_() for x in moving_clip(7)]
    model = residual_net([x.detach() for x in frames], truncate=truncate)[:1]
    run(model, frames)[-1].sum().backward()
    reached = [x.grad is not None and bool(x.grad.abs().sum() > 0) for x in frames]
    first = 6 // truncate * truncate  # the memory is cut before this call
    assert reached == [call >= first for call in range(7)]


@torch.no_grad()
def test_weight_bits_of_residuals_are_an_axis_of_their_own():
    model = net()
    prepare(model, weight=dict(bits=8), act=dict(bits=6))
    table = convert_residual(model, weight=dict(bits=3), act=dict(bits=4))
    row = table[0]
    bits = (row.key_weight_bits, row.key_act_bits, row.residual_weight_bits, row.residual_act_bits)
    assert bits == (8, 6, 3, 4)


@torch.no_grad()
def test_rules_decide_per_layer():
    model = net()
    prepare(model, weight=dict(bits=8), act=dict(bits=8))
    rules = [dict(pattern="0", reference="key", act=dict(bits=2), storage=dict(input="uint8"), period=4, offset=1)]
    convert_residual(model, weight=dict(bits=4), act=dict(bits=4), storage=dict(output="float16"), rules=rules)
    first, last = model[0], model[2]
    assert (first.coding.reference, last.coding.reference) == ("key", "prev")
    assert (first.residual_act_quantizer.bits, last.residual_act_quantizer.bits) == (2, 4)
    assert (first.storage.input, first.storage.output, last.storage.input) == ("uint8", "float16", "float32")
    assert [first.schedule.is_key(call) for call in range(6)] == [True, True, False, False, False, True]


def test_in_place_arithmetic_equals_the_differentiable_one_bit_for_bit():
    frames = moving_clip()
    model = residual_net(frames, coefficient=0.7)
    with torch.no_grad():
        fast = run(model, frames)
    slow = run(copy.deepcopy(model).requires_grad_(False), frames)  # gradients enabled, none wanted
    for y, z in zip(fast, slow, strict=True):
        assert torch.equal(y, z)
