import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.deploy.nets import float_net, noisy
from vsrq.apis import export_command, skip_budget
from vsrq.apis.skip_budget import Costs, Pair, calibrate_skip, measured_costs
from vsrq.deploy.torch_backend import TorchSteps
from vsrq.errors import ConfigError
from vsrq.residual import SkipPolicy

SETTINGS = dict(stretch=8, scene_threshold=0)
BASE = SkipPolicy(overhead=0)  # or frames as small as those here would be computed whole


@pytest.fixture(scope="module")
def source():
    return TorchSteps(float_net("edvr"))


@pytest.fixture(scope="module")
def clips():
    """A picture at rest that grows brighter by 0 to 3 levels a frame, from left to right."""
    ramp = np.arange(5)[:, None, None, None] * np.linspace(0, 3, 96).astype(int)[:, None]
    low = np.clip(noisy(1, 64, 96) // 2 + ramp, 0, 255).astype(np.uint8)
    truth = torch.from_numpy(low).permute(0, 3, 1, 2).float().div(255)
    return {"ramp": Pair(low, truth.repeat_interleave(4, -1).repeat_interleave(4, -2))}


def test_the_budget_is_kept_and_a_larger_one_saves_more(source, clips):
    found = [
        calibrate_skip(source, clips, budget, tolerances=(1, 4, 16), halos=(8,), base=BASE, **SETTINGS)
        for budget in (0.0, 20.0)
    ]
    assert found[0].loss <= 0
    assert found[1].loss <= 20
    assert found[1].work <= found[0].work < 1
    assert found[1].policy.tolerance >= found[0].policy.tolerance
    assert found[1].policy.tolerance == 16


def test_what_windows_cost_is_timed_at_two_sizes_with_graphs_that_are_compiled_already(source, clips, monkeypatch):
    policy = SkipPolicy(tolerance=4, halo=8, refresh=None)
    passes, found = [], []

    class Watched(skip_budget.Upscaler):
        def stream(self, frames):
            passes.append((frames.shape[1:3], self.skip_stats.frames, self.skip.overhead))
            return super().stream(frames)

    assert measured_costs(source, clips, policy, **SETTINGS) is None  # too small to be timed
    monkeypatch.setattr(skip_budget, "_LEAST_TIMED", 1)
    monkeypatch.setattr(skip_budget, "Upscaler", Watched)
    monkeypatch.setattr(skip_budget.Costs, "through", lambda *measured: found.extend(measured))
    measured_costs(source, clips, policy, **SETTINGS)
    assert passes == [((64, 96), 0, 0)] * 2 + [((128, 192), 0, 0)] * 2  # the second pass counts alone
    assert [pixels for pixels, _ in found] == [64 * 96, 128 * 192]


@pytest.mark.parametrize(
    ("small", "large", "costs"),
    [
        ((1000, 350), (4000, 650), (0.9, 250)),
        ((1000, 350), (4000, 300), (1.0, 350)),  # noise: a larger frame cannot cost less
        ((1000, 350), (4000, 2000), (0.65, 0)),  # nor a call less than nothing
        ((1000, -50), (4000, 100), (1.0, 0)),
    ],
)
def test_costs_by_the_frame_are_told_from_those_by_the_call(small, large, costs):
    assert Costs.through(small, large) == pytest.approx(costs)


def test_no_costs_without_windows(source, clips, monkeypatch):
    monkeypatch.setattr(skip_budget, "_LEAST_TIMED", 1)
    still = {name: Pair(clip.low[:1], clip.high[:1]) for name, clip in clips.items()}
    assert measured_costs(source, still, SkipPolicy(), **SETTINGS) is None


def test_a_budget_that_cannot_be_kept_tells_the_best(source, clips, monkeypatch):
    scores = iter([30.0, 29.75, 29.5, 29.75])  # dense, the most careful policy, then the two
    monkeypatch.setattr(skip_budget, "_psnr", lambda upscaler, clip: next(scores))
    with pytest.raises(ConfigError, match=r"0.1 dB cannot be kept .* reached is 0.250 dB, with tolerance 1 and halo 8"):
        calibrate_skip(source, clips, 0.1, tolerances=(1,), halos=(4, 8))


def test_what_is_gained_by_skipping_does_not_pay_for_what_is_lost(source, clips, monkeypatch):
    """Where the dense runtime drifts, the most careful policy is the yardstick."""
    scores = {None: 30.0, (8, 1): 31.0, (4, 1): 30.96, (4, 4): 30.5, (8, 4): 30.98}

    def score(upscaler, clip):
        return scores[upscaler.skip and (upscaler.skip.halo, upscaler.skip.tolerance)]

    monkeypatch.setattr(skip_budget, "_psnr", score)
    found = calibrate_skip(source, clips, 0.05, tolerances=(1, 4), halos=(4, 8))
    assert (found.policy.halo, found.policy.tolerance) == (4, 1)
    assert found.loss == pytest.approx(0.04)
    found = calibrate_skip(source, clips, 0.03, tolerances=(1, 4), halos=(4, 8))
    assert (found.policy.halo, found.policy.tolerance) == (8, 4)
    assert found.loss == pytest.approx(0.02)


def test_our_own_shots_rest_before_something_that_moves():
    clips = skip_budget.clips_of(())
    assert [pair.low.shape for pair in clips.values()] == [(8, 68, 160, 3), (8, 90, 160, 3)]
    for pair in clips.values():
        change = np.abs(np.diff(pair.low.astype(int), axis=0)).max(-1)
        assert 0.2 < (change <= 2).mean() < 0.95
        assert pair.high.shape == (8, 3, 4 * pair.low.shape[1], 4 * pair.low.shape[2])


@pytest.mark.parametrize("budget", [-0.1, float("nan"), "much"])
def test_budgets_are_checked(source, budget):
    with pytest.raises(ConfigError, match="a budget for skipping is a loss in dB, 0 or more"):
        calibrate_skip(source, {}, budget)


def test_the_policy_goes_into_the_manifest_and_an_old_manifest_stays_readable(tmp_path):
    from vsrq.deploy.bundle import Manifest, write_manifest
    from vsrq.deploy.steps import cut

    plan = cut(float_net("basicvsr")).plan
    manifest = Manifest("openvino", plan, None, {}, {}, {})
    assert "skip" not in manifest.to_json()
    write_manifest(tmp_path, replace(manifest, skip={"policy": SkipPolicy(tile=8).to_json()}))
    content = json.loads((tmp_path / "manifest.json").read_text())
    read = Manifest.from_json({**content, "added_later": 1}, tmp_path)
    assert SkipPolicy.build(read.skip["policy"]) == SkipPolicy(tile=8)
    assert read.plan == plan
    for step in content["plan"]["steps"]:
        del step["receptive_field"], step["macs"]
    del content["skip"]
    old = Manifest.from_json(content, tmp_path)
    assert old.skip is None
    assert {step.receptive_field for step in old.plan.steps} == {None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--skip-budget", "-1"], "--skip-budget -1 must be a loss in dB, 0 or more"),
        (["--skip-budget", "0.1", "--size", "32x32"], "--skip-budget needs graphs that take windows of any size"),
        (["--skip-clips", "a.mp4"], "--skip-clips are for --skip-budget"),
    ],
)
def test_mistakes_are_found_before_any_work(arguments, message, capfd, tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    export_command.add_arguments(parser)
    args = parser.parse_args(["none.py", "--out", str(tmp_path / "bundle"), *arguments])
    assert export_command.command(args) == 1
    assert message in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
