"""The options of the command line, with a tiny network in PyTorch."""

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("av")

from tests.runtime.clips import moving, write_clip
from tests.runtime.test_upscale_command import ROOT, command


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    from mmengine.registry import DefaultScope

    from vsrq.apis.check import check_config
    from vsrq.apis.config import load_config
    from vsrq.registry import MODELS

    config = str(ROOT / "configs/tiny/basicvsr.py")
    settings = load_config(config)
    check_config(settings)
    with DefaultScope.overwrite_default_scope("vsrq"):
        net = MODELS.build(settings.model).generator
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(net.state_dict(), path)
    return ["--backend", "torch", "--config", config, "--checkpoint", str(path), "--quiet"]


def test_a_clip_at_rest_is_skipped_and_drawn(tmp_path, network, capfd):
    frame = moving(1, 24, 32)[0]
    source = write_clip(tmp_path / "in.mkv", [frame] * 6, codec="ffv1", pix_fmt="bgr0")
    picture = tmp_path / "active.png"
    options = ["--skip-tolerance", "1", "--stats", "--skip-picture", picture]
    assert command(source, tmp_path / "out", *network, *options) == 0
    errors = capfd.readouterr().err
    (line,) = [line for line in errors.splitlines() if line.startswith("reconstruct")]
    assert line.split()[1:4] == ["6", "2", "66.7%"]
    assert "of all tiles skipped" in errors
    assert cv2.imread(str(picture)).shape == (24, 32, 3)
    shown = [cv2.imread(str(path)) for path in sorted((tmp_path / "out").iterdir())]
    assert len(shown) == 6
    for other in shown[2:5]:  # the last is where the backward branch begins
        np.testing.assert_array_equal(other, shown[1])


def test_a_bad_tolerance_is_one_line(tmp_path, network, capfd):
    source = write_clip(tmp_path / "in.mkv", moving(1, 24, 32), codec="ffv1", pix_fmt="bgr0")
    assert command(source, tmp_path / "out", *network, "--skip-tolerance", "-1") == 1
    assert "tolerance must be 0 (every change counts) to below 255 grey levels, got -1" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]
