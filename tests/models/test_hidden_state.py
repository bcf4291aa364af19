"""Recurrent features stored in few bits."""

import logging
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.test_quantized_vsr import FLOAT, clip, quantized, rules
from vsrq.apis import exporting
from vsrq.engine.ptq_loop import _run
from vsrq.errors import ConfigError
from vsrq.models.basicvsr import PreviousFrame
from vsrq.models.hidden_state import StateStorage, stored_features
from vsrq.quant import calibrate

FORMS = [StateStorage(bits=bits, granularity=granularity) for bits in (4, 8) for granularity in ("frame", "pixel")]


@pytest.mark.parametrize("storage", FORMS, ids=str)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), size=st.floats(1e-6, 1e4))
def test_errors_are_at_most_half_a_step(storage, seed, size):
    feat = size * torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(seed))
    stored, scale = storage.store(feat), storage.scale(feat)
    assert ((stored - feat).abs() <= scale * 0.5 * (1 + 1e-5)).all()
    assert torch.equal(scale, scale.half().float())
    codes = stored / scale
    assert torch.allclose(codes, codes.round(), atol=1e-4)
    assert codes.abs().max() <= 2 ** (storage.bits - 1) - 1 + 1e-4


@pytest.mark.parametrize("storage", FORMS, ids=str)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), size=st.floats(1, 1e4))
def test_storing_again_changes_nothing(storage, seed, size):
    feat = size * torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(seed))
    stored = storage.store(feat)
    assert torch.equal(storage.store(stored), stored)


@pytest.mark.parametrize("storage", FORMS, ids=str)
def test_samples_do_not_share_scales_and_zeros_stay_zero(storage):
    feat = torch.randn(2, 4, 6, 6)
    feat[1] *= 100
    assert torch.equal(storage.store(feat)[:1], storage.store(feat[:1]))
    assert torch.equal(storage.store(torch.zeros(1, 4, 6, 6)), torch.zeros(1, 4, 6, 6))
    tiny = torch.full((1, 4, 2, 2), 1e-9)
    assert (storage.store(tiny) - tiny).abs().max() <= 1e-9


def test_a_scale_per_pixel_is_more_exact_where_sizes_differ():
    feat = torch.randn(1, 64, 8, 8) * torch.rand(1, 1, 8, 8)
    errors = [(StateStorage(bits=4, granularity=g).store(feat) - feat).square().mean() for g in ("frame", "pixel")]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("storage", FORMS, ids=str)
def test_gradients_pass_straight_through(storage):
    feat = torch.randn(1, 4, 3, 3, requires_grad=True)
    weight = torch.randn(1, 4, 3, 3)
    (gradient,) = torch.autograd.grad((storage.store(feat) * weight).sum(), feat)
    assert torch.equal(gradient, weight)


@pytest.mark.parametrize(("bits", "gigabytes"), [(8, 0.380), (4, 0.196)])
def test_bytes_of_a_hundred_frames_of_basicvsr(bits, gigabytes):
    feat = torch.empty(1, 64, 180, 320, device="meta")
    assert 100 * feat.numel() * 4 == pytest.approx(1.475e9, rel=1e-3)
    assert 100 * StateStorage(bits=bits, granularity="pixel").nbytes(feat) == pytest.approx(gigabytes * 1e9, rel=2e-3)
    assert StateStorage(bits=bits).nbytes(feat) == feat.numel() * bits // 8 + 2


@torch.no_grad()
def test_the_recurrence_of_basicvsr_reads_what_was_stored():
    """A loop written out: every feature is stored once, before anybody reads it."""
    storage = StateStorage(bits=4, granularity="pixel")
    model = quantized("basicvsr", quant=FLOAT, state=dict(bits=4, granularity="pixel"))
    net, frames = model.generator, clip(3, size=32).unbind(1)
    backward, memory = [], None
    for i in (2, 1, 0):
        backward.insert(0, storage.store(net.propagate("backward", frames[i], memory)))
        memory = PreviousFrame(backward[0], net.flow(frames[i - 1], frames[i])) if i else None
    outputs, memory = [], None
    for i in range(3):
        feat = storage.store(net.propagate("forward", frames[i], memory))
        outputs.append(net.reconstruct((backward[i], feat), frames[i]))
        memory = PreviousFrame(feat, net.flow(frames[i + 1], frames[i])) if i < 2 else None
    expected = torch.stack(outputs, dim=1)
    assert torch.equal(model.upscale(torch.stack(frames, dim=1)), expected)
    assert torch.equal(model.forward_tensor(torch.stack(frames, dim=1)), expected)
    assert not torch.equal(net.upscale(torch.stack(frames, dim=1)), expected)
    assert "propagate" not in vars(net)


