import numpy as np

from tests.deploy.nets import noisy
from vsrq.runtime.scenes import SceneCuts


def cuts(frames, **settings):
    detector = SceneCuts(**settings)
    return [i for i, frame in enumerate(frames) if detector.starts_scene(frame)]


def gradient(level, frames, dtype=np.uint8):
    ramp = np.linspace(0, 0.4, 64)[None, :, None] + level
    return [np.broadcast_to(ramp * np.iinfo(dtype).max, (48, 64, 3)).astype(dtype) for _ in range(frames)]


def test_a_cut_is_found_where_it_is():
    frames = gradient(0.0, 5) + gradient(0.5, 6) + gradient(0.1, 3)
    assert cuts(frames) == [5, 11]
    assert cuts(gradient(0.0, 5, np.uint16) + gradient(0.5, 4, np.uint16)) == [5]


def test_the_first_frame_and_a_still_are_no_cuts():
    assert cuts(gradient(0.2, 10)) == []
    assert cuts(gradient(0.2, 1)) == []


def test_motion_and_a_slow_fade_are_no_cuts():
    assert cuts(noisy(10)) == []
    assert cuts([frame for level in np.linspace(0, 0.5, 12) for frame in gradient(level, 1)]) == []


def test_flicker_is_found_once():
    """After a cut its own difference is the usual one for a while."""
    frames = [frame for i in range(8) for frame in gradient(0.5 * (i % 2), 1)]
    assert cuts(frames) == [1]


def test_a_threshold_of_zero_switches_it_off():
    assert cuts(gradient(0.0, 2) + gradient(0.5, 2), threshold=0) == []
