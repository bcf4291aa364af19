import math

import pytest
import torch
from torch import nn

from tests.residual.nets import moving_clip, residual_net, run
from vsrq.residual import residual_stats


def autoregressive(rho, frames=12, size=24):
    """Frames of unit variance with correlation ``rho`` in time."""
    clip = [torch.randn(1, 4, size, size)]
    for _ in range(frames - 1):
        clip.append(rho * clip[-1] + math.sqrt(1 - rho**2) * torch.randn_like(clip[0]))
    return clip


def stats_of(model, frames):
    with torch.no_grad(), residual_stats(model) as stats:
        run(model, frames)
    return stats.rows()


@pytest.mark.parametrize("rho", [0.3, 0.8, 0.97])
def test_known_correlations_are_found(rho):
    frames = autoregressive(rho)
    model = residual_net(frames, bits=8, residual_bits=8, float_net=nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)))
    (row,) = stats_of(model, frames)
    assert (row.name, row.calls) == ("0", 11)
    assert row.rho == pytest.approx(rho, abs=0.03)
    assert row.coefficient == pytest.approx(rho, abs=0.03)
    assert row.variance_ratio == pytest.approx(1 - rho**2, rel=0.1)
    assert row.clip_rate < 0.01
    assert row.gain == pytest.approx(-10 * math.log10(1 - rho**2), abs=1.5)  # the prediction gain of DPCM


def test_every_layer_has_a_row_and_jumps_are_clipped():
    frames = moving_clip(4, noise=0.01)
    model = residual_net(frames)
    assert [row.name for row in stats_of(model, frames)] == ["0", "2"]
    jump = [*frames[:2], 5 * torch.randn(1, 4, 12, 12)]
    assert stats_of(model, jump)[0].clip_rate > 0.3


def test_nobody_listens_afterwards():
    frames = moving_clip(4)
    model = residual_net(frames)
    with torch.no_grad(), residual_stats(model) as stats:
        run(model, frames)
    before = stats.rows()
    with torch.no_grad():
        run(model, frames)
    assert stats.rows() == before
