"""The choice of bits under a budget."""

import itertools

import pytest
import torch
from torch import nn

from vsrq.errors import ConfigError
from vsrq.quant import allocate, bit_rules, calibrate, cost, prepare
from vsrq.quant.allocate import Option


@pytest.mark.parametrize("budget", [9, 12, 16, 20, 30])
def test_the_choice_is_the_best_within_the_budget(budget):
    options = {
        name: [Option("frame", b, b, cost=macs * b * b, noise=gain * 4.0**-b) for b in range(3, 7)]
        for name, macs, gain in (("a", 10, 1.0), ("b", 30, 1.0), ("c", 5, 20.0), ("d", 20, 0.1))
    }
    chosen = allocate(options, budget)
    spent = sum(option.cost for option in chosen.values()) / 65
    assert spent <= budget
    affordable = [c for c in itertools.product(*options.values()) if sum(o.cost for o in c) <= budget * 65 + 1e-6]
    best = min(sum(o.noise for o in c) for c in affordable)
    assert sum(option.noise for option in chosen.values()) == pytest.approx(best, rel=1e-3)


def test_a_budget_below_everything_names_the_smallest_possible():
    with pytest.raises(ConfigError, match=r"a budget of 8 BOPs/MAC cannot be met; the smallest possible is 9"):
        allocate({"a": [Option("frame", 3, 3, cost=90.0, noise=1.0)]}, 8)


@torch.no_grad()
def test_rules_make_the_network_that_was_chosen():
    net, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)), torch.randn(1, 3, 6, 6)
    chosen = {"0": Option("frame", 6, 5, cost=1.0, noise=1.0), "1": Option("frame", 3, 4, cost=1.0, noise=1.0)}
    prepare(net, rules=bit_rules(chosen))
    calibrate(net, lambda: net(x))
    report = cost.measure(net, x[:, None], run=lambda clip: net(clip[:, 0]))
    assert [layer.bops / layer.macs for layer in report.layers] == [30, 12]
