import copy

import pytest
import torch
from torch import nn

from tests.residual.nets import moving_clip, net, residual_net, run
from vsrq.quant import QuantConv2d, calibrate, prepare
from vsrq.quant.functional import fake_quantize
from vsrq.residual import ResidualConv2d, ResidualLinear, TemporalState, call_site, convert_residual, temporal

BITS4 = dict(weight=dict(bits=4), act=dict(bits=4))


@pytest.mark.parametrize("coefficient", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("period", [None, 1, 3])
def test_32_bits_equal_float_for_any_period_and_coefficient(coefficient, period):
    float_net, frames = net(), moving_clip()
    model = residual_net(frames, bits=32, residual_bits=32, float_net=float_net, coefficient=coefficient, period=period)
    for y, frame in zip(run(model, frames), frames, strict=True):
        assert torch.allclose(y, float_net(frame), atol=1e-5)


def test_32_bits_equal_float_for_linear_layers():
    layer, frames = nn.Sequential(nn.Linear(5, 3)), [torch.randn(2, 5) for _ in range(4)]
    expected = [layer(x) for x in frames]
    prepare(layer, weight=dict(bits=32), act=dict(bits=32))
    convert_residual(layer, weight=dict(bits=32), act=dict(bits=32), coefficient=0.9)
    assert isinstance(layer[0], ResidualLinear)
    for y, z in zip(run(layer, frames), expected, strict=True):
        assert torch.allclose(y, z, atol=1e-6)


def test_period_1_equals_frame_quantization_bit_for_bit():
    float_net, frames = net(), moving_clip()
    frame_model = copy.deepcopy(float_net)
    prepare(frame_model, **BITS4)
    calibrate(frame_model, lambda: [frame_model(x) for x in frames])
    model = copy.deepcopy(frame_model)
    convert_residual(model, **BITS4, period=1)
    for y, frame in zip(run(model, frames), frames, strict=True):
        assert torch.equal(y, frame_model(frame))


def test_outside_of_temporal_every_call_is_a_key_frame():
    frames = moving_clip()
    model = residual_net(frames)
    first = run(model, frames[:1])[0]
    model(frames[3])
    assert torch.equal(model(frames[0]), first)


def test_closed_loop_follows_its_equations():
    frames = moving_clip(4)
    model = residual_net(frames, coefficient=0.75, bits=6, residual_bits=3)[:1]
    layer = model[0]
    quantize = lambda q, v, axis=None: fake_quantize(v, *q.qparams(), axis=axis)  # noqa: E731
    key_weight = quantize(layer.weight_quantizer, layer.weight, 0)
    residual_weight = quantize(layer.residual_weight_quantizer, layer.weight, 0)
    conv = lambda x, w: nn.functional.conv2d(x, w, padding=1)  # noqa: E731
    with temporal(model, TemporalState()):
        reconstructed = quantize(layer.act_quantizer, frames[0])
        z = conv(reconstructed, key_weight)
        assert torch.allclose(model(frames[0]), z + layer.bias[:, None, None], atol=1e-5)
        for x in frames[1:]:
            change = quantize(layer.residual_act_quantizer, x - 0.75 * reconstructed)
            reconstructed = 0.75 * reconstructed + change
            z = 0.75 * z + conv(change, residual_weight)
            assert torch.allclose(model(x), z + layer.bias[:, None, None], atol=1e-5)


def test_error_does_not_pile_up_on_a_still_clip():
    """Closed loop with equal weight grids: on a still clip the output converges instead of drifting."""
    x = torch.randn(1, 4, 12, 12)
    float_net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
    model = residual_net(moving_clip(noise=0.02), bits=4, residual_bits=4, float_net=float_net, coefficient=1.0)
    weight = model[0].weight_quantizer(model[0].weight)
    ideal = nn.functional.conv2d(x, weight, model[0].bias, padding=1)  # only the weights quantized
    errors = [(y - ideal).square().mean().item() for y in run(model, [x] * 12)]
    assert errors[-1] < 0.1 * errors[0]
    assert errors[-1] <= 1.001 * min(errors)


def test_residual_beats_frame_quantization_at_equal_bits_on_a_slow_clip():
    float_net, frames = net(), moving_clip(8, noise=0.02)
    frame_model = copy.deepcopy(float_net)
    prepare(frame_model, **BITS4)
    calibrate(frame_model, lambda: [frame_model(x) for x in frames])
    model = residual_net(frames, float_net=float_net)

    def error(outputs):
        pairs = list(zip(outputs, frames, strict=True))[1:]
        return sum((y - float_net(x)).square().mean().item() for y, x in pairs)

    assert error(run(model, frames)) < 0.5 * error([frame_model(x) for x in frames])


# --- the traps -------------------------------------------------------------------------------------------------------


def test_in_place_activation_does_not_corrupt_the_state():
    """Trap 1: the ReLU after the layer overwrites the returned tensor."""
    frames = moving_clip()
    for bits in (32, 4):
        model = residual_net(frames, bits=bits, residual_bits=bits, coefficient=1.0)
        layer, state = model[0], TemporalState()
        with temporal(model, state):
            model(frames[0])
            memory = state.memory(layer)
            z = memory.output.clone()
            layer.add_bias(memory.output).relu_()
            assert torch.equal(memory.output, z)
            assert (memory.output < 0).any()  # what the ReLU would have cut off


def test_an_input_overwritten_afterwards_does_not_change_the_state():
    """Trap 1, the other side: at 32 bits the layer's own input tensor must not be the stored one."""
    frames = moving_clip()
    model = residual_net(frames, bits=32, residual_bits=32)
    x, state = frames[0].clone(), TemporalState()
    with temporal(model, state):
        model(x)
        x.zero_()
        assert torch.equal(state.memory(model[0]).input, frames[0])


@pytest.mark.parametrize("bias", [True, False])
def test_bias_is_added_once(bias):
    """Trap 2: with a large bias, adding it at every step would show at once."""
    layer = nn.Sequential(nn.Conv2d(4, 4, 1, bias=bias))
    if bias:
        nn.init.constant_(layer[0].bias, 100.0)
    frames = moving_clip()
    expected = [layer(x) for x in frames]
    prepare(layer, weight=dict(bits=32), act=dict(bits=32))
    convert_residual(layer, weight=dict(bits=32), act=dict(bits=32), coefficient=1.0)
    for y, z in zip(run(layer, frames), expected, strict=True):
        assert torch.allclose(y, z, atol=1e-4)


def test_previous_means_previous_call():
    """Trap 3: a branch that runs backward in time predicts from the frame it saw last."""
    frames = moving_clip()
    model = residual_net(frames)
    backward = run(model, frames[::-1])
    assert torch.equal(backward[0], run(model, frames[-1:])[0])
    assert not torch.equal(backward[-1], run(model, frames)[0])


def test_first_calls_can_be_key_frames():
    """Trap 4: the first calls of BasicVSR++'s branches jump."""
    frames = moving_clip()
    model = residual_net(frames, warmup=3)
    key_only = [run(model, [x])[0] for x in frames]
    outputs = run(model, frames)
    assert [torch.equal(y, z) for y, z in zip(outputs, key_only, strict=True)] == [True] * 3 + [False] * 3


def test_samples_of_a_batch_do_not_touch_each_other():
    """Trap 5, as far as the layers go: time is successive calls, the batch axis holds independent samples."""
    frames, others = moving_clip(), moving_clip()
    model = residual_net(frames)
    alone = run(model, frames)
    together = run(model, [torch.cat([x, y]) for x, y in zip(frames, others, strict=True)])
    for y, z in zip(alone, together, strict=True):
        assert torch.allclose(y, z[:1], atol=1e-5)


def test_call_sites_have_pasts_of_their_own():
    """Trap 6: one layer called for several neighbours per time step."""
    clips = [moving_clip(), moving_clip()]
    model = residual_net(clips[0])
    expected = [run(model, clip) for clip in clips]
    with temporal(model, TemporalState()):
        for t in range(len(clips[0])):
            for slot, clip in enumerate(clips):
                with call_site(slot):
                    assert torch.equal(model(clip[t]), expected[slot][t])


def test_a_change_of_shape_or_dtype_starts_anew():
    """Trap 7."""
    frames = moving_clip()
    model = residual_net(frames, period=4)
    smaller = frames[2][..., :8, :8]
    with temporal(model, TemporalState()):
        model(frames[0])
        model(frames[1])
        assert torch.equal(model(smaller), run(model, [smaller])[0])
        assert torch.equal(model(frames[3]), run(model, frames[3:4])[0])


def test_gradient_flows_through_time_and_can_be_cut():
    """Trap 8: the state is explicit, so truncated back-propagation is a call away."""
    frames = moving_clip(3)
    model, state = residual_net(frames), TemporalState()
    first = frames[0].clone().requires_grad_()
    with temporal(model, state):
        model(first)
        model(frames[1]).sum().backward(retain_graph=True)
        assert first.grad is not None
        first.grad = None
        state.detach_()
        model(frames[2]).sum().backward()
    assert first.grad is None


def test_deformable_convolutions_stay_per_frame():
    """Trap 10."""
    from vsrq.models import DeformConv2d
    from vsrq.quant import QuantDeformConv2d

    model = nn.ModuleDict(
        {
            "align": DeformConv2d(4, 4, 3, padding=1, conv_offset=nn.Conv2d(4, 27, 3, padding=1)),
            "conv": nn.Conv2d(4, 4, 1),
        }
    )
    prepare(model)
    table = convert_residual(model)
    assert [row.name for row in table] == ["align.conv_offset", "conv"]
    assert type(model["align"]) is QuantDeformConv2d


def test_conversion_leaves_parameters_and_names_alone():
    model = net()
    prepare(model)
    quantized, names = model[0], set(model.state_dict())
    weight = quantized.weight
    convert_residual(model)
    assert type(model[0]) is ResidualConv2d
    assert model[0].weight is weight
    assert names <= set(model.state_dict())
    assert type(quantized) is QuantConv2d
    assert not hasattr(quantized, "residual_act_quantizer")


def test_checkpoint_restores_ranges_and_coefficients():
    float_net, frames = net(), moving_clip()
    model = residual_net(frames, float_net=float_net)
    other = copy.deepcopy(float_net)
    prepare(other, **BITS4)
    convert_residual(other, **BITS4)
    other.load_state_dict(model.state_dict())
    for y, z in zip(run(other, frames), run(model, frames), strict=True):
        assert torch.equal(y, z)


def test_state_carried_over_continues_the_clip():
    frames = moving_clip(6)
    model, state = residual_net(frames), TemporalState()
    whole = run(model, frames)
    parts = run(model, frames[:2], state) + run(model, frames[2:], state)
    for y, z in zip(parts, whole, strict=True):
        assert torch.equal(y, z)
