"""The layers know nothing of super-resolution: a per-frame depth network, quantized through ``vsrq.residual`` alone."""

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsrq.quant import calibrate, cost, prepare
from vsrq.residual import TemporalState, convert_residual, residual_stats, temporal


class DepthNet(nn.Module):
    """Monocular depth at a quarter of the size of RT-MonoDepth-S: no normalisation, depthwise upsampling decoder.

    Four encoder levels of strided convolutions; each decoder level upsamples, filters depthwise, mixes pointwise and
    fuses the encoder's feature by addition (deep levels) or concatenation (the shallowest).
    """

    def __init__(self, channels=(8, 12, 16, 24)):
        super().__init__()
        widths = (3, *channels)
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU(True), nn.Conv2d(b, b, 3, 1, 1), nn.ReLU(True))
            for a, b in pairwise(widths)
        )
        steps = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.depthwise = nn.ModuleList(nn.Conv2d(a, a, 5, padding=2, groups=a) for a, _ in steps)
        self.pointwise = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in steps)
        self.fuse = nn.Conv2d(2 * channels[0], channels[0], 3, padding=1)
        self.head = nn.Conv2d(channels[0], 1, 3, padding=1)

    def forward(self, frame: Tensor) -> Tensor:
        levels = []
        for block in self.encoder:
            levels.append(frame := block(frame))
        x = levels.pop()
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            skip = levels.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = F.relu_(pointwise(depthwise(x)))
            x = x + skip if levels else F.relu_(self.fuse(torch.cat([x, skip], dim=1)))
        return torch.sigmoid(self.head(x))


def driving_clip(frames=6, size=48):
    """A scene that moves by one pixel per frame before a fixed horizon."""
    texture = F.interpolate(torch.rand(1, 3, size // 2, size + frames), scale_factor=(2, 1), mode="bilinear")
    clip = [texture[..., t : t + size].clone() for t in range(frames)]
    for frame in clip:
        frame[..., : size // 3, :] = 0.8
    return clip


def run(model, clip):
    with temporal(model, TemporalState()):
        return torch.stack([model(frame) for frame in clip])


def residual_depth_net(float_net, clip, bits, **settings):
    model = DepthNet()
    model.load_state_dict(float_net.state_dict())
    prepare(model, weight=dict(bits=bits), act=dict(bits=bits))
    table = convert_residual(model, weight=dict(bits=bits), act=dict(bits=bits), **settings)
    if bits != 32:
        calibrate(model, lambda: run(model, clip), passes=2)
    return model, table


@torch.no_grad()
def test_every_layer_is_residual_and_32_bits_equal_float():
    float_net, clip = DepthNet().eval(), driving_clip()
    for settings in (
        dict(coefficient=0.9),
        dict(reference="key", period=3),
        dict(coefficient=1.0, granularity="group"),
    ):
        model, table = residual_depth_net(float_net, clip, 32, **settings)
        assert len(table) == sum(isinstance(m, nn.Conv2d) for m in float_net.modules())
        for y, frame in zip(run(model, clip), clip, strict=True):
            assert torch.allclose(y, float_net(frame), atol=1e-5)


@pytest.mark.parametrize("granularity", ["layer", "group"])
@torch.no_grad()
def test_residuals_gain_at_equal_bit_operations(granularity):
    float_net, clip = DepthNet().eval(), driving_clip(8)
    truth = torch.stack([float_net(frame) for frame in clip])
    frame_model = DepthNet()
    frame_model.load_state_dict(float_net.state_dict())
    prepare(frame_model, weight=dict(bits=5), act=dict(bits=5))
    calibrate(frame_model, lambda: run(frame_model, clip))
    model, _ = residual_depth_net(float_net, clip, 5, granularity=granularity)
    video = torch.stack(clip, dim=1)
    price = [cost.measure(m, video, run=lambda v: run(m, v.unbind(1))).bops() for m in (frame_model, model)]  # noqa: B023
    assert price[0] == price[1]
    error = [(run(m, clip) - truth).square().mean().item() for m in (frame_model, model)]
    assert error[1] < error[0]
    if granularity == "group":
        assert [len(layer.prediction()) for layer in model.depthwise] == [24, 16, 12]


@torch.no_grad()
def test_statistics_tiles_and_triggers_work_there_too():
    float_net, clip = DepthNet().eval(), driving_clip()
    model, table = residual_depth_net(
        float_net, clip, 8, tiles=dict(size=8), trigger=dict(type="energy", threshold=2.0)
    )
    with residual_stats(model) as stats:
        output = run(model, clip)
    assert len(stats.rows()) == len(table)
    assert (output - torch.stack([float_net(frame) for frame in clip])).abs().max() < 0.1


def test_the_residual_package_needs_neither_a_network_nor_a_framework():
    code = "import sys, vsrq.residual; print(sorted({'mmengine', 'mmagic', 'mmcv', 'vsrq.models'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
