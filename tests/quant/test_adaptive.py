"""Activation quantizers whose bits shift."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vsrq.errors import ConfigError
from vsrq.quant import UniformQuantizer, calibrate, cost, prepare
from vsrq.quant.adaptive import AdaptiveQuantizer, Spread, layer_shifts, regrid
from vsrq.quant.autograd import Grid
from vsrq.quant.functional import grid_limits

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.4


def calibrated(**recipe):
    quantizer = AdaptiveQuantizer(**{"bits": 4, "symmetric": False, **recipe})
    calibrate(quantizer, lambda: quantizer(X))
    return quantizer


@given(
    bits=st.integers(3, 7),
    shift=st.sampled_from([-1, 1]),
    signed=st.booleans(),
    symmetric=st.booleans(),
    zero=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_a_regridded_range_is_the_same_to_a_step(bits, shift, signed, symmetric, zero):
    qmin, qmax = grid_limits(bits, signed=signed and symmetric)
    zero_point = 0 if symmetric else round(zero * qmax)
    grid = Grid(torch.tensor([0.3]), None, torch.tensor([zero_point], dtype=torch.int32), qmin, qmax)
    new = regrid(grid, *grid_limits(bits + shift, signed=signed and symmetric), symmetric=symmetric)

    def ends(g):
        return (g.scale * (g.qmin - g.zero_point)).item(), (g.scale * (g.qmax - g.zero_point)).item()

    (low, high), (new_low, new_high) = ends(grid), ends(new)
    step = max(grid.scale, new.scale).item()
    assert new_low == pytest.approx(low, abs=step)
    assert new_high == pytest.approx(high, abs=step)
    if symmetric:  # nothing is clipped that was not
        assert new_low <= low + 1e-5
        assert new_high >= high - 1e-5
    assert new.qmin <= new.zero_point <= new.qmax  # zero stays on the grid


@pytest.mark.parametrize("recipe", [{}, dict(symmetric=True), dict(type_="LSQ", learn="step", symmetric=True)])
def test_without_a_shift_it_is_the_uniform_quantizer(recipe):
    recipe = {k: v for k, v in recipe.items() if k != "type_"}
    plain = UniformQuantizer(**{"bits": 4, "symmetric": False, **recipe})
    calibrate(plain, lambda: plain(X))
    assert torch.equal(calibrated(**recipe)(X), plain(X))


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_bit_more_is_finer_and_a_bit_less_coarser(symmetric):
    quantizer = calibrated(symmetric=symmetric, observer=dict(type="MinMax"))
    errors, counts = [], []
    for shift in (-1, 0, 1):
        quantizer.clip_shift = shift
        assert quantizer.bits == 4 + shift
        y = quantizer(X)
        errors.append((y - X).square().mean().item())
        counts.append(len(y.unique()))
        scale, zero_point, qmin, qmax = quantizer.qparams()
        codes = torch.round(y / scale) + zero_point
        assert torch.allclose(scale * (codes - zero_point), y, atol=1e-6)
        assert codes.min() >= qmin
        assert codes.max() <= qmax
        assert qmax - qmin + 1 == 2 ** (4 + shift)
    assert errors[0] > 2.5 * errors[1] > 2.5**2 * errors[2]
    assert counts[0] < counts[1] < counts[2]


def test_both_shifts_add_up_within_the_allowed_widths():
    quantizer = calibrated()
    quantizer.set_layer_shift(1)
    quantizer.clip_shift = 1
    assert quantizer.bits == 6
    low, high = calibrated(bits=2), calibrated(bits=8)
    low.clip_shift, high.clip_shift = -1, 1
    assert (low.bits, high.bits) == (2, 8)


def test_a_checkpoint_carries_the_shift_of_the_layer():
    quantizer, other = calibrated(), AdaptiveQuantizer(bits=4, symmetric=False)
    quantizer.set_layer_shift(-1)
    other.load_state_dict(quantizer.state_dict())
    assert other.bits == 3
    assert torch.equal(other(X), quantizer(X))


def test_calibration_uses_the_base_and_forgets_the_layers_shift():
    quantizer = calibrated()
    scale = quantizer.scale.clone()
    quantizer.set_layer_shift(-1)
    calibrate(quantizer, lambda: quantizer(X))
    assert (quantizer.bits, quantizer.layer_shift.item()) == (4, 0)
    assert torch.equal(quantizer.scale, scale)


def test_gradients_reach_a_learned_step_at_any_width():
    quantizer = calibrated(symmetric=True, learn="step")
    for shift in (-1, 0, 1):
        quantizer.clip_shift = shift
        quantizer.factor.grad = None
        quantizer(X).square().sum().backward()
        assert quantizer.factor.grad.abs().sum() > 0


def test_spread_in_space_and_time():
    spread = Spread()
    still = torch.randn(1, 4, 32, 32)
    for _ in range(3):
        spread.update(still)
    assert spread.spatial == pytest.approx(1, abs=0.05)
    assert spread.temporal == 0
    noise = Spread()
    for _ in range(3):
        noise.update(torch.randn(1, 4, 32, 32) * 2)
    assert noise.spatial == pytest.approx(2, abs=0.1)
    assert noise.temporal == pytest.approx(2, abs=0.1)  # uncorrelated: the standard deviation itself
    noise.update(torch.zeros(1, 4, 8, 8))  # another size: no pair
    assert noise.temporal == pytest.approx(2, abs=0.1)


def test_shifts_are_balanced_and_follow_the_ranks():
    spatial, temporal = [5.0, 1.0, 100.0, 2.0], [0.2, 0.1, 0.9, 0.3]
    assert layer_shifts(spatial, temporal, 0.25) == [0, -1, 1, 0]
    assert layer_shifts(spatial, temporal, 0.5) == [-1, -1, 1, 1]
    assert layer_shifts(spatial, temporal, 0) == [0, 0, 0, 0]
    assert layer_shifts([1000 * s for s in spatial], temporal, 0.25) == [0, -1, 1, 0]  # units do not matter


def test_the_recipe_makes_layers_adaptive_and_the_cost_follows():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1))
    prepare(
        net, weight=dict(bits=4), act=dict(bits=4, adaptive=True), rules=[dict(pattern="1", act=dict(adaptive=False))]
    )
    assert isinstance(net[0].act_quantizer, AdaptiveQuantizer)
    assert type(net[1].act_quantizer) is UniformQuantizer
    calibrate(net, lambda: net(X))
    net[0].act_quantizer.clip_shift = 1
    report = cost.measure(net, X[:, None], run=lambda clip: net(clip[:, 0]))
    assert [layer.bops / layer.macs for layer in report.layers] == [20, 16]


def test_what_cannot_adapt_is_refused():
    with pytest.raises(ConfigError, match="bits that change have a base of 2 to 8 bits, got 32"):
        AdaptiveQuantizer(bits=32)
    with pytest.raises(ConfigError, match="adaptive=True is for activations only"):
        prepare(nn.Sequential(nn.Conv2d(3, 4, 3)), weight=dict(adaptive=True))
