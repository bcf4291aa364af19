import re

import numpy as np
import pytest
import torch

from tests.deploy.nets import float_net, noisy
from vsrq.deploy.torch_backend import TorchSteps
from vsrq.errors import ConfigError, DataError
from vsrq.runtime import Upscaler, upscaler

WHOLE = dict(stretch=60, scene_threshold=0)


@pytest.fixture(scope="module")
def steps():
    return TorchSteps(float_net("basicvsr"))


def upscale(steps, frames, **settings):
    return np.stack(list(Upscaler(steps, **settings).stream(iter(frames))))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [1, 3])
def test_results_are_those_of_the_network_rounded(steps, dtype, count):
    full = np.iinfo(dtype).max
    frames = (noisy(count, 36, 50) / 255 * full).astype(dtype)
    clip = torch.from_numpy(frames.astype(np.float32) / full).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = float_net("basicvsr").upscale(clip[None])[0].clamp(0, 1) * full
    result = upscale(steps, frames, **WHOLE)
    assert (result.dtype, result.shape) == (np.dtype(dtype), (count, 144, 200, 3))
    error = np.abs(result.astype(np.float64) - expected.permute(0, 2, 3, 1).double().numpy())
    assert error.max() <= 0.5 + 1e-4 * full / 2


def test_nothing_in_nothing_out(steps):
    assert list(Upscaler(steps).stream([])) == []


def test_stretches_equal_the_whole_scene_away_from_their_borders(steps):
    frames = noisy(8, 32, 32)
    whole = upscale(steps, frames, **WHOLE)
    parts = upscale(steps, frames, stretch=3, lookahead=2, scene_threshold=0)
    np.testing.assert_array_equal(parts[6:], whole[6:])
    assert np.abs(parts.astype(int) - whole).max() <= 2
    np.testing.assert_array_equal(upscale(steps, frames, stretch=3, lookahead=8, scene_threshold=0), whole)


def test_runs_and_machines_agree(steps, monkeypatch):
    frames = noisy(5, 32, 32)
    first = upscale(steps, frames, stretch=2, lookahead=1)
    monkeypatch.setattr(upscaler, "available_bytes", lambda: 2**40)
    np.testing.assert_array_equal(upscale(steps, frames, stretch=2, lookahead=1), first)
    monkeypatch.setattr(upscaler, "available_bytes", lambda: None)
    again = Upscaler(steps, stretch=2, lookahead=1)
    for _ in range(2):
        np.testing.assert_array_equal(np.stack(list(again(frames))), first)


def test_scenes_are_upscaled_each_on_its_own(steps):
    dark, bright = noisy(3, 32, 32) // 4, 255 - noisy(4, 32, 32, seed=1) // 4
    together = upscale(steps, np.concatenate([dark, bright]))
    np.testing.assert_array_equal(together, np.concatenate([upscale(steps, dark), upscale(steps, bright)]))
    joined = upscale(steps, np.concatenate([dark, bright]), scene_threshold=0)
    assert not np.array_equal(joined, together)


def test_tiles_agree_with_the_whole_frame(steps):
    frames = noisy(2, 72, 88)
    whole = upscale(steps, frames, **WHOLE)
    np.testing.assert_array_equal(upscale(steps, frames, tile=(80, 90), **WHOLE), whole)
    tiled = upscale(steps, frames, tile=(56, 64), tile_overlap=16, **WHOLE)
    assert np.abs(tiled.astype(int) - whole).mean() < 1


def test_streams_of_one_upscaler_do_not_mix(steps):
    a, b = noisy(5, 32, 32), noisy(5, 32, 32, seed=1)
    shared = Upscaler(steps, stretch=2, lookahead=1)
    pairs = list(zip(shared.stream(a), shared.stream(b), strict=True))
    for index, frames in enumerate((a, b)):
        np.testing.assert_array_equal(
            np.stack([pair[index] for pair in pairs]), upscale(steps, frames, stretch=2, lookahead=1)
        )


def test_a_stream_that_was_left_leaves_nothing_behind(steps):
    frames = noisy(5, 32, 32)
    shared = Upscaler(steps, stretch=2, lookahead=1)
    stream = shared.stream(frames[::-1])
    next(stream)
    stream.close()
    np.testing.assert_array_equal(np.stack(list(shared.stream(frames))), upscale(steps, frames, stretch=2, lookahead=1))


def test_frames_are_read_only_as_far_as_needed(steps):
    read = []

    def source():
        for i, frame in enumerate(noisy(12, 32, 32)):
            read.append(i)
            yield frame

    stream = Upscaler(steps, stretch=2, lookahead=1, scene_threshold=0).stream(source())
    next(stream)
    assert len(read) == 3
    stream.close()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((32, 32), np.uint8), "got uint8 (32, 32); convert it to RGB"),
        (np.zeros((32, 32, 1), np.uint8), "got uint8 (32, 32, 1)"),
        (np.zeros((32, 32, 4), np.uint8), "got uint8 (32, 32, 4)"),
        (np.zeros((32, 32, 3), np.float32), "got float32 (32, 32, 3)"),
        (np.zeros((0, 32, 3), np.uint8), "got uint8 (0, 32, 3)"),
        ([[0]], "a frame is a numpy array of shape (h, w, 3), got list"),
    ],
)
def test_bad_frames(steps, frame, message):
    with pytest.raises(DataError, match=re.escape(message)):
        next(Upscaler(steps).stream([frame]))


@pytest.mark.parametrize("second", [np.zeros((32, 36, 3), np.uint8), np.zeros((32, 32, 3), np.uint16)])
def test_frames_must_be_alike(steps, second):
    stream = Upscaler(steps, stretch=1, lookahead=0).stream([np.zeros((32, 32, 3), np.uint8), second])
    next(stream)
    with pytest.raises(DataError, match=r"the first one was uint8 .* all frames of a stream must be alike"):
        next(stream)


def test_too_little_memory(steps, monkeypatch):
    with pytest.raises(DataError, match=r"frames of 50x36 pixels need about .* pass tile=\(height, width\), or allow"):
        next(Upscaler(steps, memory=1_200_000).stream(noisy(1, 36, 50)))
    monkeypatch.setattr(upscaler, "available_bytes", lambda: 500_000)
    with pytest.raises(DataError, match=r"frames of 50x36 pixels need .* are free. Tiles of \d+x\d+ pixels fit"):
        next(Upscaler(steps).stream(noisy(1, 36, 50)))


@pytest.mark.parametrize("settings", [dict(lookahead=-1), dict(stretch=0), dict(memory=0), dict(scene_threshold=-0.1)])
def test_arguments_out_of_range(steps, settings):
    ((name, value),) = settings.items()
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        Upscaler(steps, **settings)
