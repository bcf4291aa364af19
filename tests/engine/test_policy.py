"""A policy trained through the Runner."""

from types import SimpleNamespace

import pytest

from tests.engine.conftest import Interrupted
from tests.engine.test_resume import assert_same_run, load
from tests.models.test_bit_policy import build
from vsrq.apis import evaluate
from vsrq.engine import PolicyHook
from vsrq.errors import ConfigError
from vsrq.models import QuantizedVSR

CONFIG = "basicvsr_policy-w8a8_qat"
EVERY = {"default_hooks.checkpoint.interval": 1, "train_dataloader.dataset.num_input_frames": 2}


def test_resumed_run_equals_uninterrupted_run_and_can_be_tested(fit, tmp_path):
    fit(CONFIG, tmp_path / "whole", options=EVERY)
    with pytest.raises(Interrupted):
        fit(CONFIG, tmp_path / "parts", stop_before=2, options=EVERY)
    fit(CONFIG, tmp_path / "parts", resume="auto", options=EVERY)
    whole = load(tmp_path / "whole/iter_4.pth")
    assert_same_run(whole, load(tmp_path / "parts/iter_4.pth"))
    logged = whole["message_hub"]["log_scalars"]
    for key in ("loss_budget", "policy_cost", "policy_bits"):
        assert len(logged[f"train/{key}"]["values"]) == 4
    first, last = (load(tmp_path / f"whole/iter_{i}.pth")["state_dict"] for i in (1, 4))
    key = "generator.bit_policy.net.head.weight"
    assert not first[key].equal(last[key])
    scores = evaluate(
        f"configs/tiny/{CONFIG}.py",
        str(tmp_path / "whole/iter_4.pth"),
        work_dir=str(tmp_path / "test"),
        cfg_options={"experiment_name": tmp_path.name},
    )
    assert scores["PSNR"] > 15


def test_the_temperature_follows_the_iteration_alone():
    model = build(calibrated=False)
    hook = PolicyHook(start=4.0, end=1.0)
    found = []
    for iteration in (5, 0, 10):
        hook.before_train_iter(SimpleNamespace(model=model, iter=iteration, max_iters=10))
        found.append(model.policy.temperature)
    assert found == pytest.approx([2.0, 4.0, 1.0])


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="PolicyHook: end must be a temperature above 0, got 0"):
        PolicyHook(end=0)
    plain = QuantizedVSR(
        dict(
            type="FloatVSR",
            generator=dict(type="BasicVSRNet", mid_channels=4, num_blocks=1),
            pixel_loss=dict(type="CharbonnierLoss"),
        ),
        quant={},
    )
    with pytest.raises(ConfigError, match="PolicyHook needs a model with policy"):
        PolicyHook().before_train_iter(SimpleNamespace(model=plain, iter=0, max_iters=1))
