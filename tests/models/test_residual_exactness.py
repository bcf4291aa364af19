"""Residual coding of whole networks: exact where nothing is rounded, the same however a clip is cut into pieces."""

import pytest
import torch

from tests.models.test_quantized_vsr import FLOAT, clip, float_model, quantized, rules
from vsrq.models.basicvsr import PreviousFrame
from vsrq.quant import calibrate
from vsrq.residual import TemporalState, temporal

FIXED = dict(coefficient=0.9, offset=1, period=3)
KEY = dict(coefficient=1.0, reference="key", period=2)
OPEN = dict(coefficient=0.8, loop="open")
ADAPTIVE = dict(coefficient=0.9, trigger=dict(type="energy", threshold=0.1))
CASES = [
    ("basicvsr", FIXED, 4),
    ("basicvsr", KEY, 1),
    ("basicvsr", OPEN, 3),
    ("basicvsr", ADAPTIVE, 3),
    ("basicvsr_pp", FIXED, 5),
    ("edvr", KEY, 3),
    ("edvr", ADAPTIVE, 4),
]


@pytest.mark.parametrize(("name", "settings", "frames"), CASES)
@torch.no_grad()
def test_32_bits_equal_float_for_every_variant(name, settings, frames):
    """In double precision, where what is left is rounding of sums and nothing else."""
    reference, x = float_model(name).double(), clip(frames, batch=2, size=32).double()
    model = quantized(name, reference, quant=FLOAT, residual=dict(FLOAT, **settings)).double()
    assert (model.generator.upscale(x) - reference.generator.upscale(x)).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["basicvsr", "edvr"])
@torch.no_grad()
def test_results_do_not_depend_on_batch_mates(name):
    first, second = clip(4, size=16), clip(4, seed=1, size=16)
    bits = dict(weight=dict(bits=8), act=dict(bits=8))
    settings = dict(bits, trigger=dict(type="energy", threshold=0.3))
    model = quantized(name, quant=dict(bits, rules=rules(name)), residual=settings)
    calibrate(model, lambda: model.upscale(first), passes=2)
    together = model.upscale(torch.cat([first, second]))
    # another batch size rounds sums in another order, and a value between two codes may then change sides: 3e-5 on
    # average, where a mixed-up memory would show as tenths
    assert (together[:1] - model.upscale(first)).abs().mean() < 1e-3
    assert (together[1:] - model.upscale(second)).abs().mean() < 1e-3


@torch.no_grad()
def test_a_branch_streamed_in_chunks_equals_one_pass():
    frames = clip(6, size=32).unbind(1)
    bits = dict(weight=dict(bits=4), act=dict(bits=4))
    model = quantized("basicvsr", quant=dict(bits, rules=rules("basicvsr")), residual=dict(bits, period=4))
    calibrate(model, lambda: model.upscale(clip(6, size=32)), passes=2)
    net = model.generator

    def stream(part, state, past=None):
        outputs = []
        with temporal(net, state):
            for frame in part:
                memory = None if past is None else PreviousFrame(past[0], net.flow(frame, past[1]))
                past = net.propagate("forward", frame, memory), frame
                outputs.append(net.reconstruct((past[0], past[0]), frame))
        return outputs, past

    whole, _ = stream(frames, TemporalState())
    outputs, past, state = [], None, TemporalState()
    for start in (0, 1, 4):  # chunks of 1, 3 and 2 frames, each with a state that was moved through tensors
        stop = {0: 1, 1: 4, 4: 6}[start]
        part, past = stream(frames[start:stop], state, past)
        outputs += part
        moved = TemporalState()
        moved.bind(net)
        moved.load_tensors({name: tensor.clone() for name, tensor in state.tensors().items()}, state.calls())
        state = moved
    assert all(torch.equal(y, z) for y, z in zip(outputs, whole, strict=True))
