"""The residual benchmark: continued where it stopped, honest about what it compares."""

import argparse

import cv2
import numpy as np
import pytest
import torch

from vsrq.benchmark import residual, residual_overhead
from vsrq.benchmark.clips import CALIBRATION, SCORED
from vsrq.benchmark.residual_report import curves, markdown
from vsrq.benchmark.residual_settings import SETTINGS
from vsrq.benchmark.row_cache import RowCache
from vsrq.errors import ConfigError
from vsrq.models import BasicVSRNet, FloatVSR


def test_nothing_is_calibrated_on_what_is_scored():
    assert not {clip.path for clip in CALIBRATION} & {clip.path for clip in SCORED.values()}
    assert all("/train/" in clip.path for clip in CALIBRATION)


def test_settings_spend_what_their_names_say():
    for budget in (9, 16, 22, 25, 36):
        assert SETTINGS[f"frame mixed {budget}"].modes == ("frame",)
        assert SETTINGS[f"res mixed {budget}"].budget == SETTINGS[f"frame mixed {budget}"].budget == budget


def test_rows_are_computed_once_per_input(tmp_path):
    cache, calls = RowCache(tmp_path / "rows"), []

    def compute():
        calls.append(1)
        return dict(psnr=30.0)

    for inputs in (dict(clip="a", setting=dict(bits=4)), dict(setting=dict(bits=4), clip="a"), dict(clip="b")):
        assert cache.get_or_compute(inputs, compute) == dict(psnr=30.0)
    assert len(calls) == 2
    assert RowCache(tmp_path / "rows").get(dict(clip="b")) == dict(psnr=30.0)
    assert not list((tmp_path / "rows").glob("*.partial"))


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """The command's arguments for a tiny network on rendered clips."""
    texture = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    texture = cv2.resize(texture, (288, 224), interpolation=cv2.INTER_CUBIC)
    for clip in (SCORED["calendar"], *CALIBRATION):
        folder = tmp_path / clip.path
        folder.mkdir(parents=True)
        for index in range(clip.start + 6):
            if index >= clip.start:
                cv2.imwrite(str(folder / f"{index:08d}.png"), np.roll(texture, 3 * index, axis=1))
            else:
                cv2.imwrite(str(folder / f"{index:08d}.png"), texture[:8, :8])
    monkeypatch.setenv("VSRQ_DATA", str(tmp_path))
    torch.manual_seed(0)
    net = BasicVSRNet(mid_channels=4, num_blocks=1)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    torch.save(BasicVSRNet().state_dict(), tmp_path / "flow.pth")
    parser = argparse.ArgumentParser()
    residual.add_arguments(parser)
    return parser.parse_args(
        [
            *("--config", "configs/tiny/basicvsr.py", "--checkpoint", str(tmp_path / "net.pth")),
            *("--flow-checkpoint", str(tmp_path / "flow.pth"), "--clips", "calendar", "--frames", "3", "--crop", "128"),
            *("--calibration-frames", "3", "--calibration-crop", "96", "--work-dir", str(tmp_path / "work")),
        ]
    )


def test_the_table_is_made_and_continued(arguments, tmp_path, capsys, monkeypatch):
    arguments.settings = ["float", "W4A4", "res W4A4"]
    arguments.time_limit = 0.0
    assert residual.main(arguments) == 0
    assert "| float |" not in capsys.readouterr().out  # no time, no rows
    arguments.time_limit = None
    residual.main(arguments)
    table = capsys.readouterr().out
    assert table.endswith((tmp_path / "work" / "residual.md").read_text())
    cells = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in table.splitlines() if line.startswith("| ")}
    assert float(cells["float"][3]) == 1024
    assert float(cells["W4A4"][3]) == float(cells["res W4A4"][3]) == 16
    assert float(cells["W4A4"][5]) == 0 < float(cells["res W4A4"][5])

    monkeypatch.setattr(residual.Benchmark, "row", lambda *args: pytest.fail("a kept row was computed again"))
    residual.main(arguments)
    assert capsys.readouterr().out == table


def test_budgets_are_kept(arguments, capsys):
    arguments.settings = ["frame mixed 16", "res mixed 16"]
    residual.main(arguments)
    lines = [line.split("|") for line in capsys.readouterr().out.splitlines() if "mixed" in line]
    assert len(lines) == 2
    assert all(12 < float(line[5]) <= 16.05 for line in lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(clips=["calender"]), "unknown clip 'calender'; did you mean 'calendar'"),
        (dict(settings=["W4"]), "unknown setting 'W4'"),
        (dict(frames=1), "--frames must be 2 or more"),
    ],
)
def test_wrong_arguments_are_refused(arguments, change, message):
    vars(arguments).update(change)
    with pytest.raises(ConfigError, match=message):
        residual.main(arguments)


def test_the_report_shows_every_row_and_sorts_curves():
    row = dict(psnr_y=30.0, e_warp=0.001, tof=0.1, bops_per_mac=16.0, peak_bops_per_mac=16.0, state_mb=0.0)
    rows = {"calendar": {"float": row, "W5A5": dict(row, bops_per_mac=25.0, psnr_y=31.0), "W4A4": row}}
    args = argparse.Namespace(frames=4, crop=None, config="c.py", checkpoint="w.pth")
    text = markdown(rows, args)
    assert "| W5A5 | 31.00 | 1.000 | 0.100 | 25.0 | 16.0 | 0.0 |" in text
    assert curves(rows["calendar"]) == {"frame": [(16.0, 30.0), (25.0, 31.0)]}


def test_overhead_pairs_every_round():
    parser = argparse.ArgumentParser()
    residual_overhead.add_arguments(parser)
    size = ["--channels", "4", "--blocks", "1", "--frames", "2", "--height", "32", "--width", "32"]
    args = parser.parse_args([*size, "--rounds", "2"])
    ratios = residual_overhead.time_ratios(args)
    assert len(ratios) == 2
    assert all(0.2 < ratio < 10 for ratio in ratios)


def test_float_and_quantized_share_the_network(arguments):
    benchmark = residual.Benchmark(arguments)
    assert type(benchmark.build(SETTINGS["float"])) is FloatVSR
    model = benchmark.build(SETTINGS["res W4A4"])
    weights = benchmark.float_net.generator.state_dict()
    assert all(
        torch.equal(value, weights[name]) for name, value in model.generator.state_dict().items() if name in weights
    )