@pytest.mark.parametrize("name", ["basicvsr", "basicvsr_pp"])
@torch.no_grad()
def test_errors_shrink_with_bits(name):
    x = clip(3, size=32)
    reference = quantized(name, quant=FLOAT)
    weights = reference.generator.state_dict()
    errors = []
    for bits in (4, 8):
        model = quantized(name, quant=FLOAT, state=dict(bits=bits))
        model.generator.load_state_dict(weights)
        errors.append((model.upscale(x) - reference.upscale(x)).abs().mean())
    assert 0 < 8 * errors[1] < errors[0]


@pytest.mark.parametrize("frames", [1, 3])
@torch.no_grad()
def test_hidden_state_bytes_of_each_network(frames):
    """BasicVSR holds all backward features, the last forward one and the new one; BasicVSR++ four branches."""
    held = {"basicvsr": (32, 4, frames + min(frames, 2)), "basicvsr_pp": (64, 16, 4 * frames)}
    for name, (size, channels, features) in held.items():
        x, pixels = clip(frames, size=size), size**2
        for state, nbytes in (
            (None, 4 * channels * pixels),
            (dict(bits=8), channels * pixels + 2),
            (dict(bits=4, granularity="pixel"), channels * pixels // 2 + 2 * pixels),
        ):
            report, output = quantized(name, quant=FLOAT, state=state).cost(x)
            assert report.hidden_state_bytes == features * nbytes, (name, state)
            assert output.shape[1] == frames


@torch.no_grad()
def test_windows_have_no_hidden_state():
    assert quantized("edvr", quant=FLOAT).cost(clip(3, size=16))[0].hidden_state_bytes == 0


@torch.no_grad()
def test_calibration_and_reconstruction_see_the_stored_recurrence():
    x, storage = clip(3, size=32), StateStorage(bits=4)
    quant = dict(weight=dict(bits=4), act=dict(bits=4), rules=rules("basicvsr"))
    model = quantized("basicvsr", quant=quant, state=dict(bits=4))
    seen = []
    model.generator.fusion.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    calibrate(model, lambda: model.upscale(x))
    _run(model.generator, [x], storage)
    assert len(seen) == 6
    for joined in seen:
        for feat in joined.chunk(2, dim=1):
            assert torch.allclose(storage.store(feat), feat, atol=1e-4 * feat.abs().max().item())


def test_gradient_checkpointing_stores_the_same():
    x = clip(3, size=32)
    quant = dict(weight=dict(bits=4), act=dict(bits=4), rules=rules("basicvsr"))
    gradients = []
    for checkpoint_steps in (False, True):
        torch.manual_seed(0)
        model = quantized("basicvsr", quant=quant, state=dict(bits=4), checkpoint_steps=checkpoint_steps)
        calibrate(model, lambda: model.upscale(x))  # noqa: B023
        target = torch.zeros(1, 3, 3, 128, 128)
        model.forward_train(x, SimpleNamespace(get=lambda key: target))["loss"].backward()  # noqa: B023
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-3, atol=1e-6), name


@torch.no_grad()
def test_the_network_is_itself_again_after_an_error():
    model = quantized("basicvsr", quant=FLOAT, state=dict(bits=8))
    with pytest.raises(ZeroDivisionError), stored_features(model.generator, StateStorage()):
        raise ZeroDivisionError
    assert "propagate" not in vars(model.generator)


def test_exports_say_that_it_is_simulated(monkeypatch, tmp_path):
    messages = []
    monkeypatch.setattr(exporting, "print_log", lambda text, *args, **kwargs: messages.append((text, *args)))
    monkeypatch.setattr(exporting, "export", lambda *args, **kwargs: None)
    monkeypatch.setattr(exporting, "parity_clip", lambda clip: None)
    monkeypatch.setattr(exporting, "_log", lambda report: None)
    model = quantized("basicvsr", quant=FLOAT, state=dict(bits=8))
    monkeypatch.setattr(exporting, "build_model", lambda *args, **kwargs: model)
    exporting.export_config("configs/tiny/basicvsr.py", None, tmp_path / "bundle")
    ((text, logger, level),) = messages
    assert (logger, level) == ("current", logging.WARNING)
    assert "model.state (8 bit) is simulated only" in text


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (dict(bits=6), "state bits must be one of 4, 8, got 6; state=None keeps the features in 32 bit"),
        (dict(bits=True), "state bits must be one of 4, 8, got True"),
        (dict(granularity="pixle"), "state granularity must be one of frame, pixel, got 'pixle'"),
        (dict(bit=8), "unknown key 'bit' in state; did you mean 'bits'"),
    ],
)
def test_wrong_settings_are_refused(state, message):
    with pytest.raises(ConfigError, match=message):
        quantized("basicvsr", quant=FLOAT, state=state)


def test_a_network_without_recurrent_features_is_refused():
    with pytest.raises(ConfigError, match=r"EDVRNet passes no features from step to step.*Allowed for BasicVSRNet"):
        quantized("edvr", quant=FLOAT, state=dict(bits=8))
