import pytest
import torch
from torch import nn

from vsrq.errors import ConfigError, StateError
from vsrq.quant import prepare
from vsrq.residual import KeyFrameSchedule, TemporalState, call_site, convert_residual, current_call_site, temporal


def residual_net():
    model = nn.Sequential(nn.Conv2d(2, 3, 1))
    prepare(model, weight=dict(bits=32), act=dict(bits=32))
    convert_residual(model, weight=dict(bits=32), act=dict(bits=32))
    return model


def test_nbytes_counts_input_and_output():
    model, state = residual_net(), TemporalState()
    assert state.nbytes == 0
    with temporal(model, state):
        model(torch.zeros(1, 2, 5, 5))
    assert state.nbytes == (2 + 3) * 25 * 4
    state.reset()
    assert state.nbytes == 0


def test_reset_makes_the_next_call_a_key_frame():
    model, state = residual_net(), TemporalState()
    with temporal(model, state):
        model(torch.zeros(1, 2, 5, 5))
        assert state.memory(model[0]).calls == 1
        state.reset()
        assert state.memory(model[0]).calls == 0


def test_a_state_does_not_move_to_another_network():
    first, second, state = residual_net(), residual_net(), TemporalState()
    with temporal(first, state):
        first(torch.zeros(1, 2, 5, 5))
    with pytest.raises(StateError, match=r"another Sequential; call reset\(\)"), temporal(second, state):
        pass
    state.reset()
    with temporal(second, state):
        second(torch.zeros(1, 2, 5, 5))


def test_a_foreign_layer_inside_the_block_is_refused():
    first, second = residual_net(), residual_net()
    with pytest.raises(StateError, match="does not belong to"), temporal(first, TemporalState()):
        second(torch.zeros(1, 2, 5, 5))


def test_blocks_nest_and_end():
    first, second = residual_net(), residual_net()
    outer, inner = TemporalState(), TemporalState()
    x = torch.zeros(1, 2, 5, 5)
    with temporal(first, outer):
        with temporal(second, inner):
            second(x)
        first(x)
    assert outer.nbytes == inner.nbytes > 0


def test_call_sites_nest_and_end():
    with call_site("window"), call_site(2):
        assert current_call_site() == ("window", 2)
    assert current_call_site() == ()


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        (dict(), [0]),
        (dict(period=1), [0, 1, 2, 3, 4, 5, 6]),
        (dict(period=3), [0, 3, 6]),
        (dict(warmup=3), [0, 1, 2]),
        (dict(period=4, warmup=2), [0, 1, 4]),
    ],
)
def test_schedule(settings, keys):
    schedule = KeyFrameSchedule(**settings)
    assert [call for call in range(7) if schedule.is_key(call)] == keys


@pytest.mark.parametrize(
    "settings", [dict(period=0), dict(period=-2), dict(warmup=0), dict(warmup=None), dict(period=1.5)]
)
def test_schedules_below_one_are_refused(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(ConfigError, match=f"{name} must be an integer of 1 or more, got {value}"):
        KeyFrameSchedule(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(period=0), "period must be an integer of 1 or more, got 0"),
        (
            dict(coefficient=1.5),
            r"0: coefficient must be 'calibrated', 'learned' or a number in \[0, 1\], got 1.5",
        ),
        (dict(coefficient=True), "got True"),
        (dict(offset=1), "offset=1 must lie below the period, which is None"),
        (dict(period=2, offset=2), "offset=2 must lie below the period, which is 2"),
        (dict(period=2, offset=-1), "offset must be an integer of 0 or more, got -1"),
        (dict(reference="next"), "reference must be one of 'prev', 'key', got 'next'"),
        (dict(loop="ajar"), "loop must be one of 'closed', 'open', got 'ajar'"),
        (dict(truncate=0), "truncate must be None or an integer of 1 or more, got 0"),
        (dict(granularity="channel"), "granularity must be one of 'layer', 'group'"),
        (dict(trigger=dict(type="enrgy", threshold=1)), "unknown trigger type 'enrgy'; did you mean 'energy'"),
        (dict(trigger=dict(type="energy", threshold=0)), "threshold of trigger energy must be above 0, got 0"),
        (dict(trigger=dict(type="energy")), "a trigger needs threshold"),
        (dict(storage=dict(input="int8")), "storage input must be one of 'float32', 'float16', 'uint8', got 'int8'"),
        (dict(storage=dict(inputs="uint8")), "'inputs' in storage; did you mean 'input'"),
        (dict(tiles=dict(levels=(2, 1))), r"tile levels must rise and be among 0, 2 to 8, got \(2, 1\)"),
        (dict(tiles=dict(size=0)), "tile size must be an integer of 1 or more, got 0"),
        (dict(tiles=dict(coarseness=0)), "tile coarseness must be above 0, got 0"),
        (dict(rules=[dict(pattern="9", residual=False)]), "'9' has no effect"),
        (dict(rules=[dict(pattern="0", residual=False)]), "leave no layer with a residual"),
        (dict(act=dict(bits=1)), "layer 0: bits must be one of"),
        (dict(rules=[dict(pattern="0", perod=3)]), "did you mean 'period'"),
    ],
)
def test_bad_residual_settings_are_refused(settings, message):
    model = nn.Sequential(nn.Conv2d(2, 3, 1))
    prepare(model)
    with pytest.raises(ConfigError, match=message):
        convert_residual(model, **settings)
    assert type(model[0]).__name__ == "QuantConv2d"


def test_residuals_need_quantized_layers():
    with pytest.raises(ConfigError, match=r"call prepare\(\) first"):
        convert_residual(nn.Sequential(nn.Conv2d(2, 3, 1)))


@pytest.mark.parametrize("pattern", ["align", "ali*n"])
def test_a_rule_naming_a_layer_that_is_not_linear_in_time_is_refused(pattern):
    from vsrq.models import DeformConv2d

    model = nn.ModuleDict({"align": DeformConv2d(2, 2, 3, padding=1, conv_offset=nn.Conv2d(2, 27, 3, padding=1))})
    prepare(model)
    with pytest.raises(ConfigError, match="align is a QuantDeformConv2d, which is not linear in time"):
        convert_residual(model, rules=[dict(pattern=pattern, period=2)])


def test_a_rule_may_say_that_a_nonlinear_layer_stays_per_frame():
    from vsrq.models import DeformConv2d

    model = nn.ModuleDict({"align": DeformConv2d(2, 2, 3, padding=1, conv_offset=nn.Conv2d(2, 27, 3, padding=1))})
    prepare(model)
    assert len(convert_residual(model, rules=[dict(pattern="align", residual=False)])) == 1
