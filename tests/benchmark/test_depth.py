import argparse
import json

import pytest
import torch

from vsrq.apis.config import load_config
from vsrq.benchmark import depth
from vsrq.errors import ConfigError
from vsrq.models import QuantizedVSR
from vsrq.quant import calibrate

CONFIG = "configs/tiny/basicvsr_dqa-rlq-w4a4_qat.py"


def settings(config, checkpoint, folder, *more):
    parser = argparse.ArgumentParser()
    depth.add_arguments(parser)
    given = ["--config", config, "--checkpoint", str(checkpoint), "--clips", "calendar", "--frames", "2"]
    return parser.parse_args([*given, "--crop", "128", "--output", str(folder), *more])


def test_one_table_of_accuracy_and_cost(data, capsys):
    model = QuantizedVSR(**{key: value for key, value in load_config(CONFIG).model.items() if key != "type"})
    calibrate(model, lambda: model.upscale(torch.rand(1, 3, 3, 32, 32)))
    torch.save({"state_dict": model.state_dict()}, data / "net.pth")
    assert depth.main(settings(CONFIG, data / "net.pth", data / "out")) == 0
    text = capsys.readouterr().out
    assert text.startswith((data / "out" / "depth.md").read_text())
    cells = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| ")}
    assert [cells[name][0].strip() for name in ("full", "half", "quarter")] == ["8 of 8", "4 of 8", "2 of 8"]
    rows = json.loads((data / "out" / "depth.json").read_text())
    assert rows["half"]["kept"] == {"backward_resblocks.main.2": [0, 1], "forward_resblocks.main.2": [0, 1]}
    # a skipped block saves two 3x3 convolutions of 4 channels on 32 x 32 pixels in each frame
    saved = 4 * 2 * 9 * 4 * 4 * 32 * 32
    assert rows["full"]["gmacs_per_frame"] - rows["half"]["gmacs_per_frame"] == pytest.approx(saved / 1e9)
    assert rows["full"]["gbops_per_frame"] - rows["half"]["gbops_per_frame"] == pytest.approx(16 * saved / 1e9)
    assert rows["full"]["storage_mb"] > rows["half"]["storage_mb"] > rows["quarter"]["storage_mb"]
    with pytest.raises(ConfigError, match="unknown depth 'hal'; did you mean 'half'"):
        depth.main(settings(CONFIG, data / "net.pth", data / "out", "--depths", "hal"))


def test_networks_of_one_depth_are_refused(data):
    config = "configs/tiny/basicvsr_rlq-w4a4_qat.py"
    model = QuantizedVSR(**{key: value for key, value in load_config(config).model.items() if key != "type"})
    torch.save({"state_dict": model.state_dict()}, data / "net.pth")
    with pytest.raises(ConfigError, match="has one depth only; use an experiment with model"):
        depth.main(settings(config, data / "net.pth", data / "out"))
