"""Low-rank changes of frozen quantized networks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vsrq.errors import ConfigError
from vsrq.quant import NF4Layer, QuantConv2d, add_lora, calibrate, cost, merge_lora, prepare, prepare_nf4
from vsrq.quant.lora import LoRA
from vsrq.residual import TemporalState, convert_residual, temporal


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.last(F.relu(self.conv(x)))


X = torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(0))
UNIFORM = dict(weight=dict(type="LSQ", bits=4), act=dict(bits=6))


def uniform():
    net = Net()
    prepare(net, **UNIFORM)
    calibrate(net, lambda: net(X))
    return net


def packed():
    net = Net()
    prepare_nf4(net)
    return net


def wake(net, std=0.1):
    """Give every change something to do."""
    for module in net.modules():
        if isinstance(module, LoRA):
            nn.init.normal_(module.up, std=std)
    return net


def train(net, steps=60):
    """Fit the network to one whose changes are several steps of a 4-bit grid; return the first and the last loss."""
    target = wake(copy.deepcopy(net), std=0.3)(X).detach()
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(net(X), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


@pytest.mark.parametrize("make", [packed, uniform])
def test_at_first_nothing_changes(make):
    net = make()
    expected = net(X)
    assert add_lora(net, rank=2) == ["conv", "last"]
    assert torch.equal(net(X), expected)


def test_a_change_of_the_weight_is_a_second_path_through_rank_channels():
    """k x k to rank channels, then 1 x 1 to the output channels; the scale is alpha / rank."""
    net = packed()
    expected = net.conv(X)
    add_lora(net, rank=2, alpha=6)
    change = wake(net).conv.lora
    path = F.conv2d(X, change.down.view(2, 4, 3, 3), padding=1)
    path = F.conv2d(path, change.up.view(8, 2, 1, 1))
    assert torch.allclose(net.conv(X), expected + 6 / 2 * path, atol=1e-5)


@pytest.mark.parametrize("make", [packed, uniform])
def test_only_the_changes_learn_and_they_do(make):
    net = make()
    add_lora(net, rank=2)
    frozen = {n: v.clone() for n, v in net.state_dict().items() if not any(w in n for w in (".up", ".down", "factor"))}
    trained = {name.rpartition(".")[2] for name, p in net.named_parameters() if p.requires_grad}
    assert trained == ({"up", "down"} if make is packed else {"up", "down", "factor"})
    before, after = train(net)
    assert after < 0.5 * before
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in frozen.items())


def test_merging_on_a_uniform_grid_is_exact_and_leaves_an_ordinary_quantized_network():
    net = uniform()
    add_lora(net, rank=2)
    wake(net)
    expected = net(X)
    assert merge_lora(net) == {"conv": "quantized", "last": "quantized"}
    assert torch.equal(net(X), expected)
    assert type(net.conv) is QuantConv2d
    plain = Net()
    prepare(plain, **UNIFORM)
    plain.load_state_dict(net.state_dict())
    assert torch.equal(plain(X), expected)
    assert all(p.requires_grad for p in net.parameters())


def test_merging_into_nf4_gives_the_float_network_that_was_computed():
    net = packed()
    add_lora(net, rank=2)
    wake(net)
    expected = net(X)
    assert merge_lora(net) == {"conv": "float", "last": "float"}
    plain = Net()
    plain.load_state_dict(net.state_dict())
    assert torch.equal(plain(X), expected)


def test_a_merged_nf4_weight_is_not_on_an_nf4_grid():
    """Why there is a variant on a uniform grid at all: storing the merged weight as NF4 again loses the change."""
    net = packed()
    add_lora(net, rank=2)
    wake(net)
    merge_lora(net)
    expected = net(X)
    prepare_nf4(net)
    assert (net(X) - expected).abs().max() > 1e-3


def test_a_checkpoint_restores_the_network():
    for make in (packed, uniform):
        net = make()
        add_lora(net, rank=2)
        wake(net)
        other = make()
        add_lora(other, rank=2)
        other.load_state_dict(net.state_dict())
        assert torch.equal(other(X), net(X))
        assert torch.equal(copy.deepcopy(net)(X), net(X))


def test_residual_layers_can_have_one():
    net = uniform()
    convert_residual(net, weight=dict(bits=3), act=dict(bits=4))

    def run():
        with temporal(net, TemporalState()):
            return torch.stack([net(X * factor) for factor in (1.0, 0.9, 1.1)])

    calibrate(net, run, passes=2)
    before = run()
    add_lora(net, rank=1)
    assert torch.equal(run(), before)
    wake(net)
    expected = run()
    assert not torch.equal(expected, before)
    merge_lora(net)
    assert torch.equal(run(), expected)


def test_storage_counts_the_changes_and_no_operations_are_added():
    net = packed()
    before = cost.measure(net, X[:, None], run=lambda c: net(c[:, 0]))
    add_lora(net, rank=2)
    after = cost.measure(net, X[:, None], run=lambda c: net(c[:, 0]))
    extra = 2 * (8 + 36) + 2 * (2 + 8)
    assert after.parameters - before.parameters == extra
    assert after.storage_bits - before.storage_bits == 32 * extra
    assert after.macs() == before.macs()


def test_rules_choose_layers_and_ranks():
    net = packed()
    assert add_lora(net, rank=2, rules=[dict(pattern="last", lora=False)]) == ["conv"]
    assert isinstance(net.last, NF4Layer)
    assert net.last.lora is None
    net = packed()
    add_lora(net, rank=2, rules=[dict(pattern="conv", rank=4, alpha=1)])
    assert (net.conv.lora.up.shape, net.conv.lora.scaling, net.last.lora.scaling) == ((8, 4), 0.25, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(rank=4), r"layer last: rank must be an integer from 1 to 2 for a weight of shape \(2, 8, 1, 1\), got 4"),
        (dict(rank=0), "layer conv: rank must be an integer from 1 to 8"),
        (dict(alpha=-1, rank=1), "layer conv: alpha must be a number above 0, got -1"),
        (dict(rules=[dict(pattern="*", lora=False)]), "the rules leave no layer with LoRA"),
        (dict(rank=1, rules=[dict(pattern="cnv")]), "rule 'cnv' has no effect"),
        (dict(rank=1, rules=[dict(pattern="conv", rnk=2)]), "unknown key 'rnk' in a rule; did you mean 'rank'"),
    ],
)
@pytest.mark.parametrize("make", [packed, uniform])
def test_bad_settings_are_refused(make, settings, message):
    net = make()
    with pytest.raises(ConfigError, match=message):
        add_lora(net, **settings)
    assert not any(isinstance(module, LoRA) for module in net.modules())


def test_networks_without_a_place_for_it_are_refused():
    with pytest.raises(ConfigError, match="LoRA needs quantized layers"):
        add_lora(Net())
    net = packed()
    add_lora(net, rank=1)
    with pytest.raises(ConfigError, match="has LoRA already"):
        add_lora(net, rank=1)
    with pytest.raises(ConfigError, match="neither LoRA nor NF4"):
        merge_lora(Net())
