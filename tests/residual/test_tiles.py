"""Bits per tile: spent where something changes, never more error than the step allows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.residual.nets import moving_clip, residual_net, run
from vsrq.errors import ConfigError
from vsrq.quant import cost, prepare
from vsrq.quant.calibrate import observing
from vsrq.quant.quantizer import UniformQuantizer
from vsrq.residual import TemporalState, TileQuantizer, convert_residual, fit_coarseness, temporal
from vsrq.residual.listen import listening


def tile_quantizer(**settings):
    frame = UniformQuantizer(bits=4, symmetric=False, observer=dict(type="MinMax"))
    with observing(frame):
        frame(torch.tensor([-2.0, 2.0]))
    return TileQuantizer(frame, **settings)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.01, 1.0), st.integers(1, 9), st.integers(9, 20))
def test_the_error_of_every_tile_is_bounded(seed, amplitude, tile, size):
    quantizer = tile_quantizer(size=tile, coarseness=6.0)
    r = amplitude * torch.randn(2, 3, size, size + 3, generator=torch.Generator().manual_seed(seed))
    r = r.clamp(-2, 2)
    q = quantizer(r)
    step = quantizer.qparams().scale
    codes = q / step
    assert torch.allclose(codes, codes.round(), atol=1e-4)
    error = quantizer._tile_mean((r - q).square().mean(1, keepdim=True)).amax()
    # never more than twice the power of rounding, except where rounding alone has more
    rounding = quantizer._tile_mean((r - (r / step).round() * step).square().mean(1, keepdim=True)).amax()
    assert error <= max(2 / 12 * step.item() ** 2, rounding.item()) * (1 + 1e-4)
    assert set(quantizer.bit_map(q).flatten().tolist()) <= {0.0, 2.0, 4.0, 8.0}


def test_bits_follow_the_magnitude():
    quantizer = tile_quantizer(size=4, coarseness=4.0)
    step = quantizer.qparams().scale.item()
    r = torch.zeros(1, 2, 8, 8)
    r[..., :4, 4:] = step * torch.tensor([-1.0, 1.0]).repeat(8).view(1, 1, 4, 4)
    r[..., 4:, :4] = step * torch.linspace(-7, 7, 16).view(1, 1, 4, 4)
    r[..., 4:, 4:] = step * torch.linspace(-20, 20, 16).view(1, 1, 4, 4)
    q = quantizer(r)
    assert quantizer.bit_map(q).tolist() == [[[0, 2], [4, 8]]]
    assert quantizer.average_bits(q) == (0 + 2 + 4 + 8) / 4


def test_coarser_steps_spend_fewer_bits():
    r = 0.3 * torch.randn(1, 4, 32, 32)
    spent = [tile_quantizer(coarseness=c).average_bits(tile_quantizer(coarseness=c)(r)) for c in (0.5, 4, 16, 64, 256)]
    assert spent == sorted(spent, reverse=True)
    assert spent[0] == 8
    assert spent[-1] == 0


@torch.no_grad()
def test_only_what_moves_is_paid_for():
    """A still picture with one moving corner: the other tiles are skipped, and the cost says so."""
    base = torch.randn(1, 4, 32, 32)
    frames = [base.clone() for _ in range(5)]
    for frame in frames:
        frame[..., :8, :8] = torch.randn(1, 4, 8, 8)
    float_net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
    settings = dict(float_net=float_net, bits=8, coefficient=1.0)
    model = residual_net(frames, tiles=dict(size=8, coarseness=2.0), **settings)
    clip = torch.stack(frames, dim=1)
    report = cost.measure(model, clip, run=lambda c: run(model, c.unbind(1)))
    macs = report.macs() / 5
    assert report.bops() == macs * (8 * 8 + 4 * 4 * 8 / 16)  # a key frame, then weights of 4 bit, 1 of 16 tiles at 8
    for y, x in zip(run(model, frames), frames, strict=True):
        assert (y - float_net(x)).abs().max() < 0.2


@torch.no_grad()
def test_coarseness_is_fitted_to_a_budget():
    frames = moving_clip(5, noise=0.05, size=32)
    model = residual_net(frames, bits=8, tiles=dict(size=8))
    clip = torch.stack(frames, dim=1)
    measure = lambda: cost.measure(model, clip, run=lambda c: run(model, c.unbind(1))).bops_per_mac()  # noqa: E731
    reached = fit_coarseness(model, measure, 30.0)
    assert 22 < reached <= 30
    assert measure() == reached
    with pytest.raises(ConfigError, match=r"a budget of 1 cannot be met; the smallest cost is 12"):
        fit_coarseness(model, measure, 1.0)
    with pytest.raises(ConfigError, match="no residual layer with tiles"):
        fit_coarseness(residual_net(frames), measure, 30.0)


@torch.no_grad()
def test_a_checkpoint_carries_the_coarseness():
    frames = moving_clip(3)
    model, other = (residual_net(frames, tiles=dict(coarseness=c)) for c in (3.0, 5.0))
    other.load_state_dict(model.state_dict())
    assert other[0].residual_act_quantizer.coarseness.item() == 3.0


def test_gradients_pass_straight_through():
    quantizer = tile_quantizer(coarseness=64.0)
    r = (0.01 * torch.randn(1, 4, 8, 8)).requires_grad_()
    quantizer(r).sum().backward()
    assert torch.equal(r.grad, torch.ones_like(r))


@torch.no_grad()
def test_bit_maps_reach_a_listener():
    class Maps:
        def __init__(self):
            self.maps = []

        def residual_call(self, layer, x, residual, change):
            self.maps.append(layer.residual_act_quantizer.bit_map(change))

    frames = moving_clip(3, size=16)
    model = residual_net(frames, tiles=dict(size=8))
    with listening(Maps()) as listener, temporal(model, TemporalState()):
        for x in frames:
            model(x)
    assert [tuple(m.shape) for m in listener.maps] == [(1, 2, 2)] * 4


def test_tiles_are_for_convolutions_with_a_grid():
    linear = nn.Sequential(nn.Linear(3, 3))
    prepare(linear)
    with pytest.raises(ConfigError, match="layer 0: tiles are for convolutions only"):
        convert_residual(linear, tiles=dict())
    conv = nn.Sequential(nn.Conv2d(3, 3, 1))
    prepare(conv, act=dict(bits=32))
    with pytest.raises(ConfigError, match="layer 0: tiles need a calibrated activation grid"):
        convert_residual(conv, tiles=dict())
