"""Small nets and clips the tests of this package share."""

import copy

import torch
from torch import nn

from vsrq.quant import calibrate, prepare
from vsrq.residual import TemporalState, convert_residual, temporal


def moving_clip(frames=6, noise=0.1, channels=4, size=12, batch=1):
    base = torch.randn(batch, channels, size, size)
    return [base + noise * torch.randn_like(base) * k for k in range(frames)]


def net():
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 4, 3, padding=1))


def run(model, frames, state=None):
    with temporal(model, state or TemporalState()):
        return [model(frame) for frame in frames]


def residual_net(frames, *, bits=4, residual_bits=4, float_net=None, act=None, weight=None, **settings):
    """A calibrated residual net; ``act`` and ``weight`` add to the configs of the residual quantizers."""
    model = copy.deepcopy(float_net) if float_net is not None else net()
    prepare(model, weight=dict(bits=bits), act=dict(bits=bits))
    weight, act = ({"bits": residual_bits, **(config or {})} for config in (weight, act))
    convert_residual(model, weight=weight, act=act, **settings)
    if bits != 32 or residual_bits != 32:
        calibrate(model, lambda: run(model, frames), passes=2)
    return model
