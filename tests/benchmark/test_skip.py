import argparse
import json

import numpy as np
import pytest
import torch

from vsrq.benchmark import skip
from vsrq.benchmark.rounds import Record
from vsrq.benchmark.skip_clips import LOADERS, load, moving_area
from vsrq.benchmark.skip_table import report
from vsrq.errors import ConfigError
from vsrq.residual import SkipPolicy


@pytest.mark.parametrize("percent", [5, 40, 100])
def test_the_moving_area_is_as_large_as_it_says_and_all_else_rests(percent):
    clip = moving_area(percent, 3, 90, 160)
    changed = ((clip[1:] != clip[:-1]).any(0)).any(0)
    rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    assert abs(box.item() / changed.numel() - percent / 100) < 0.03
    assert torch.equal(clip, moving_area(percent, 3, 90, 160))


@pytest.mark.parametrize("percent", [0, 101])
def test_a_share_out_of_range(percent):
    with pytest.raises(ConfigError, match="the moving area must be above 0 to 100 %"):
        moving_area(percent, 2, 32, 32)


def made_up():
    settings = dict(
        network="basicvsr", threads=2, weights="made up", frames=8, size=[180, 320], machine={"CPU": "two cores"},
        policy=SkipPolicy().to_json(),
    )  # fmt: skip
    scores = dict(psnr=30.0, psnr_dense=200.0, e_warp=0.001)
    flow = dict(calls=8, dense=2, skipped=0.5, milliseconds=dict(policy=1, gather=2, compute=3, scatter=4))
    counted = dict(skipped=0.75, work=0.4, gmacs=10.0, gbops=640.0, dense_gbops=1600.0, state=2e6, steps={"flow": flow})
    contestants = {"mmagic": scores, "dense": scores, "skip": {**scores, "psnr": 29.98, "psnr_dense": 50.0, **counted}}
    # the machine was twice as slow in the second round
    rounds = [{"mmagic": 8.0, "dense": 3.0, "skip": 1.0}, {"mmagic": 16.0, "dense": 4.0, "skip": 2.0}]
    return Record(json.loads(json.dumps(settings)), contestants, rounds)


def test_ratios_are_taken_within_a_round_and_compared_with_the_active_share():
    text = report({"static": made_up(), "empty": Record(made_up().settings)})
    (row,) = [line for line in text.splitlines() if line.startswith("| static")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:6] == ["static", "25.0%", "40.0%", "1,600", "640", "2.50 (2.00-3.00)"]
    assert cells[6:11] == ["62%", "8.00 (8.00-8.00)", "30.00", "29.98", "50.0"]
    assert cells[11:] == ["1.000", "1.000", "2.0", "2"]
    assert "| flow | 8 | 2 | 50.0% | 1.0 | 2.0 | 3.0 | 4.0 |" in text
    assert "| empty" not in text


def test_cameras_at_rest_and_in_motion_and_rendered_clips_are_there():
    assert {"static_cups", "bunny_static", "bunny_wide", "moving_apple", "bikes"} < set(LOADERS)
    assert [name for name in LOADERS if name.startswith("rendered")] == [f"rendered_{p}" for p in (5, 10, 20, 40, 80)]


def test_a_camera_at_rest_before_which_something_of_changing_outline_moves():
    low, high = load("bunny_wide", 6, (180, 320))
    assert (low.shape, high.shape) == ((6, 3, 180, 320), (6, 3, 720, 1280))
    change = (low[1:] - low[:-1]).abs().amax(1) > 2.5 / 255
    assert 0 < change.float().mean((1, 2)).min() <= change.float().mean((1, 2)).max() < 0.5
    with pytest.raises(ConfigError, match="bunny_wide has 40 frames, --frames 41 asks for more"):
        load("bunny_wide", 41, (180, 320))


def test_one_frame_is_too_few(tmp_path):
    parser = argparse.ArgumentParser()
    skip.add_arguments(parser)
    with pytest.raises(ConfigError, match="--frames 1 2 or more"):
        skip.main(parser.parse_args(["--frames", "1", "--out", str(tmp_path)]))


def test_rounds_are_paired_and_continued(tmp_path, monkeypatch):
    """With the steps in PyTorch in place of a bundle: the same rounds are not measured twice."""
    from tests.deploy.nets import float_net
    from vsrq.deploy.torch_backend import TorchSteps

    parser = argparse.ArgumentParser()
    skip.add_arguments(parser)
    args = parser.parse_args(
        ["--frames", "3", "--rounds", "2", "--threads", "1", "--no-mmagic", "--flow-checkpoint", "none", "--out",
         str(tmp_path)]
    )  # fmt: skip
    benchmark = skip.Benchmark(args, (64, 80))
    benchmark.bundle = TorchSteps(float_net("edvr"))
    monkeypatch.setattr(skip, "load", lambda name, frames, size: load("rendered_5", frames, size))
    policy = SkipPolicy(tolerance=1.0, halo=0, break_even=1.0, overhead=0)
    record = benchmark._measure("rendered_5", policy)
    assert [list(entry) for entry in record.rounds] == [["dense", "skip"], ["skip", "dense"]]
    assert 0 < record.contestants["skip"]["skipped"] < 1
    assert record.contestants["skip"]["state"] > 0
    assert (tmp_path / "rendered_5.png").is_file()
    monkeypatch.setattr(skip, "load", None)  # a call of it would fail
    again = benchmark._measure("rendered_5", policy)
    assert again.rounds == record.rounds
    assert np.isfinite(again.ratios("skip", "dense")).all()
    assert "rendered_5" in report({"rendered_5": again})


def test_a_bundle_of_ones_own_is_measured_without_mmagic(tmp_path, monkeypatch, capsys):
    from types import SimpleNamespace

    from tests.deploy.nets import float_net
    from vsrq.deploy.torch_backend import TorchSteps

    bundle = TorchSteps(float_net("edvr"))
    bundle.path, bundle.manifest = tmp_path / "mine", SimpleNamespace(files={"encode": {"encode.xml": "1234"}})
    monkeypatch.setattr(skip, "Bundle", lambda path: bundle if path == bundle.path else None)
    monkeypatch.setattr(skip, "load", lambda name, frames, size: load(name, frames, (32, 40)))
    parser = argparse.ArgumentParser()
    skip.add_arguments(parser)
    given = ["--bundle", str(bundle.path), "--out", str(tmp_path / "out")]
    one = ["--frames", "2", "--rounds", "1", "--threads", "1", "--flow-checkpoint", "none", "--clips", "rendered_5"]
    assert skip.main(parser.parse_args([*given, *one])) == 0
    record = json.loads((tmp_path / "out" / "rendered_5-mine.json").read_text())
    assert set(record["contestants"]) == {"dense", "skip"}
    assert "## Skipping, mine, 1 threads" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"calibrate a bundle with tools/export\.py --skip-budget"):
        skip.main(parser.parse_args([*given, "--budget", "0.05"]))
