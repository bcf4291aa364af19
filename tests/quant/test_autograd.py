"""Gradients of quantizers against closed forms, against autograd on the written-out formula, and in layers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vsrq.quant import QuantConv2d, UniformQuantizer, calibrate
from vsrq.quant.autograd import Gradient, Grid, fake_quantize_with_gradient, straight_through
from vsrq.quant.calibrate import observing
from vsrq.quant.functional import fake_quantize, soft_rounding_slope

SHARP = 1.0


def round_ste(u):
    return u + (u.round() - u).detach()


def soft_round(u, k=SHARP):
    """RLQ's phi; its value is only used for its derivative."""
    f = u - u.floor().detach()
    return u.floor().detach() + 0.5 * (torch.tanh(k * (f - 0.5)) / math.tanh(k / 2) + 1)


def round_with_slope(u, k):
    if not k:
        return round_ste(u)
    soft = soft_round(u, k)
    return soft + (u.round() - soft).detach()


def grid(scale, qmin, qmax, zero_point=0, offset=None, axis=None, **gradient):
    zero_points = torch.full_like(scale, zero_point, dtype=torch.int32)
    return Grid(scale, offset, zero_points, qmin, qmax, axis, Gradient(**gradient))


def gradients(x, scale, **settings):
    x, scale = x.clone().requires_grad_(), scale.clone().requires_grad_()
    y = fake_quantize_with_gradient(x, grid(scale, **settings))
    weights = torch.arange(1.0, y.numel() + 1).view_as(y)
    (y * weights).sum().backward()
    return y.detach(), x.grad, scale.grad


def test_soft_rounding_slope_is_that_of_the_published_formula():
    u = torch.linspace(-3.2, 3.3, 400, dtype=torch.float64, requires_grad=True)
    soft_round(u).sum().backward()
    assert torch.allclose(soft_rounding_slope(u.detach(), SHARP), u.grad)
    ends = soft_rounding_slope(torch.tensor([0.0, 0.999999, 0.5]), SHARP)
    assert torch.allclose(ends, torch.tensor([0.8509, 0.8509, 1.0820]), atol=1e-4)


