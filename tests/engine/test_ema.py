"""The moving average of MMEngine's EMAHook, with vsrq's loop and checkpoints."""

import pytest
import torch

from tests.engine.conftest import Interrupted
from tests.engine.test_resume import assert_same_run, differences, load
from vsrq.models import read_state_dict

MOMENTUM = 0.25
OPTIONS = {
    "default_hooks.checkpoint.interval": 1,
    "train_dataloader.dataset.num_input_frames": 2,
    "custom_hooks": [
        dict(type="ChannelsLastHook"),
        dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=MOMENTUM, update_buffers=True),
    ],
}


def raw(checkpoint):
    """The trained weights, which lie where the average was computed."""
    return {k.removeprefix("module."): v for k, v in checkpoint["ema_state_dict"].items() if k != "steps"}


def test_checkpoints_hold_the_average_and_resume_exactly(fit, tmp_path):
    fit("basicvsr", tmp_path / "whole", iters=3, options=OPTIONS)
    with pytest.raises(Interrupted):
        fit("basicvsr", tmp_path / "parts", iters=3, stop_before=2, options=OPTIONS)
    fit("basicvsr", tmp_path / "parts", iters=3, resume="auto", options=OPTIONS)
    whole, parts = (load(tmp_path / name / "iter_3.pth") for name in ("whole", "parts"))
    assert_same_run(whole, parts)
    assert differences(whole["ema_state_dict"], parts["ema_state_dict"]) == []

    first, second = (load(tmp_path / f"whole/iter_{i}.pth") for i in (2, 3))
    for name, value in second["state_dict"].items():
        expected = (1 - MOMENTUM) * first["state_dict"][name] + MOMENTUM * raw(second)[name]
        torch.testing.assert_close(value, expected, msg=name)
    assert differences(second["state_dict"], raw(second)) != []
    # what tools/test.py and float_checkpoint read is the average
    average = read_state_dict(tmp_path / "whole/iter_3.pth")
    assert torch.equal(average["conv_last.weight"], second["state_dict"]["generator.conv_last.weight"])
