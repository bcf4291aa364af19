import numpy as np
import pytest
import torch

from tests.datasets.conftest import noise, write_frames, write_video
from vsrq.datasets.bicubic import matlab_resize
from vsrq.datasets.clips import degrade, load_clip, make_pair, to_uint8
from vsrq.datasets.gaussian import gaussian_downsample
from vsrq.errors import ConfigError, DataError


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_a_clip_is_loaded_as_a_float_tensor(tmp_path, kind):
    frames = noise(5, 12, 20)
    path = write_frames(tmp_path / "a", frames) if kind == "folder" else write_video(tmp_path / "a.mkv", frames)
    clip = load_clip(path)
    assert clip.dtype == torch.float32
    assert torch.equal(clip, torch.from_numpy(frames).permute(0, 3, 1, 2) / 255)
    assert torch.equal(load_clip(path, start=1, stop=3), clip[1:3])
    assert np.array_equal(to_uint8(clip).permute(0, 2, 3, 1).numpy(), frames)
    with pytest.raises(DataError, match="but it has 5"):
        load_clip(path, stop=6)


def test_a_folder_of_clips_is_no_clip(tmp_path):
    write_frames(tmp_path / "a", noise(1, 8, 8))
    write_frames(tmp_path / "b", noise(1, 8, 8))
    with pytest.raises(DataError, match="holds 2 clips: a, b; give the path of one"):
        load_clip(tmp_path)


@pytest.mark.parametrize(
    ("degradation", "reduce"), [("BI", lambda x: matlab_resize(x, 0.25)), ("BD", gaussian_downsample)]
)
def test_pairs_are_eight_bit_and_fit_each_other(degradation, reduce):
    lr, hr = make_pair(torch.rand(2, 3, 31, 42), degradation)
    assert lr.shape == (2, 3, 7, 10)
    assert hr.shape == (2, 3, 28, 40)
    assert torch.equal(to_uint8(hr).float() / 255, hr)
    assert torch.equal(lr, reduce(to_uint8(hr)).float() / 255)


@pytest.mark.golden
def test_the_pair_of_vid4_is_the_published_one(vid4):
    truth = load_clip(vid4 / "GT" / "calendar", stop=2)
    lr, hr = make_pair(truth)
    assert torch.equal(hr, truth)
    assert torch.equal(lr, load_clip(vid4 / "BIx4" / "calendar", stop=2))


def test_bad_arguments():
    with pytest.raises(ConfigError, match="unknown degradation 'bicubic'; allowed are 'BI' and 'BD'"):
        degrade(torch.zeros(3, 8, 8), "bicubic")
    with pytest.raises(ConfigError, match="whole number"):
        degrade(torch.zeros(3, 8, 8), scale=0)
    with pytest.raises(DataError, match="8x3 pixels is too small to be reduced 4 times"):
        make_pair(torch.zeros(1, 3, 3, 8))
