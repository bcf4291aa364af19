"""Quantization-aware training through the Runner."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger

from tests.engine.conftest import Interrupted
from tests.engine.test_resume import assert_same_run, differences, load
from vsrq.apis import train
from vsrq.engine import CalibrationHook
from vsrq.engine.calibration import calibrate_on
from vsrq.errors import ConfigError
from vsrq.models import BasicVSRNet, FloatVSR, QuantizedVSR
from vsrq.quant import calibrate

CONFIG = "basicvsr_rlq-w4a4_qat"
ARCHITECTURE = dict(
    type="FloatVSR",
    generator=dict(type="BasicVSRNet", mid_channels=4, num_blocks=1),
    pixel_loss=dict(type="CharbonnierLoss"),
)
EVERY = {"default_hooks.checkpoint.interval": 1, "train_dataloader.dataset.num_input_frames": 2}


def part(checkpoint, ending):
    return {key: value for key, value in checkpoint["state_dict"].items() if key.endswith(ending)}


def test_calibrates_learns_and_lets_the_steps_rest(fit, tmp_path):
    fit(CONFIG, tmp_path, options=EVERY)
    first, third, last = (load(tmp_path / f"iter_{i}.pth") for i in (1, 3, 4))
    assert any(value.item() != 1 for value in part(first, "act_quantizer.scale").values())
    for ending in (".factor", ".shift", ".weight"):
        assert differences(part(first, ending), part(third, ending)) != []
    assert differences(part(first, "quantizer.scale"), part(last, "quantizer.scale")) == []
    assert differences(part(third, ".factor"), part(last, ".factor")) == []
    assert differences(part(third, ".weight"), part(last, ".weight")) != []


def test_resumed_run_equals_uninterrupted_run(fit, tmp_path):
    fit(CONFIG, tmp_path / "whole", options=EVERY)
    with pytest.raises(Interrupted):
        fit(CONFIG, tmp_path / "parts", stop_before=2, options=EVERY)
    torch.rand(3)
    fit(CONFIG, tmp_path / "parts", resume="auto", options=EVERY)
    assert_same_run(load(tmp_path / "whole/iter_4.pth"), load(tmp_path / "parts/iter_4.pth"))


def test_steps_have_a_rate_of_their_own(fit, tmp_path):
    runner = fit(CONFIG, tmp_path, iters=1)
    rates = {}
    for name, parameter in runner.model.named_parameters():
        group = next(g for g in runner.optim_wrapper.param_groups if any(p is parameter for p in g["params"]))
        rates["step" if "quantizer" in name else "flow" if "spynet" in name else "weight"] = group["initial_lr"]
    assert rates == pytest.approx({"step": 1e-3, "weight": 1e-4, "flow": 2.5e-5})


def test_mixed_precision_trains(clips, tmp_path):
    options = {"train_cfg.max_iters": 2, "val_dataloader": None, "val_evaluator": None, "val_cfg": None}
    runner = train(f"configs/tiny/{CONFIG}.py", work_dir=str(tmp_path), amp=True, cfg_options=options)
    for name, parameter in runner.model.named_parameters():
        assert torch.isfinite(parameter).all(), name
        assert parameter.dtype == torch.float32


def quantized(**settings):
    torch.manual_seed(0)
    rules = [dict(pattern="spynet.*", quantize=False)]
    recipe = dict(type="RLQ", bits=4)
    return QuantizedVSR(ARCHITECTURE, quant=dict(weight=recipe, act=recipe, rules=rules), **settings)


def test_a_calibrated_model_is_left_alone():
    model, clip = quantized(), torch.rand(1, 3, 3, 16, 16)
    calibrate(model, lambda: model.upscale(clip))
    before = copy.deepcopy(model.state_dict())
    loop = SimpleNamespace(dataloader=None)  # must not be touched
    CalibrationHook().before_train(SimpleNamespace(model=model, train_loop=loop))
    assert differences(before, model.state_dict()) == []


def test_all_processes_get_the_ranges_of_the_first(monkeypatch):
    first, second = quantized(), quantized()
    calibrate_on(first, [torch.rand(1, 3, 3, 16, 16)], passes=1)
    sent = []
    monkeypatch.setattr("vsrq.engine.calibration.broadcast_object_list", lambda objects: sent.append(objects[0]))
    calibrate_on(first, [torch.rand(1, 3, 3, 16, 16)], passes=1)

    def receive(objects):
        objects[0] = sent[0]

    monkeypatch.setattr("vsrq.engine.calibration.broadcast_object_list", receive)
    calibrate_on(second, [torch.rand(1, 3, 3, 16, 16) * 5], passes=1)
    assert differences(first.state_dict(), second.state_dict()) == []


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="max_clips must be 1 or more, got 0"):
        CalibrationHook(max_clips=0)
    float_model = FloatVSR(**{k: v for k, v in ARCHITECTURE.items() if k != "type"})
    runner = SimpleNamespace(model=float_model, logger=MMLogger.get_instance("qat"))
    with pytest.raises(ConfigError, match="CalibrationHook needs a QuantizedVSR, got FloatVSR"):
        CalibrationHook().before_train(runner)


def losses_and_gradients(model, clip, target):
    model.zero_grad()
    sample = SimpleNamespace(get=lambda key: target)
    loss = model.forward_train(clip, sample)["loss"]
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_changes_nothing_but_memory():
    clip, target = torch.rand(1, 5, 3, 32, 32), torch.rand(1, 5, 3, 128, 128)
    plain, saving = quantized(), quantized(checkpoint_steps=True)
    calibrate(plain, lambda: plain.upscale(clip))
    saving.load_state_dict(plain.state_dict())

    def run(model):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            result = losses_and_gradients(model, clip, target)
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
        return result, sum(storages.values())

    (loss, gradients), bytes_plain = run(plain)
    (loss_2, gradients_2), bytes_saving = run(saving)
    assert torch.equal(loss, loss_2)
    assert gradients.keys() == gradients_2.keys()
    for name in gradients:
        assert torch.allclose(gradients[name], gradients_2[name], rtol=1e-4, atol=1e-6), name
    assert bytes_saving < 0.5 * bytes_plain
    assert type(plain.generator).propagate is type(saving.generator).propagate
    assert "propagate" not in vars(saving.generator)


def test_gradient_checkpointing_is_refused_with_residuals():
    with pytest.raises(ConfigError, match="checkpoint_steps=True runs every step twice"):
        quantized(checkpoint_steps=True, residual=dict(weight=dict(bits=4), act=dict(bits=4)))


def test_distillation_trains_and_resumes_exactly(fit, tmp_path):
    weights = tmp_path / "basicvsr.pth"
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1).state_dict(), weights)
    options = {**EVERY, "model.float_checkpoint": str(weights)}
    fit("basicvsr_rlq-w4a4_distilled", tmp_path / "whole", options=options)
    with pytest.raises(Interrupted):
        fit("basicvsr_rlq-w4a4_distilled", tmp_path / "parts", stop_before=2, options=options)
    fit("basicvsr_rlq-w4a4_distilled", tmp_path / "parts", resume="auto", options=options)
    whole = load(tmp_path / "whole/iter_4.pth")
    assert_same_run(whole, load(tmp_path / "parts/iter_4.pth"))
    logged = whole["message_hub"]["log_scalars"]
    assert "train/loss_FlowDistillation_float" in logged
    assert len(logged["train/loss_StateDistillation_other"]["values"]) == 2  # its schedule ends half-way
