"""Key frames on demand: found where they should be, for each sample on its own, and paid for."""

import pytest
import torch
from torch import nn

from tests.residual.nets import moving_clip, net, residual_net, run
from vsrq.quant import calibrate, cost
from vsrq.residual import TemporalState, temporal

SCENE_CUTS = [
    dict(type="clip_rate", threshold=0.2),
    dict(type="energy", threshold=0.8),
    dict(type="histogram", threshold=0.3),
]


def shot(frames, sign=1):
    """A nearly still clip; shots of different sign look different."""
    return [sign * x.abs() for x in moving_clip(frames, noise=0.02)]


def calibrated(trigger, **settings):
    """A net that knows both kinds of shots, and no cut."""
    model = residual_net(shot(6), trigger=trigger, **settings)
    calibrate(model, lambda: [run(model, shot(6, sign)) for sign in (1, -1)], passes=2)
    return model


def kinds(model, frames):
    """Return, per layer, the kinds of its calls in order."""
    found = {}
    with cost.recording() as log:
        run(model, frames)
    for call in log.calls:
        found.setdefault(id(call.layer), []).append(call.kind)
    return list(found.values())


@pytest.mark.parametrize("trigger", SCENE_CUTS)
@torch.no_grad()
def test_a_scene_cut_makes_key_frames_and_nothing_else_does(trigger):
    first, second = shot(4), shot(4, -1)
    model = calibrated(trigger, bits=6, residual_bits=6)[:1]
    assert kinds(model, first + second) == [["key", *["residual"] * 3] * 2]
    cut = run(model, first + second)[4:]
    for y, z in zip(cut, run(model, second), strict=True):
        assert torch.allclose(y, z, atol=1e-5)


@pytest.mark.parametrize("trigger", [*SCENE_CUTS, dict(type="accumulated_error", threshold=1e-5)])
@torch.no_grad()
def test_samples_of_a_batch_have_their_own_key_frames(trigger):
    still, cut = shot(8), shot(4) + shot(4, -1)
    model = calibrated(trigger, bits=8, residual_bits=3)
    alone = [run(model, clip) for clip in (still, cut)]
    together = run(model, [torch.cat(pair) for pair in zip(still, cut, strict=True)])
    for y, a, b in zip(together, *alone, strict=True):
        assert torch.allclose(y, torch.cat([a, b]), atol=1e-4)
    assert {"key", "residual"} <= {kind for layer in kinds(model, cut)[:1] for kind in layer[1:]}


@torch.no_grad()
def test_a_mixed_batch_costs_what_its_samples_cost():
    still, cut = shot(6), shot(3) + shot(3, -1)
    model = calibrated(SCENE_CUTS[1], bits=8, residual_bits=4)

    def bops(frames):
        with cost.recording() as log:
            run(model, frames)
        return sum(call.macs * call.weight_bits * call.act_bits for call in log.calls)

    together = bops([torch.cat(pair) for pair in zip(still, cut, strict=True)])
    assert together == bops(still) + bops(cut)


@torch.no_grad()
def test_the_adaptive_schedule_asks_for_keys_as_often_as_the_error_grows():
    """Unequal weight grids drift; the tighter the threshold, the more key frames, the smaller the error."""
    float_net, frames = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1)), moving_clip(24, noise=0.05)
    count, error = [], []
    for threshold in (1.0, 0.01, 0.002):
        trigger = dict(type="accumulated_error", threshold=threshold)
        settings = dict(coefficient=1.0, weight=dict(bits=3), trigger=trigger)
        model = residual_net(frames, float_net=float_net, bits=8, residual_bits=6, **settings)
        count.append(kinds(model, frames)[0].count("key"))
        outputs = run(model, frames)
        error.append(sum((y - float_net(x)).square().mean().item() for y, x in zip(outputs, frames, strict=True)))
    assert count[0] == 1 < count[1] < count[2]
    assert error[0] > error[1] > error[2]


@torch.no_grad()
def test_32_bits_equal_float_whatever_triggers():
    float_net = net().double()
    frames = [x.double() for x in shot(3) + shot(3, -1)]
    trigger = dict(type="energy", threshold=0.5)
    model = residual_net(frames, float_net=float_net, bits=32, residual_bits=32, coefficient=0.9, trigger=trigger)
    with temporal(model, TemporalState()):
        for x in frames:
            assert (model(x) - float_net(x)).abs().max() < 1e-12
