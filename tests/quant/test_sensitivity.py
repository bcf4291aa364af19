"""Layers quantized one at a time, and mixed precision from it."""

import pytest
import torch
from torch import nn

from vsrq.errors import ConfigError
from vsrq.quant import allocate, calibrate, cost, measure_sensitivity, prepare
from vsrq.quant.sensitivity import options_from, rules_from

CLIP = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two layers whose outputs add up; the second one is 30 times weaker."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.strong, self.weak = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.unused = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.strong(x) + self.weak(x) / 30


def run(model, clip):
    return torch.stack([model(frame) for frame in clip.unbind(1)], dim=1)


def measure(model=None, **settings):
    model = model or Net()
    with torch.no_grad():
        target = run(model, CLIP) + 0.01 * torch.randn(1, 4, 4, 6, 6)

    def score(output):
        return -(output - target).square().mean().item()

    settings = dict(bits=((3, 3), (6, 6)), **settings) if "bits" not in settings else settings
    return measure_sensitivity(model, CLIP, run=run, score=score, **settings)


def by_layer(trials):
    return {(t.name, t.weight_bits, t.act_bits): t for t in trials}


@torch.no_grad()
def test_a_trial_is_the_error_of_the_network_with_that_layer_quantized():
    net = Net()
    trials = by_layer(measure(net))
    reference = run(net, CLIP)
    prepare(net, weight=dict(bits=3), act=dict(bits=3), rules=[dict(pattern="[wu]*", quantize=False)])
    calibrate(net, lambda: run(net, CLIP))
    expected = (run(net, CLIP) - reference).square().sum().item()
    assert trials["strong", 3, 3].noise == pytest.approx(expected, rel=1e-5)


def test_sensitive_layers_are_found_and_unused_ones_left_out():
    trials = by_layer(measure())
    assert set(trials) == {(name, b, b) for name in ("strong", "weak") for b in (3, 6)}
    for bits in (3, 6):
        assert trials["strong", bits, bits].noise > 100 * trials["weak", bits, bits].noise
    assert trials["strong", 3, 3].drop > trials["strong", 6, 6].drop > 0
    assert {t.macs for t in trials.values()} == {4 * 4 * 36 * 27}


@torch.no_grad()
def test_the_float_network_stays_as_it_was():
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    measure(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training


@torch.no_grad()
def test_bits_go_to_the_sensitive_layer_and_the_rules_make_that_network():
    net, rules = Net(), [dict(pattern="strong", act=dict(symmetric=True)), dict(pattern="unused", quantize=False)]
    chosen = allocate(options_from(measure(net, rules=rules)), 23)
    assert (chosen["strong"].weight_bits, chosen["weak"].weight_bits) == (6, 3)
    written = rules_from(net, chosen, rules)
    assert [rule["pattern"] for rule in written] == ["strong", "weak", "unused"]
    prepare(net, rules=written)
    assert net.strong.act_quantizer.symmetric  # what a rule said beside bits is kept
    assert not net.weak.act_quantizer.symmetric
    calibrate(net, lambda: run(net, CLIP))
    assert cost.measure(net, CLIP, run=lambda clip: run(net, clip)).bops_per_mac() == (36 + 9) / 2


def test_rules_of_layers_that_were_not_tried_are_kept():
    net, rules = Net(), [dict(pattern="[sw]*", act=dict(symmetric=True)), dict(pattern="unused", quantize=False)]
    chosen = allocate(options_from(measure(net, rules=rules, layers=["strong"])), 40)
    written = rules_from(net, chosen, rules)
    assert [rule["pattern"] for rule in written] == ["strong", "[sw]*", "unused"]
    prepare(net, rules=written)
    assert net.weak.act_quantizer.symmetric
    assert net.weak.weight_quantizer.bits == 8


def test_layers_whose_bits_a_rule_decides_are_counted_but_not_free():
    rules = [dict(pattern="strong", weight=dict(bits=8), act=dict(bits=5)), dict(pattern="weak", quantize=False)]
    trials = by_layer(measure(rules=[*rules, dict(pattern="unused", quantize=False)]))
    assert set(trials) == {("strong", 8, 5), ("weak", 32, 32)}
    assert all(trial.fixed for trial in trials.values())
    assert (trials["weak", 32, 32].noise, trials["weak", 32, 32].drop) == (0, 0)
    with pytest.raises(ConfigError, match=r"budget of 50 BOPs/MAC cannot be met; the smallest possible is 532"):
        allocate(options_from(trials.values()), 50)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(layers=["nothing"]), "no layer that runs matches 'nothing'; layers are named like: strong, weak"),
        (dict(bits=()), "at least one pair"),
        (dict(bits=((4, 12),)), "layer strong: bits must be one of .* got 12"),
        (dict(rules=[dict(pattern="nix", quantize=False)]), "rule 'nix' has no effect"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        measure(**settings)


def test_a_quantized_network_is_refused():
    net = Net()
    prepare(net)
    with pytest.raises(ConfigError, match="measured on a float network"):
        measure_sensitivity(net, CLIP, run=run, score=lambda y: 0.0)
