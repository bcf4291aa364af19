import time

import numpy as np
import pytest
import torch

from vsrq.datasets import SyntheticClips, matlab_resize
from vsrq.datasets.textures import dead_leaves, noise, stripes, texture, writing
from vsrq.errors import ConfigError

PIPELINE = [dict(type="MATLABBicubic", scale=0.25), dict(type="PackInputs")]


def clips(**changes):
    return SyntheticClips(**{"num_clips": 8, "num_frames": 4, "size": 64, **changes})


def test_clip_depends_on_seed_and_index_alone():
    first, second = clips(), clips(num_clips=5)
    second.render(3)
    for a, b in zip(first.render(2), second.render(2), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.render(0)[0], first.render(1)[0])
    assert not np.array_equal(first.render(0)[0], clips(seed=1).render(0)[0])


def test_order_and_global_random_state_do_not_matter():
    data = clips()
    np.random.seed(1)
    expected = data.render(4)
    np.random.seed(2)
    data.render(5)
    for a, b in zip(data.render(4), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_longer_clips_show_the_same_scene():
    """The middle of a clip does not depend on its length."""
    short, long = clips(num_frames=3).render(1), clips(num_frames=5).render(1)
    for a, b in zip(short, long[1:4], strict=True):
        np.testing.assert_array_equal(a, b)


def test_static_camera_without_layers_stands_still():
    for index in range(4):
        frames = clips(max_layers=0, static_camera=1.0).render(index)
        assert all(np.array_equal(frame, frames[0]) for frame in frames)


def test_moving_camera_moves_everything():
    data = clips(max_layers=0, static_camera=0.0, num_frames=2)
    changes = [np.abs(a.astype(int) - b).mean() for a, b in map(data.render, range(8))]
    assert min(changes) > 0
    assert np.median(changes) > 1


def test_motion_between_neighbours_is_a_few_pixels():
    """A shift by the right whole pixels explains most of the change, so that flow networks have a chance."""
    data = clips(max_layers=0, static_camera=0.0, num_frames=2, size=96)
    explained = []
    for a, b in map(data.render, range(8)):
        a, b = a.astype(float), b.astype(float)
        errors = [
            np.abs(np.roll(a, (y, x), (0, 1)) - b)[16:-16, 16:-16].mean()
            for y in range(-12, 13)
            for x in range(-12, 13)
        ]
        explained.append(min(errors) / (np.abs(a - b)[16:-16, 16:-16].mean() + 1e-9))
    assert np.median(explained) < 0.7


def test_pipeline_makes_the_low_resolution_half():
    sample = clips(pipeline=PIPELINE)[3]
    truth, inputs = sample["data_samples"].gt_img, sample["inputs"]
    assert truth.shape == (4, 3, 64, 64)
    assert torch.equal(inputs, matlab_resize(truth, 0.25))


@pytest.mark.parametrize("kind", [dead_leaves, writing, stripes, noise, texture])
def test_textures_have_contrast_at_all_scales(kind):
    """Reducing a texture by 4 loses something, so there is something to learn, and leaves something."""
    lost = []
    for seed in range(6):
        image = kind(np.random.default_rng(seed), 256)
        assert image.shape == (256, 256, 3)
        assert image.dtype == np.uint8
        fine = torch.from_numpy(image).permute(2, 0, 1).float()
        coarse = matlab_resize(matlab_resize(fine, 0.25), 4.0)
        assert coarse.std() > 3
        lost.append(float((fine - coarse).std()))
    assert np.median(lost) > 1


def test_rendering_is_fast_once_the_textures_are_there():
    data = clips(size=256, num_frames=7, num_clips=4)
    data.render(0)
    started = time.process_time()
    data.render(0)
    assert time.process_time() - started < 2.0


def test_clips_end():
    with pytest.raises(IndexError, match="clip 8 of 8"):
        clips()[8]
    assert len(list(clips(num_clips=2))) == 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (dict(num_clips=0), "num_clips must be a whole number of at least 1, got 0"),
        (dict(num_frames=2.5), "num_frames must be a whole number of at least 1, got 2.5"),
        (dict(size=16), "size must be a whole number of at least 32, got 16"),
        (dict(static_camera=1.5), r"static_camera=1.5 must lie in 0\.\.1"),
        (dict(max_layers=-1), "max_layers=-1 and max_speed=4.0 must not be negative"),
    ],
)
def test_impossible_settings_are_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        clips(**changes)
