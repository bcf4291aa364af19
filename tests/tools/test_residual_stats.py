import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from vsrq.apis.config import load_config
from vsrq.apis.residual_stats import measure
from vsrq.errors import ConfigError
from vsrq.quant import calibrate
from vsrq.registry import MODELS

CONFIG = "configs/tiny/basicvsr_res-w4a4_ptq.py"


@pytest.fixture
def calibrated(tmp_path):
    """A checkpoint of the tiny network and a clip it can run."""
    texture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    for index in range(4):
        (tmp_path / "clip").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "clip" / f"{index:08d}.png"), np.roll(texture, index, axis=1))
    with DefaultScope.overwrite_default_scope("vsrq"):
        model = MODELS.build(load_config(CONFIG).model)
    calibrate(model, lambda: model.upscale(torch.rand(1, 3, 3, 48, 64)), passes=2)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "ptq.pth")
    return tmp_path


def test_table_json_and_plot_are_written(calibrated, capsys):
    out = calibrated / "out"
    rows = measure(CONFIG, str(calibrated / "ptq.pth"), str(calibrated / "clip"), start=0, frames=4, out=str(out))
    kept = json.loads((out / "residual_stats.json").read_text())
    assert [row["name"] for row in kept] == [row.name for row in rows]
    assert "conv_last" in {row["name"] for row in kept}
    assert not any(row["name"].startswith("spynet") for row in kept)
    assert {row["calls"] for row in kept} == {3}
    table = (out / "residual_stats.md").read_text()
    assert table == capsys.readouterr().out
    assert len(table.splitlines()) == 2 + len(rows)
    assert sorted(path.name for path in out.iterdir() if path.suffix != ".png") == [
        "residual_stats.json",
        "residual_stats.md",
    ]


def test_a_clip_of_key_frames_and_a_config_without_residuals_are_refused(calibrated):
    where = (str(calibrated / "ptq.pth"), str(calibrated / "clip"))
    with pytest.raises(ConfigError, match=r"1 frames of .* are all key frames"):
        measure(CONFIG, *where, start=0, frames=1, out=str(calibrated / "out"))
    with pytest.raises(ConfigError, match="has no residual layers"):
        measure("configs/tiny/basicvsr.py", *where, start=0, frames=2, out=str(calibrated / "out"))
