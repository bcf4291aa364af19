import numpy as np
import pytest

from vsrq.datasets import CentreGroundTruth, RandomClipCrop
from vsrq.errors import ConfigError, DataError


def clip(frames=5, height=40, width=50):
    """Frames whose pixels say where and when they are."""
    t, y, x = np.mgrid[0:frames, 0:height, 0:width]
    return list(np.stack([t, y, x], axis=-1).astype(np.uint8))


def test_all_frames_are_cut_at_the_same_place():
    for seed in range(20):
        np.random.seed(seed)
        results = RandomClipCrop(16).transform(dict(gt=clip()))
        left, top, _, _ = results["gt_crop_bbox"]
        for number, frame in enumerate(results["gt"]):
            assert frame.shape == (16, 16, 3)
            assert tuple(frame[0, 0]) == (number, top, left)


def test_every_place_is_reached():
    places = set()
    for seed in range(60):
        np.random.seed(seed)
        places.add(tuple(RandomClipCrop(40).transform(dict(gt=clip(1, 41, 42)))["gt_crop_bbox"][:2]))
    assert places == {(x, y) for x in range(3) for y in range(2)}


def test_single_image_stays_single():
    results = RandomClipCrop(40).transform(dict(gt=clip(1, 40, 40)[0]))
    np.testing.assert_array_equal(results["gt"], clip(1, 40, 40)[0])


def test_crop_is_checked():
    with pytest.raises(ConfigError, match="size must be a whole number of at least 1, got 0"):
        RandomClipCrop(0)
    with pytest.raises(ConfigError, match="tries must be a whole number of at least 1, got 0"):
        RandomClipCrop(8, tries=0)
    with pytest.raises(DataError, match="bikes: frames of 50x40 pixels are smaller than the crop of 41x41"):
        RandomClipCrop(41).transform(dict(gt=clip(), key="bikes"))


def test_centre_frame_is_kept():
    results = CentreGroundTruth().transform(dict(gt=clip(5)))
    assert results["num_output_frames"] == 1
    np.testing.assert_array_equal(results["gt"], clip(5)[2])


def test_most_detailed_of_several_squares_is_taken():
    frame = np.full((64, 64, 3), 128, np.uint8)
    frame[40:, 40:] = np.random.default_rng(0).integers(0, 256, (24, 24, 3))
    np.random.seed(0)
    places = [RandomClipCrop(24, tries=200).transform(dict(gt=[frame]))["gt_crop_bbox"][:2] for _ in range(3)]
    assert min(min(place) for place in places) > 34


def test_window_without_centre_is_refused():
    with pytest.raises(DataError, match="window 7: 4 frames have no centre"):
        CentreGroundTruth().transform(dict(gt=clip(4), key="window 7"))