def test_soft_rounding_slope_has_mean_1_and_tends_to_straight_through():
    f = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    for k in (0.1, 1.0, 5.0):
        assert soft_rounding_slope(f, k).mean().item() == pytest.approx(1, abs=1e-5)
    assert (soft_rounding_slope(f, 1e-3) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("k", [0.0, SHARP, 4.0])
@pytest.mark.parametrize("limits", [(-8, 7), (0, 15)])
def test_step_gradient_is_lsq_closed_form(k, limits):
    """d/ds = round(u) - phi' u in range, qmin or qmax outside; d/dv = phi' in range, 0 outside."""
    x, s = torch.tensor([0.24, -0.13, 9.0, -9.0, 0.61]), 0.1
    _, gx, gs = gradients(x, torch.tensor([s]), qmin=limits[0], qmax=limits[1], sharpness=k)
    expected_x, expected_s = [], 0.0
    for weight, v in enumerate(x.tolist(), start=1):
        u = v / s
        inside = limits[0] <= u <= limits[1]
        slope = soft_rounding_slope(torch.tensor(u), k).item() if k else 1.0
        expected_x.append(weight * slope if inside else 0.0)
        expected_s += weight * ((round(u) - slope * u) if inside else limits[0] if u < 0 else limits[1])
    assert gx.tolist() == pytest.approx(expected_x, rel=1e-5)
    assert gs.item() == pytest.approx(expected_s, rel=1e-4)


@pytest.mark.parametrize("k", [0.0, SHARP])
@pytest.mark.parametrize("zero_point", [0, 3])
def test_gradients_equal_autograd_on_the_formula(k, zero_point):
    x = torch.randn(4, 5, 6) * 2
    scale = torch.tensor([0.21])
    y, gx, gs = gradients(x, scale, qmin=0, qmax=15, zero_point=zero_point, sharpness=k)
    x2, s2 = x.clone().requires_grad_(), scale.clone().requires_grad_()
    clipped = (x2 / s2).clamp(0 - zero_point, 15 - zero_point)
    reference = round_with_slope(clipped, k) * s2
    (reference * torch.arange(1.0, y.numel() + 1).view_as(y)).sum().backward()
    assert torch.allclose(y, reference.detach(), atol=1e-6)
    assert torch.allclose(gx, x2.grad, atol=1e-4)
    assert torch.allclose(gs, s2.grad, rtol=1e-4)


def test_per_channel_equals_channel_by_channel():
    x, scale = torch.randn(3, 20), torch.tensor([0.1, 0.2, 0.4])
    x.requires_grad_()
    scale.requires_grad_()
    fake_quantize_with_gradient(x, grid(scale, -8, 7, axis=0, sharpness=SHARP)).square().sum().backward()
    for c in range(3):
        row, step = x[c].detach().requires_grad_(), scale[c : c + 1].detach().requires_grad_()
        fake_quantize_with_gradient(row, grid(step, -8, 7, sharpness=SHARP)).square().sum().backward()
        assert torch.allclose(x.grad[c], row.grad)
        assert torch.allclose(scale.grad[c], step.grad, rtol=1e-4)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("layout", ["channels_last", "strided", "large"])
def test_the_memory_layout_changes_nothing(layout, axis):
    shape = (2, 3, 130, 130) if layout == "large" else (2, 3, 8, 6)
    x = torch.randn(shape)
    views = {
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "strided": torch.stack([x, -x], dim=-1)[..., 0],
        "large": x,
    }
    scale = torch.full((1 if axis is None else shape[axis],), 0.2)
    for k in (0.0, SHARP):
        _, gx, gs = gradients(views[layout], scale, qmin=-8, qmax=7, axis=axis, sharpness=k)
        _, expected_x, expected_s = gradients(x.double().float(), scale, qmin=-8, qmax=7, axis=axis, sharpness=k)
        assert torch.allclose(gx, expected_x)
        assert torch.allclose(gs, expected_s, rtol=1e-3)
        assert (gx.abs().amax((2, 3)) > 0).all()


def test_clip_gradient_is_pact():
    """alpha = s qmax: its gradient is the sum over the clipped values."""
    x = torch.tensor([0.2, 0.9, 3.0, 5.0])
    _, gx, gs = gradients(x, torch.tensor([0.1]), qmin=0, qmax=15, clip_only=True)
    assert gx.tolist() == [1.0, 2.0, 0.0, 0.0]
    assert gs.item() / 15 == pytest.approx(3 + 4)


def test_offset_gradient_is_lsq_plus():
    """v^ = s c + beta, c = round((v - beta) / s) clipped to 0 .. n."""
    x, n = torch.randn(200) * 2, 15
    beta, step = torch.tensor([-0.8]), torch.tensor([0.16])  # beta is a multiple of the step: no rounding of it
    weights = torch.randn(200)
    x1, b1, s1 = x.clone().requires_grad_(), beta.clone().requires_grad_(), step.clone().requires_grad_()
    y = fake_quantize_with_gradient(x1, grid(s1, 0, n, zero_point=5, offset=b1))
    (y * weights).sum().backward()
    x2, b2, s2 = x.clone().requires_grad_(), beta.clone().requires_grad_(), step.clone().requires_grad_()
    reference = s2 * round_ste(((x2 - b2) / s2).clamp(0, n)) + b2
    (reference * weights).sum().backward()
    assert torch.allclose(y, reference, atol=1e-5)
    assert torch.allclose(x1.grad, x2.grad)
    assert torch.allclose(b1.grad, b2.grad, rtol=1e-4)
    assert torch.allclose(s1.grad, s2.grad, rtol=1e-4)


def test_straight_through_is_exact_and_passes_the_gradient():
    value = torch.tensor([0.1, 0.7], requires_grad=True)
    target = torch.tensor([1 / 3, 2 / 3])
    out = straight_through(value, target)
    assert torch.equal(out, target)
    (out * torch.tensor([2.0, 3.0])).sum().backward()
    assert value.grad.tolist() == [2.0, 3.0]


def learned(data, **settings):
    quantizer = UniformQuantizer(**settings)
    with observing(quantizer):
        quantizer(data)
    return quantizer


def test_lsq_starts_at_its_step_and_scales_its_gradient():
    x = torch.randn(50, 40)
    quantizer = learned(x, bits=4, signed=True, learn="step", observer=dict(type="MeanAbs"))
    s = quantizer.qparams().scale.item()
    assert s == pytest.approx(2 * x.abs().mean().item() / math.sqrt(7), rel=1e-5)
    quantizer(x).sum().backward()
    u = x / s
    closed = torch.where(u <= -8, -8.0, torch.where(u >= 7, 7.0, u.round() - u)).sum() / math.sqrt(x.numel() * 7)
    # the step is scale * factor
    assert quantizer.factor.grad.item() == pytest.approx(s * closed.item(), rel=1e-3)


def test_training_and_inference_see_the_same_values():
    for settings in (
        dict(learn="step", observer=dict(type="MeanAbs")),
        dict(symmetric=False, learn="step", learn_offset=True),
        dict(learn="clip", power_of_two=True),
    ):
        quantizer, x = learned(torch.randn(300), bits=4, **settings), torch.randn(300)
        with torch.no_grad():
            quantizer.factor.mul_(1.37)
            inference = quantizer(x)
        assert torch.equal(quantizer(x).detach(), inference)


def test_a_learned_step_stays_positive():
    quantizer = learned(torch.randn(100), bits=4, learn="step")
    with torch.no_grad():
        quantizer.factor.fill_(-1.0)
    assert quantizer.qparams().scale.item() > 0
    quantizer(torch.randn(100)).square().sum().backward()
    assert quantizer.factor.grad.abs().item() > 0  # so that it can come back


def test_power_of_two_steps():
    x = torch.randn(1000)
    for settings in (dict(), dict(symmetric=False), dict(learn="step"), dict(axis=0, num_channels=4)):
        quantizer = learned(x.view(4, 250), bits=4, power_of_two=True, **settings)
        exponent = quantizer.qparams().scale.log2()
        assert torch.equal(exponent, exponent.round())
        assert quantizer(torch.zeros(4, 5)).abs().max() == 0


def layer_and_input(**act):
    torch.manual_seed(3)
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2)
    layer = QuantConv2d.from_float(conv, dict(bits=4), dict(bits=4, **act))
    x = torch.randn(2, 6, 9, 9)
    calibrate(layer, lambda: layer(x))
    return layer, x


