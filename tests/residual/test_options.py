"""The choice between frame and residual, and of bits, under a budget."""

import pytest
import torch
from torch import nn

from tests.residual.nets import moving_clip, run
from vsrq.errors import ConfigError
from vsrq.quant import calibrate, cost, prepare
from vsrq.residual import allocate, allocation_rules, convert_residual, measure_options

BITS = ((3, 3), (4, 4), (6, 6))


class StillAndMoving(nn.Module):
    """One layer sees a still picture, the other one new noise in every frame."""

    def __init__(self):
        super().__init__()
        self.still, self.moving = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.still(x[:, :4]) + self.moving(x[:, 4:])


def frames():
    return [torch.cat([still, torch.randn(1, 4, 12, 12)], dim=1) for still in moving_clip(6, noise=0.01)]


def options_of(model, clip, **settings):
    return measure_options(model, lambda: torch.stack([model(x) for x in clip]), bits=BITS, **settings)


def test_the_mode_follows_the_statistics():
    model = StillAndMoving()
    options = options_of(model, frames(), act=dict(type="MSE"))  # of frames and residuals alike
    chosen = allocate(options, 16)
    assert chosen["still"].mode == "residual"
    by_mode = lambda name, bits: {o.mode: o.noise for o in options[name] if o.act_bits == bits}  # noqa: E731
    assert by_mode("still", 4)["residual"] < 0.5 * by_mode("still", 4)["frame"]
    assert by_mode("moving", 4)["residual"] > 0.8 * by_mode("moving", 4)["frame"]


def test_the_noise_estimate_is_the_error_of_the_quantized_network():
    """Of a network whose layers add up, the estimate must be what is measured."""
    model, clip = StillAndMoving(), frames()
    options = options_of(model, clip, modes=("frame",))
    expected = sum(o.noise for choices in options.values() for o in choices if o.act_bits == 4)
    with torch.no_grad():
        truth = [model(x) for x in clip]
        prepare(model, weight=dict(bits=4), act=dict(bits=4))
        calibrate(model, lambda: [model(x) for x in clip])
        error = sum((model(x) - y).square().sum().item() for x, y in zip(clip, truth, strict=True))
    assert expected == pytest.approx(error, rel=0.15)


def test_a_network_without_layers_is_refused():
    model = StillAndMoving()
    with pytest.raises(ConfigError, match="StillAndMoving has no float convolution"):
        options_of(model, frames(), exclude=["*"])


@torch.no_grad()
def test_rules_make_the_network_that_was_chosen():
    model, clip = StillAndMoving(), frames()
    with torch.enable_grad():
        chosen = allocate(options_of(model, clip), 20)
    quant_rules, residual_rules = allocation_rules(chosen)
    prepare(model, rules=quant_rules)
    convert_residual(model, rules=residual_rules)
    calibrate(model, lambda: run(model, clip), passes=2)
    report = cost.measure(model, torch.stack(clip, dim=1), run=lambda c: run(model, c.unbind(1)))
    assert report.bops_per_mac() <= 20
    for layer in report.layers:
        option = chosen[layer.name]
        assert set(layer.calls) == ({"frame"} if option.mode == "frame" else {"key", "residual"})
        assert layer.bops == layer.macs * option.weight_bits * option.act_bits


def test_the_float_network_stays_as_it_was():
    model, clip = StillAndMoving(), frames()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options_of(model, clip[:3])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
