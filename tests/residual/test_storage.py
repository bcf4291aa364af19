"""Forms of the state: what they cost, what they change, and how a state moves in and out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.residual.nets import moving_clip, net, residual_net, run
from vsrq.errors import ConfigError, StateError
from vsrq.quant import prepare
from vsrq.quant.calibrate import observing
from vsrq.quant.quantizer import UniformQuantizer
from vsrq.residual import Storage, TemporalState, call_site, convert_residual, temporal
from vsrq.residual.storage import refined_grid


@settings(deadline=None)
@given(st.integers(2, 8), st.booleans(), st.floats(-3, 0), st.floats(0.1, 5))
def test_the_refined_grid_holds_every_point_of_the_coarse_one(bits, symmetric, low, high):
    quantizer = UniformQuantizer(bits=bits, symmetric=symmetric, observer=dict(type="MinMax"))
    with observing(quantizer):
        quantizer(torch.tensor([low, high]))
    scale, zero_point, qmin, qmax = quantizer.qparams()
    points = (torch.arange(qmin, qmax + 1) - zero_point) * scale
    storage = Storage(input="uint8")
    stored = storage.pack_input(points, quantizer)
    assert stored.dtype == torch.uint8
    assert torch.allclose(storage.unpack_input(stored, quantizer, torch.float32), points, rtol=1e-5, atol=1e-6)
    assert refined_grid(quantizer).qmax <= 255


@torch.no_grad()
def test_codes_of_a_key_frame_are_exact():
    """With the key frame as the reference nothing else is stored, so one byte per value loses nothing."""
    frames, float_net = moving_clip(6), net()
    plain = residual_net(frames, float_net=float_net, reference="key", period=3)
    packed = residual_net(frames, float_net=float_net, reference="key", period=3, storage=dict(input="uint8"))
    state = TemporalState()
    for y, z in zip(run(packed, frames, state), run(plain, frames), strict=True):
        assert torch.allclose(y, z, atol=1e-5)
    inputs = [t for name, t in state.tensors().items() if name.endswith("input")]
    assert {t.dtype for t in inputs} == {torch.uint8}


@pytest.mark.parametrize(
    ("storage", "a", "factor"),
    [
        (dict(input="float16", output="float16"), 0.9, 1.02),
        (dict(input="float16", output="float16"), 1.0, 1.02),
        # codes are rounded, and on a still clip always to the same side: the error grows to 1 / (1 - a) of one rounding
        (dict(input="uint8", output="float16"), 0.7, 1.3),
    ],
)
@torch.no_grad()
def test_small_states_stay_close_over_long_clips(storage, a, factor):
    """Without any key frame, the storage must not add much to the error of the quantization itself."""
    frames, float_net = moving_clip(2, noise=0.05) * 30, net()
    plain = residual_net(frames[:6], float_net=float_net, coefficient=a)
    small = residual_net(frames[:6], float_net=float_net, coefficient=a, storage=storage)
    truth = [float_net(x) for x in frames]
    errors = []
    for model in (plain, small):
        late = list(zip(run(model, frames), truth, strict=True))[-20:]
        errors.append(sum((y - z).square().mean().item() for y, z in late))
    assert errors[1] < factor * errors[0]


@pytest.mark.parametrize(
    ("storage", "bytes_in", "bytes_out"),
    [
        (dict(), 4, 4),
        (dict(input="float16"), 2, 4),
        (dict(input="float16", output="float16"), 2, 2),
        (dict(input="uint8", output="float16"), 1, 2),
    ],
)
@torch.no_grad()
def test_nbytes_follow_the_form(storage, bytes_in, bytes_out):
    frames, state = moving_clip(), TemporalState()
    run(residual_net(frames, storage=storage), frames, state)
    pixels = 12 * 12
    assert state.nbytes == pixels * (4 * bytes_in + 8 * bytes_out + 8 * bytes_in + 4 * bytes_out)


@pytest.mark.parametrize("form", ["float16", "uint8"])
def test_training_sees_the_stored_values_and_keeps_its_gradient(form):
    frames = moving_clip(4)
    model = residual_net(frames, storage=dict(input=form))
    with torch.no_grad():
        expected = run(model, frames)
    leaf = [x.clone().requires_grad_() for x in frames]
    outputs = run(model, leaf)
    for y, z in zip(outputs, expected, strict=True):
        assert torch.allclose(y, z, atol=1e-4)
    outputs[-1].sum().backward()
    assert leaf[0].grad.abs().sum() > 0


def test_codes_need_a_grid():
    model = nn.Sequential(nn.Conv2d(2, 3, 1))
    prepare(model, act=dict(bits=32))
    with pytest.raises(ConfigError, match="layer 0: storage input 'uint8' needs a calibrated activation grid"):
        convert_residual(model, storage=dict(input="uint8"))


@pytest.mark.parametrize("storage", [dict(), dict(input="uint8", output="float16")])
@pytest.mark.parametrize("trigger", [None, dict(type="accumulated_error", threshold=0.5)])
@torch.no_grad()
def test_a_state_moved_through_tensors_continues_the_clip(storage, trigger):
    frames = moving_clip(6)
    model = residual_net(frames, storage=storage, trigger=trigger, period=4)
    whole = run(model, frames)
    first, second = TemporalState(), TemporalState()
    run(model, frames[:3], first)
    tensors, calls = {name: t.clone() for name, t in first.tensors().items()}, first.calls()
    fields = ["input", "output"] + (["drift"] if trigger else [])
    assert list(tensors) == [f"{layer}.{field}" for layer in ("0", "2") for field in fields]
    assert calls == {"0": 3, "2": 3}
    second.bind(model)
    second.load_tensors(tensors, calls)
    for y, z in zip(run(model, frames[3:], second), whole[3:], strict=True):
        assert torch.equal(y, z)


@torch.no_grad()
def test_call_sites_are_part_of_the_names():
    frames, state = moving_clip(2), TemporalState()
    model = residual_net(frames)[:1]
    with temporal(model, state), call_site("window"), call_site(2):
        model(frames[0])
    assert list(state.tensors()) == ["0[window/2].input", "0[window/2].output"]
    assert state.calls() == {"0[window/2]": 1}


@pytest.mark.parametrize(
    ("tensors", "calls", "message"),
    [
        ({"0.input": 1}, {}, "'0.input' is no tensor of a temporal state with 0 call counters"),
        ({"0.weight": 1}, {"0": 1}, "'0.weight' is no tensor"),
        ({"7.input": 1, "7.output": 1}, {"7": 1}, "has no layer '7'; this state is another network's"),
        ({"0.input": 1}, {"0": 1}, "the state of '0' needs both input and output"),
    ],
)
def test_states_that_do_not_belong_are_refused(tensors, calls, message):
    state = TemporalState()
    state.bind(net())
    with pytest.raises(StateError, match=message):
        state.load_tensors({name: torch.zeros(1) for name in tensors}, calls)
    assert state.calls() == {}


@torch.no_grad()
def test_a_loaded_state_of_another_shape_makes_a_key_frame():
    frames = moving_clip(4)
    model, state = residual_net(frames), TemporalState()
    run(model, frames[:2], state)
    smaller = frames[2][..., :8, :8]
    assert torch.equal(run(model, [smaller], state)[0], run(model, [smaller])[0])


@torch.no_grad()
def test_a_residual_step_can_be_traced_with_its_state_as_inputs_and_outputs():
    frames = moving_clip(5)
    model = residual_net(frames, coefficient=0.8).eval()
    state = TemporalState()
    expected = run(model, frames)
    run(model, frames[:2], state)
    names = list(state.tensors())

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x, *past):
            inner = TemporalState()
            inner.bind(self.net)
            inner.load_tensors(dict(zip(names, past, strict=True)), {"0": 2, "2": 2})
            with temporal(self.net, inner):
                y = self.net(x)
            return (y, *(inner.tensors()[name] for name in names))

    past = [t.clone() for t in state.tensors().values()]
    traced = torch.jit.trace(Step(), (frames[2], *past), check_trace=False)
    for x, y in zip(frames[2:], expected[2:], strict=True):
        out, *past = traced(x, *past)
        assert torch.allclose(out, y, atol=1e-5)
