"""The table of the three networks: every row at its own cost, bicubic once, continued where it stopped."""

import argparse
from pathlib import Path

import pytest
import torch

from tests.benchmark.test_residual import arguments as residual_arguments  # noqa: F401, a fixture
from vsrq.benchmark import accuracy
from vsrq.errors import ConfigError
from vsrq.models import BasicVSRNet


@pytest.fixture
def args(residual_arguments, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(
        accuracy,
        "NETWORKS",
        {"tiny": (residual_arguments.config, residual_arguments.checkpoint), "other": _another(tmp_path)},
    )
    parser = argparse.ArgumentParser()
    accuracy.add_arguments(parser)
    options = ["--networks", "tiny", "--clips", "calendar", "--frames", "3", "--crop", "128"]
    options += ["--calibration-frames", "3", "--calibration-crop", "96", "--work-dir", str(tmp_path / "work")]
    return parser.parse_args([*options, "--flow-checkpoint", residual_arguments.flow_checkpoint])


def _another(folder):
    torch.manual_seed(1)
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1).state_dict(), folder / "other.pth")
    return "configs/tiny/basicvsr.py", str(folder / "other.pth")


def cells(table):
    lines = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")]
    return {(line[0].strip(), line[1].strip()): [cell.strip() for cell in line[2:]] for line in lines[1:]}


def test_rows_cost_what_they_say_and_are_kept(args, capsys, monkeypatch):
    args.settings = ["float", "W4A4", "res W4A4"]
    assert accuracy.main(args) == 0
    table = capsys.readouterr().out
    found = cells(table)
    assert [row[-1] for row in found.values()] == ["-", "1024.0", "16.0", "16.0"]
    psnr = {setting: float(row[1]) for (_, setting), row in found.items()}
    for (_, setting), row in found.items():
        assert float(row[2]) == pytest.approx(psnr[setting] - psnr["bicubic"], abs=0.011)
        assert float(row[3]) == pytest.approx(psnr[setting] - psnr["float"], abs=0.011)
    monkeypatch.setattr(accuracy, "_row", lambda *args: pytest.fail("a kept row was computed again"))
    accuracy.main(args)
    assert capsys.readouterr().out == table == (Path(args.work_dir) / "accuracy.md").read_text()


def test_bicubic_is_the_same_beside_every_network(args, capsys):
    args.networks, args.settings = ["tiny", "other"], ["float"]
    accuracy.main(args)
    found = cells(capsys.readouterr().out)
    assert found["tiny", "bicubic"][:3] == found["other", "bicubic"][:3]
    assert found["tiny", "float"][0] != found["other", "float"][0]


def test_no_time_no_rows(args, capsys):
    args.time_limit = 0.0
    accuracy.main(args)
    assert cells(capsys.readouterr().out) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(networks=["tinny"]), "unknown network 'tinny'; did you mean 'tiny'"),
        (dict(settings=["W4"]), "unknown setting 'W4'"),
        (dict(frames=1), "--frames must be 2 or more"),
    ],
)
def test_wrong_arguments_are_refused(args, change, message):
    vars(args).update(change)
    with pytest.raises(ConfigError, match=message):
        accuracy.main(args)
