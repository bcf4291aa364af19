"""Skipping against the dense runtime, over steps in PyTorch: where it must be equal, and how far off it may be."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch

from tests.deploy.nets import NAMES, float_net, noisy, quantized_net
from vsrq.deploy.array_pool import ArrayPool
from vsrq.deploy.driver import StepMemory
from vsrq.deploy.torch_backend import TorchSteps
from vsrq.errors import ConfigError, StateError
from vsrq.residual import SkipPolicy
from vsrq.runtime import Upscaler
from vsrq.runtime.skip.activity import Judge
from vsrq.runtime.skip.graphs import WindowGraphs
from vsrq.runtime.skip.runner import SkipRunner
from vsrq.runtime.skip.stats import SkipStats

EXACT = dict(tile=8, tolerance=0, halo="full", refresh=None, break_even=1.0, overhead=0)
WHOLE = dict(stretch=60, scene_threshold=0)


def still(frames, height=40, width=48):
    return np.repeat(noisy(1, height, width), frames, 0)


def with_a_mover(frames, height=40, width=48, edge=6):
    """A picture at rest for two frames, over which a square then wanders."""
    clip = still(frames, height, width)
    for t, frame in enumerate(clip[2:]):
        frame[4 : 4 + edge, 6 * t : 6 * t + edge] = 255 - 20 * t
    return clip


def upscale(net, frames, **settings):
    return np.stack(list(Upscaler(TorchSteps(net), **settings).stream(iter(frames))))


def skipping(net, frames, skip, **settings):
    skip = {"overhead": 0, **skip}  # or frames as small as those here would be computed whole
    upscaler = Upscaler(TorchSteps(net), skip=skip, **{**WHOLE, **settings})
    return np.stack(list(upscaler.stream(iter(frames)))), upscaler.skip_stats


@pytest.fixture(scope="module", params=NAMES)
def net(request):
    return float_net(request.param)


def test_tolerance_0_with_full_halo_is_the_dense_runtime(net):
    """At rest, with a mover and in motion everywhere; in one stretch and in several."""
    clip = np.concatenate([with_a_mover(4), noisy(1, 40, 48, seed=1)])
    for settings in (WHOLE, dict(stretch=2, lookahead=1, scene_threshold=0)):
        result, _ = skipping(net, clip, EXACT, **settings)
        np.testing.assert_array_equal(result, upscale(net, clip, **settings))


@pytest.mark.parametrize("name", NAMES)
def test_equal_for_integer_networks(name):
    net, clip = quantized_net(name, 8), with_a_mover(3)
    result, _ = skipping(net, clip, EXACT)
    np.testing.assert_array_equal(result, upscale(net, clip, **WHOLE))


def encoder_runner(policy, size):
    source = TorchSteps(float_net("edvr"))
    stats = SkipStats(source.plan)
    graphs = source.load(*size)
    return SkipRunner(source.plan, graphs, WindowGraphs(source, {}), policy, size, stats), graphs["encode"], stats


def test_windows_with_the_whole_receptive_field_equal_the_whole_frame():
    """EDVR's encoder at a size that is no multiple of a tile. PyTorch's kernels may round by the shape of a window."""
    frames = [frame.transpose(2, 0, 1)[None].astype(np.float32) / 255 for frame in with_a_mover(4, 68, 92)]
    errors = {}
    for halo in ("full", 2):
        policy = SkipPolicy(tile=8, tolerance=0, halo=halo, break_even=1.0, overhead=0)
        (runner, dense, stats), memory = encoder_runner(policy, (68, 92)), StepMemory()
        for frame in frames:
            results = runner("encode", {"frame": frame}, memory).values()
            found = [np.abs(a - b).max() for a, b in zip(results, dense([frame]), strict=True)]
            errors[halo] = max(errors.get(halo, 0.0), *found)
        encode = stats.steps["encode"]
        assert encode.dense == 1
        assert encode.skipped / encode.calls > 0.3
        assert encode.pixels > 68 * 92
    assert errors["full"] < 2e-6 < 100 * errors["full"] + 1e-5 < errors[2]


def test_a_clip_at_rest_costs_its_beginning_alone():
    _, stats = skipping(float_net("basicvsr"), still(6), dict(tolerance=1))
    # one result, then two frames that matter: both begin with a whole frame. Backward that is the end of the clip: its
    # last frame is made of features that know less than those before, which therefore stay
    assert {name: entry.dense for name, entry in stats.steps.items()} == {
        "flow": 2,
        "propagate_backward": 2,
        "propagate_forward": 2,
        "reconstruct": 2,
    }
    assert sum(entry.pixels for entry in stats.steps.values()) == 8 * 40 * 48


@pytest.mark.parametrize(("name", "begins"), [("basicvsr", 2), ("basicvsr_pp", 3)])
def test_a_stretch_goes_on_where_the_last_one_ended(name, begins):
    """Backward branches begin anew at every stretch, but at rest their features of the last one are as good."""
    _, stats = skipping(float_net(name), still(13), dict(tolerance=1), stretch=5, lookahead=3)
    branches = {step: entry for step, entry in stats.steps.items() if step.startswith("propagate")}
    assert {step: entry.dense for step, entry in branches.items()} == dict.fromkeys(branches, begins)
    assert all(entry.windowed == 0 for entry in branches.values())


def test_what_changed_between_stretches_is_computed_until_a_branch_knows_as_much_as_before():
    """Its first call sees one frame, and those before saw two: what it computes does not count as computed."""
    clip = still(8, 64, 64)
    clip[4:, 8:16, 8:16] = 255 - clip[0, 8:16, 8:16]
    settings = dict(tolerance=1, halo=0, break_even=1.0)
    _, stats = skipping(float_net("basicvsr"), clip, settings, stretch=4, lookahead=0)
    backward = stats.steps["propagate_backward"]
    assert (backward.calls, backward.dense, backward.windowed) == (8, 2, 2)


@pytest.mark.parametrize("name", ["basicvsr", "basicvsr_pp"])
def test_what_is_made_of_new_features_is_new(name):
    """Where a part rests but branches run whole, their features get better there, too: the picture must not lag."""
    net, clip = float_net(name), noisy(6, 40, 48)
    clip[:, :, :8] = clip[0, :, :8]
    dense = upscale(net, clip, **WHOLE)
    result, stats = skipping(net, clip, dict(tolerance=1, break_even=0.5))
    branches = [entry for step, entry in stats.steps.items() if step.startswith("propagate")]
    assert all(entry.dense == entry.calls for entry in branches)
    assert stats.steps["reconstruct"].dense == 6
    np.testing.assert_array_equal(result, dense)


@pytest.mark.parametrize("name", NAMES)
def test_one_grey_level_in_one_pixel_is_honoured(name):
    net, clip = float_net(name), still(3)
    clip[1, 30, 41, 1] ^= 1
    result, _ = skipping(net, clip, EXACT)
    dense = upscale(net, clip, **WHOLE)
    np.testing.assert_array_equal(result, dense)


def test_windows_differ_from_the_whole_by_the_halo_alone():
    """The more is seen around a change, the less is it off."""
    net, clip = float_net("edvr"), with_a_mover(4, 64, 96)
    dense = upscale(net, clip, **WHOLE).astype(int)
    errors = []
    for halo in (0, 8, 16):
        result, stats = skipping(net, clip, dict(tile=8, tolerance=1, halo=halo))
        assert stats.skip_fraction > 0.5
        errors.append(np.square(result - dense).mean())
    assert errors[0] > 3 * errors[1] > 3 * errors[2]


def test_a_slow_ramp_is_followed():
    """Steps below the tolerance add up until they count: the shown frame is never further off than it."""
    net = float_net("edvr")
    clip = np.stack([np.full((32, 32, 3), 60 + t, np.uint8) for t in range(8)])
    result, stats = skipping(net, clip, dict(tolerance=3, refresh=None, break_even=1.0))
    assert 0 < stats.skip_fraction < 1
    dense = upscale(net, clip, **WHOLE)
    gain = np.abs(np.diff(dense.astype(int), axis=0)).max()  # of the network, for one level of the input
    assert np.abs(result.astype(int) - dense).max() <= 3 * gain + 1


def test_flicker_below_the_tolerance_computes_nothing():
    rng = np.random.default_rng(0)
    clip = np.clip(still(6).astype(int) + rng.integers(-1, 2, (6, 40, 48, 3)), 0, 255).astype(np.uint8)
    _, stats = skipping(float_net("edvr"), clip, dict(tolerance=2))
    assert all(entry.pixels == entry.dense * 40 * 48 for entry in stats.steps.values())
    assert stats.skip_fraction > 0.5


def test_everything_is_refreshed_in_time():
    _, stats = skipping(float_net("edvr"), still(6), dict(tolerance=1, refresh=3))
    assert stats.steps["encode"].dense == 2


def test_a_refresh_is_no_news_to_later_steps():
    """At rest a step does not follow the refresh of another, as it follows a frame that was computed for its motion."""
    source = TorchSteps(float_net("basicvsr"))
    stats, graphs = SkipStats(source.plan), source.load(32, 32)
    policy = SkipPolicy(tolerance=1, refresh=4)
    runner = SkipRunner(source.plan, graphs, WindowGraphs(source, {}), policy, (32, 32), stats)
    memories = {name: StepMemory() for name in ("propagate_backward", "reconstruct")}
    zeros = {port.name: np.zeros(port.shape(32, 32), np.float32) for port in graphs["propagate_backward"].spec.inputs}
    rest, other = (np.full((1, 3, 32, 32), level, np.float32) for level in (0.2, 0.8))

    def call(name, frame, **more):
        return runner(name, {**zeros, **more, "frame": frame}, memories[name], seen=[frame])

    def whole(frame):
        """One frame through both steps; returns which of them computed it whole."""
        before = {name: stats.steps[name].dense for name in memories}
        feat = call("propagate_backward", frame)["backward"]
        call("reconstruct", rest, backward=feat, forward=zeros["feat_1"])
        return [stats.steps[name].dense - before[name] for name in memories]

    call("propagate_backward", rest)
    assert whole(rest) == [0, 1]  # the first of reconstruct
    assert whole(rest) == whole(rest) == [0, 0]
    assert whole(rest) == [1, 0]  # the branch is refreshed
    assert whole(rest) == [0, 1]  # and in its turn what is made of it
    assert whole(other) == [1, 1]  # the branch is new, and reconstruct follows though its own frame rests


def test_a_cut_forgets():
    net = float_net("edvr")
    clip = np.concatenate([still(2) // 4, 255 - still(2) // 4])
    result, _ = skipping(net, clip, dict(tolerance=60), scene_threshold=0.1)
    np.testing.assert_array_equal(result[2], upscale(net, clip[2:], **WHOLE)[0])


def test_motion_everywhere_is_computed_whole():
    _, stats = skipping(float_net("basicvsr"), noisy(3, 40, 48), dict(tolerance=1))
    assert all(entry.dense == entry.calls for entry in stats.steps.values())


def test_motion_everywhere_is_looked_at_seldom_and_rest_is_found_again(monkeypatch):
    """After the 1st look in vain 3 calls are computed whole without another, after the others 15."""
    looks, activity = [], Judge.activity
    monkeypatch.setattr(Judge, "activity", lambda self, *args: looks.append(call) or activity(self, *args))
    runner, _, stats = encoder_runner(SkipPolicy(tolerance=1, refresh=None), (32, 32))
    memory, entry = StepMemory(), stats.steps["encode"]
    frames = [frame.transpose(2, 0, 1)[None].astype(np.float32) / 255 for frame in noisy(40, 32, 32)]
    for call in range(60):
        frame = frames[min(call, 39)]
        runner("encode", {"frame": frame}, memory, seen=[frame])
        assert (memory.kept.nbytes == 0) == (call not in (0, 4, 20, 36) and call < 52)
    assert looks[:4] == [1, 5, 21, 37]
    assert looks[4:] == list(range(53, 60))
    assert entry.dense == 53


@pytest.mark.parametrize("settings", [WHOLE, dict(stretch=3, lookahead=2, scene_threshold=0)], ids=["one", "several"])
@pytest.mark.parametrize("skip", [dict(tolerance=1, halo=2), dict(tolerance=0, halo=2)], ids=["frames", "all inputs"])
def test_results_that_nobody_else_holds_are_written_in_place_and_stay_the_same(monkeypatch, net, skip, settings):
    clip, own = with_a_mover(8), []
    may_change = ArrayPool.may_change
    monkeypatch.setattr(ArrayPool, "may_change", lambda *args: own.append(may_change(*args)) or own[-1])
    result, _ = skipping(net, clip, {"break_even": 1.0, **skip}, **settings)
    assert set(own) == {False, True}
    monkeypatch.setattr(ArrayPool, "may_change", lambda *args: False)
    copied, _ = skipping(net, clip, {"break_even": 1.0, **skip}, **settings)
    np.testing.assert_array_equal(result, copied)


def wandering():
    """An encoder and frames over which a square wanders: what a step of their memory computes in windows."""
    policy = SkipPolicy(tolerance=0, halo=2, refresh=None, break_even=1.0, overhead=0)
    runner, _, stats = encoder_runner(policy, (68, 92))
    frames = [frame.transpose(2, 0, 1)[None].astype(np.float32) / 255 for frame in with_a_mover(8, 68, 92)[1:]]
    return runner, frames, stats.steps["encode"]


def encode(runner, frame, memory):
    """Return the results and what is in them."""
    results = list(runner("encode", {"frame": frame}, memory).values())
    return [(array, array.copy()) for array in results]


def test_results_that_are_held_do_not_change():
    runner, frames, entry = wandering()
    memory, held = StepMemory(), []
    for frame in frames:
        held += encode(runner, frame, memory)
    assert entry.windowed == len(frames) - 1
    for array, content in held:
        np.testing.assert_array_equal(array, content)


def test_memories_that_part_do_not_change_each_other():
    runner, frames, entry = wandering()
    memory = StepMemory()
    for frame in frames[:3]:
        expected = [content for _, content in encode(runner, frame, memory)]
    ahead = memory.copy()
    for frame in frames[3:]:
        encode(runner, frame, ahead)
    pixels = entry.pixels
    for (array, _), content in zip(encode(runner, frames[2], memory), expected, strict=True):
        np.testing.assert_array_equal(array, content)
    assert entry.pixels == pixels  # at rest where the first memory is


def test_a_call_that_failed_leaves_nothing_half_done(monkeypatch):
    runner, frames, entry = wandering()
    memory = StepMemory()
    for frame in frames[:3]:
        encode(runner, frame, memory)
    with monkeypatch.context() as patch:
        patch.setattr(WindowGraphs, "graph", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            encode(runner, frames[3], memory)
    encode(runner, frames[2], memory)
    assert entry.dense == 2  # the first call, and this one


def test_one_upscaler_serves_streams_side_by_side():
    net = float_net("basicvsr")
    a, b = with_a_mover(4, 32, 32), still(4, 32, 32)
    shared = Upscaler(TorchSteps(net), skip=dict(tolerance=1), stretch=2, lookahead=1)
    pairs = list(zip(shared.stream(a), shared.stream(b), strict=True))
    for index, frames in enumerate((a, b)):
        alone, _ = skipping(net, frames, dict(tolerance=1), stretch=2, lookahead=1, scene_threshold=0.1)
        np.testing.assert_array_equal(np.stack([pair[index] for pair in pairs]), alone)


def test_the_state_of_another_size_is_refused():
    memory, frames = StepMemory(), [np.zeros((1, 3, size, size), np.float32) for size in (32, 40)]
    encoder_runner(SkipPolicy(), (32, 32))[0]("encode", {"frame": frames[0]}, memory, seen=frames[:1])
    other, *_ = encoder_runner(SkipPolicy(), (40, 40))
    with pytest.raises(StateError, match=r"encode keeps arrays of shape .*32, 32.* reset the driver"):
        other("encode", {"frame": frames[1]}, memory, seen=frames[1:])


def test_a_tile_larger_than_the_frame_is_refused():
    upscaler = Upscaler(TorchSteps(float_net("basicvsr")), skip=dict(tile=32))
    with pytest.raises(ConfigError, match=r"tile=32 is larger than the frames of 24x64 pixels .* choose a smaller"):
        next(upscaler.stream(noisy(1, 24, 64)))


def test_residual_networks_are_refused():
    from tests.models.test_quantized_vsr import clip, quantized, rules
    from vsrq.quant import calibrate

    eight = dict(weight=dict(bits=8), act=dict(bits=8))
    model = quantized("basicvsr", quant=dict(**eight, rules=rules("basicvsr")), residual=eight)
    with torch.no_grad():
        calibrate(model, lambda: model.upscale(clip(3)), passes=2)
    with pytest.raises(ConfigError, match="skip does not go with residual layers"):
        Upscaler(TorchSteps(model.generator), skip=True)
