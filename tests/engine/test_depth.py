"""Depth-dynamic training through the Runner."""

from types import SimpleNamespace

import pytest
import torch

from tests.engine.conftest import Interrupted
from tests.engine.test_resume import assert_same_run, load
from vsrq.apis import evaluate
from vsrq.engine import DepthHook
from vsrq.engine.calibration import calibrate_on
from vsrq.errors import ConfigError
from vsrq.models import QuantizedVSR
from vsrq.quant.calibratable import calibratables
from vsrq.quant.quantizer import UniformQuantizer

CONFIG = "basicvsr_dqa-rlq-w4a4_qat"
ARCHITECTURE = dict(
    type="FloatVSR",
    generator=dict(type="BasicVSRNet", mid_channels=4, num_blocks=2),
    pixel_loss=dict(type="CharbonnierLoss"),
)
EVERY = {"default_hooks.checkpoint.interval": 1, "train_dataloader.dataset.num_input_frames": 2}


def shortcuts(checkpoint, trunk="forward_resblocks"):
    names = sorted(name for name in checkpoint["state_dict"] if trunk in name and name.endswith("shortcut"))
    return torch.stack([checkpoint["state_dict"][name] for name in names])


def ranks(checkpoint, trunk="forward_resblocks"):
    names = sorted(name for name in checkpoint["state_dict"] if trunk in name and name.endswith("rank"))
    return [checkpoint["state_dict"][name].item() for name in names]


def test_two_stages_then_one_score_per_depth(fit, tmp_path):
    fit(CONFIG, tmp_path, options=EVERY)
    first, second, last = (load(tmp_path / f"iter_{i}.pth") for i in (1, 2, 4))
    assert not torch.equal(shortcuts(first), torch.ones(4))
    # ranked once, by the shortcuts of the end of stage 1
    for trunk in ("forward_resblocks", "backward_resblocks"):
        assert ranks(last, trunk) == shortcuts(second, trunk).abs().argsort().argsort().tolist()
    logged = last["message_hub"]["log_scalars"]
    assert len(logged["train/loss"]["values"]) == 4
    for name in ("full", "half", "quarter"):
        assert len(logged[f"train/depth_{name}"]["values"]) == 2
    mean = sum(logged[f"train/depth_{name}"]["values"][-1] for name in ("full", "half", "quarter")) / 3
    assert logged["train/loss"]["values"][-1] == pytest.approx(float(mean), rel=1e-5)
    scores = {
        name: evaluate(
            f"configs/tiny/{CONFIG}.py",
            str(tmp_path / "iter_4.pth"),
            work_dir=str(tmp_path / name),
            cfg_options={"model.depth.use": name, "experiment_name": f"{tmp_path.name}_{name}"},
        )["PSNR"]
        for name in ("full", "quarter")
    }
    assert scores["full"] != scores["quarter"]
    assert min(scores.values()) > 15


@pytest.mark.parametrize("stop", [2, 3])
def test_resumed_run_equals_uninterrupted_run(stop, fit, tmp_path):
    fit(CONFIG, tmp_path / "whole", options=EVERY)
    with pytest.raises(Interrupted):
        fit(CONFIG, tmp_path / "parts", stop_before=stop, options=EVERY)
    fit(CONFIG, tmp_path / "parts", resume="auto", options=EVERY)
    assert_same_run(load(tmp_path / "whole/iter_4.pth"), load(tmp_path / "parts/iter_4.pth"))


@torch.no_grad()
def test_calibration_reaches_all_quantizers_and_the_depth_that_is_set():
    """The second block takes back what the first one adds: only without it are the features large."""
    clip, scales = torch.rand(1, 2, 3, 16, 16), {}
    rules = [dict(pattern="spynet.*", quantize=False)]
    for use in ("full", "half"):
        torch.manual_seed(1)
        model = QuantizedVSR(ARCHITECTURE, quant=dict(act=dict(type="MinMax"), rules=rules), depth=dict(use=use))
        for blocks in model.depth.blocks.values():
            for block, value in zip(blocks, (10.0, -10.0), strict=True):
                block.conv2.weight.zero_()
                block.conv2.bias.fill_(value)
        calibrate_on(model, [clip], passes=1)
        assert model.depth.current == use
        quantizers = [module for _, module in calibratables(model) if isinstance(module, UniformQuantizer)]
        assert all(quantizer.initialized for quantizer in quantizers)
        scales[use] = model.generator.fusion.act_quantizer.scale.item()
    assert scales["half"] > 2 * scales["full"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(begin=-1), "DepthHook: begin=-1, allowed are integers from 0 on"),
        (dict(begin=0, depths=[]), "DepthHook: depths must be a list of different names"),
        (dict(begin=0, depths="half"), "DepthHook: depths must be a list of different names, got 'half'"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DepthHook(**settings)


def test_the_model_must_have_the_depths():
    for depth, message in ((None, "DepthHook needs a model with depth="), ({}, "unknown depth 'third'")):
        runner = SimpleNamespace(model=QuantizedVSR(ARCHITECTURE, quant={}, depth=depth))
        with pytest.raises(ConfigError, match=message):
            DepthHook(begin=0, depths=["full", "third"]).before_train(runner)
