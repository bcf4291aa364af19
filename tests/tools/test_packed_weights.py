"""A distilled experiment, scored from its checkpoint and from packed weights."""

import runpy
import sys
import uuid

import pytest
import torch
from mmengine.registry import DefaultScope

from tests.engine.conftest import write_clips
from vsrq.apis import evaluate
from vsrq.apis.config import expect_checkpoint, load_config
from vsrq.quant import calibrate
from vsrq.registry import MODELS

CONFIG = "configs/tiny/basicvsr_rlq-w4a4_distilled.py"


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    write_clips(tmp_path, clips=1, frames=3, height=64, width=64)
    monkeypatch.setenv("VSRQ_DATA", str(tmp_path))
    config = load_config(CONFIG)
    expect_checkpoint(config)
    with DefaultScope.overwrite_default_scope("vsrq"):
        model = MODELS.build(config.model)
    calibrate(model, lambda: model.upscale(torch.rand(1, 2, 3, 32, 32)))
    torch.save(
        {"state_dict": {f"generator.{k}": v for k, v in model.generator.state_dict().items()}}, tmp_path / "a.pth"
    )
    return tmp_path / "a.pth"


def score(checkpoint):
    options = {"experiment_name": uuid.uuid4().hex}
    return evaluate(CONFIG, checkpoint, work_dir=str(checkpoint.parent / "test"), cfg_options=options)


def test_packed_weights_are_small_and_score_the_same(checkpoint, monkeypatch, capsys):
    packed = checkpoint.with_suffix(".safetensors")
    monkeypatch.setattr(sys, "argv", ["export_weights.py", str(checkpoint), str(packed), "--pack", CONFIG])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path("tools/export_weights.py", run_name="__main__")
    assert stopped.value.code == 0
    assert "MiB written to" in capsys.readouterr().out
    metrics = score(checkpoint)
    assert metrics
    assert score(packed) == metrics
