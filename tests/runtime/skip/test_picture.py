import numpy as np
import pytest

from vsrq.errors import ConfigError, OutputError
from vsrq.runtime.skip.picture import activity_picture, write_picture
from vsrq.runtime.skip.stats import SkipStats


def shown(share, dtype=np.uint8):
    frame = np.full((20, 24, 3), np.iinfo(dtype).max // 2, dtype)
    return activity_picture(frame, np.asarray(share, float), 16)


def test_what_was_skipped_is_darker_and_what_was_computed_redder():
    picture = shown([[0, 1], [0.5, 0]]).astype(int)
    assert picture.shape == (20, 24, 3)
    skipped, computed, half = picture[0, 0], picture[0, 16], picture[16, 0]
    assert len(np.unique(skipped)) == 1
    assert skipped.sum() < half.sum() < computed.sum()
    assert computed[0] - computed[1] > half[0] - half[1] > 0
    np.testing.assert_array_equal(picture[16:, 16:], np.broadcast_to(skipped, (4, 8, 3)))


def test_deep_frames_look_the_same():
    difference = shown([[0, 1], [1, 0]]).astype(int) - shown([[0, 1], [1, 0]], np.uint16)
    assert np.abs(difference).max() <= 1


def test_frames_that_are_cut_have_no_picture():
    with pytest.raises(ConfigError, match=r"1x1 tiles of 16 pixels do not cover frames of 20x24: .* --skip-picture"):
        shown([[1]])


def test_the_picture_of_nothing(tmp_path):
    class Empty:
        steps = ()

    with pytest.raises(ConfigError, match="no frame was upscaled"):
        write_picture(tmp_path / "a.png", SkipStats(Empty()), 16)


def test_the_picture_is_read_back_and_a_missing_folder_named(tmp_path):
    import cv2

    class Plan:
        steps = ()

    stats = SkipStats(Plan())
    stats.frame = np.full((20, 24, 3), 100, np.uint8)
    tiles = np.array([[True, False], [False, False]])
    for active in (tiles, np.zeros_like(tiles)):
        stats.note("reconstruct", active, 0, frame_pixels=480)
    write_picture(tmp_path / "a.png", stats, 16)
    expected = activity_picture(stats.frame, tiles / 2, 16)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], expected)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(OutputError, match=r"none/a\.png cannot be written"):
        write_picture(tmp_path / "none" / "a.png", stats, 16)