@pytest.mark.parametrize("act", [dict(type="MSE"), dict(type="RLQ"), dict(type="LSQPlus"), dict(type="PACT")])
def test_fused_convolution_equals_quantizer_then_convolution(act):
    layer, x = layer_and_input(**act)

    def run(forward):
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        y = forward(leaf)
        y.square().sum().backward()
        return y.detach(), [leaf.grad.clone()] + [p.grad.clone() for p in layer.parameters()]

    def plain(leaf):
        quantized, weight = layer.act_quantizer(leaf), layer.weight_quantizer(layer.weight)
        return F.conv2d(quantized, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)

    fused, plain = run(layer), run(plain)
    assert torch.equal(fused[0], plain[0])
    for a, b in zip(fused[1], plain[1], strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)


def test_the_quantized_input_is_not_kept_for_the_backward_pass():
    layer, x = layer_and_input()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(x.requires_grad_())
    large = {t.data_ptr() for t in kept if t.numel() >= x.numel()}
    assert large == {x.data_ptr()}


def test_an_input_changed_in_place_is_noticed():
    layer, x = layer_and_input()
    x = x.clone().requires_grad_() * 1
    y = layer(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_mixed_precision_quantizes_in_float32():
    layer, x = layer_and_input(type="RLQ")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x.bfloat16().requires_grad_())
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.dtype == torch.float32, name
        assert torch.isfinite(parameter.grad).all()
    exact = layer(x.bfloat16().float())
    assert (y.float() - exact).abs().max() < 0.02 * exact.abs().max()


def test_export_sees_pytorchs_operator():
    quantizer = learned(torch.randn(100), bits=4, symmetric=False, learn="step", learn_offset=True).eval()
    traced = torch.jit.trace(quantizer, torch.randn(4), check_trace=False)
    assert "fake_quantize_per_tensor_affine" in str(traced.inlined_graph)
    x = torch.randn(50)
    assert torch.equal(traced(x).detach(), quantizer(x).detach())
    grid = quantizer.qparams()
    assert torch.equal(quantizer(x).detach(), fake_quantize(x, *(p.detach() for p in grid[:2]), *grid[2:]))
