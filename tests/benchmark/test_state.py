import argparse
import json

import pytest
import torch

from vsrq.benchmark import state
from vsrq.errors import ConfigError
from vsrq.models import BasicVSRNet


@pytest.fixture
def arguments(data):
    torch.manual_seed(0)
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1).state_dict(), data / "net.pth")
    parser = argparse.ArgumentParser()
    state.add_arguments(parser)
    return parser.parse_args(
        [
            *("--config", "configs/tiny/basicvsr.py", "--checkpoint", str(data / "net.pth"), "--bits", "32"),
            *("--clips", "calendar", "--frames", "3", "--crop", "128", "--work-dir", str(data / "work")),
            *("--calibration-frames", "2", "--calibration-crop", "64"),
        ]
    )


def test_psnr_by_frame_and_bytes_of_every_form(arguments, data, capsys, monkeypatch):
    assert state.main(arguments) == 0
    text = capsys.readouterr().out
    assert text.startswith((data / "work" / "state.md").read_text())
    rows = json.loads((data / "work" / "state.json").read_text())["calendar"]
    assert list(rows) == ["32-32-32", "32-32-8/frame", "32-32-8/pixel", "32-32-4/frame", "32-32-4/pixel"]
    assert all(len(row["psnr_y"]) == 3 for row in rows.values())
    numbers = 5 * 4 * 32 * 32  # three backward features, two forward ones
    sizes = [row["hidden_state_bytes"] for row in rows.values()]
    scales = 2 * 5 * 32 * 32
    assert sizes == [4 * numbers, numbers + 10, numbers + scales, numbers // 2 + 10, numbers // 2 + scales]
    assert "| frame | 32-32-32 |" in text
    monkeypatch.setattr(state, "_build", lambda *args: pytest.fail("a kept row was computed again"))
    state.main(arguments)
    assert capsys.readouterr().out == text


def test_networks_are_calibrated_with_the_stored_recurrence(arguments, monkeypatch):
    arguments.bits = 4
    seen = []
    monkeypatch.setattr(state, "calibrate", lambda model, run: seen.append(model.state_storage))
    for form in ("32", "4/pixel"):
        state._build(arguments, form)
    assert seen[0] is None
    assert (seen[1].bits, seen[1].granularity) == (4, "pixel")


def test_wrong_arguments_are_refused(arguments):
    arguments.forms = ["8/row"]
    with pytest.raises(ConfigError, match=r"unknown form of the state '8/row'.*Allowed: 32, 8/frame"):
        state.main(arguments)
