from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger
from torch import nn

from vsrq.engine import FreezeHook
from vsrq.errors import ConfigError


def network():
    model = nn.Module()
    model.spynet, model.fusion, model.tail = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    model.tail.bias.requires_grad_(False)
    return model


def trained_at(hook, model, iteration):
    runner = SimpleNamespace(iter=iteration, model=model, logger=MMLogger.get_instance("freeze"))
    hook.before_train_iter(runner, batch_idx=iteration)
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


BEFORE = {"spynet.weight", "spynet.bias", "fusion.weight", "fusion.bias", "tail.weight"}


@pytest.mark.parametrize(
    ("choice", "early"),
    [
        ({"freeze": ["spynet*"]}, {"fusion.weight", "fusion.bias", "tail.weight"}),
        ({"freeze": "*.bias"}, {"spynet.weight", "fusion.weight", "tail.weight"}),
        ({"train_only": ["*fusion*"]}, {"fusion.weight", "fusion.bias"}),
    ],
)
@pytest.mark.parametrize("first", [0, 2, 3, 9])
def test_phase_follows_from_the_iteration_alone(choice, early, first):
    hook, model = FreezeHook(iters=3, **choice), network()
    for iteration in range(first, 10):
        assert trained_at(hook, model, iteration) == (early if iteration < 3 else BEFORE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"iters": 3}, "either freeze or train_only"),
        ({"iters": 3, "freeze": ["a"], "train_only": ["b"]}, "either freeze or train_only"),
        ({"iters": 0, "freeze": ["a"]}, "iters=0"),
        ({"iters": 2.5, "freeze": ["a"]}, r"iters=2\.5"),
        ({"iters": 2, "freeze": ["a"], "begin": -1}, "begin=-1"),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        FreezeHook(**arguments)


def test_a_pattern_without_match_names_the_nearest_module():
    runner = SimpleNamespace(iter=0, model=network())
    with pytest.raises(ConfigError, match=r"'\*spinet\*' matches no parameter; did you mean 'spynet'"):
        FreezeHook(iters=1, freeze=["*spinet*"]).before_train(runner)


@pytest.mark.parametrize(("iters", "frozen"), [(3, {4, 5, 6}), (None, {4, 5, 6, 7, 8, 9})])
@pytest.mark.parametrize("first", [0, 5, 8])
def test_freezing_may_begin_later(iters, frozen, first):
    hook, model = FreezeHook(begin=4, iters=iters, freeze=["spynet*"]), network()
    for iteration in range(first, 10):
        assert ("spynet.weight" in trained_at(hook, model, iteration)) == (iteration not in frozen)
