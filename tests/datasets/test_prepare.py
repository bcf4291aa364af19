import json
from dataclasses import replace

import numpy as np
import pytest

from tests.datasets.conftest import noise, write_video
from vsrq.datasets import BasicFramesDataset, load_clip, matlab_resize, to_uint8
from vsrq.datasets.prepare import Preparation, find_scenes, prepare_clips, verify
from vsrq.errors import ConfigError, DataError


def scene(level, count, seed=0):
    """Frames (count, 50, 70, 3) of one brightness, a little noisy."""
    return (level + noise(count, 50, 70, seed) // 16).astype(np.uint8)


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    write_video(folder / "cut.mkv", np.concatenate([scene(20, 6), scene(180, 4, 1), scene(80, 9, 2)]))
    write_video(folder / "plain.mkv", scene(120, 7))
    return folder


SETTINGS = Preparation(min_frames=5, max_frames=6)


def test_scenes_are_cut_where_brightness_jumps():
    frames = np.concatenate([scene(20, 6), scene(180, 4), scene(80, 9)])
    assert find_scenes(frames, 25.0) == [(0, 6), (6, 10), (10, 19)]
    assert find_scenes(frames, 1000.0) == [(0, 19)]
    assert find_scenes(frames[:1], 25.0) == [(0, 1)]


def test_short_scenes_are_dropped_and_long_ones_split(videos, tmp_path):
    rows = prepare_clips([videos], tmp_path / "out", Preparation(min_frames=4, max_frames=5))
    assert [(row["source"], row["start"], row["stop"]) for row in rows] == [
        ("cut.mkv", 6, 10),
        ("cut.mkv", 10, 14),
        ("cut.mkv", 14, 19),
        ("plain.mkv", 3, 7),
    ]


def test_frames_are_reduced_exactly_and_cropped(videos, tmp_path):
    prepare_clips([videos / "cut.mkv"], tmp_path / "out", SETTINGS)
    written = load_clip(tmp_path / "out" / "cut_00000")
    source = to_uint8(load_clip(videos / "cut.mkv", start=0, stop=6))
    assert written.shape == (6, 3, 24, 32)
    assert np.array_equal(to_uint8(written), matlab_resize(source, 0.5)[..., :24, :32])


def test_lmdb_holds_the_same_frames(videos, tmp_path):
    prepare_clips([videos], tmp_path / "png", SETTINGS)
    prepare_clips([videos], tmp_path / "db", replace(SETTINGS, lmdb=True))
    pipeline = [dict(type="GenerateSegmentIndices", interval_list=[1]), dict(type="LoadImageFromFile", key="gt")]
    sets = [
        BasicFramesDataset(data_root=str(tmp_path), data_prefix=dict(gt=prefix), num_input_frames=5, pipeline=pipeline)
        for prefix in ("png", "db/clips.lmdb")
    ]
    assert len(sets[0]) == len(sets[1]) == 2
    for index in range(2):
        np.random.seed(index)
        first = sets[0][index]["gt"]
        np.random.seed(index)
        np.testing.assert_array_equal(first, sets[1][index]["gt"])
    verify(tmp_path / "db")


def test_videos_held_out_leave_no_clip(videos, tmp_path):
    rows = prepare_clips([videos], tmp_path / "out", Preparation(min_frames=5, hold_out=("cut",)))
    assert {row["source"] for row in rows} == {"plain.mkv"}
    assert json.loads((tmp_path / "out" / "clips.json").read_text())["hold_out"] == ["cut"]


def test_checksums_find_changed_and_lost_frames(videos, tmp_path):
    out = tmp_path / "out"
    prepare_clips([videos], out, SETTINGS)
    verify(out)
    frame = out / "cut_00000" / "00000000.png"
    frame.write_bytes(frame.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"00000000\.png: differs from its checksum"):
        verify(out)
    frame.unlink()
    with pytest.raises(DataError, match=r"00000000\.png: missing"):
        verify(out)
    with pytest.raises(DataError, match=r"holds no checksums\.sha256"):
        verify(videos)


@pytest.mark.parametrize(
    ("options", "arguments", "error", "text"),
    [
        (dict(min_frames=50), {}, DataError, r"0 clip\(s\) of at least 50 frames found in 2 video"),
        ({}, dict(min_clips=8), DataError, r"4 clip\(s\).* but 8 are needed, one per process"),
        (dict(hold_out=("cuts",)), {}, ConfigError, "no video is called cuts; there are cut, plain"),
    ],
)
def test_failures_leave_nothing_behind(videos, tmp_path, options, arguments, error, text):
    with pytest.raises(error, match=text):
        prepare_clips([videos], tmp_path / "out", Preparation(**{"min_frames": 3, **options}), **arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["videos"]


def test_paths_are_checked(videos, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        prepare_clips([tmp_path / "nowhere"], tmp_path / "out", SETTINGS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no video found; files must end in"):
        prepare_clips([tmp_path / "empty"], tmp_path / "out", SETTINGS)
    with pytest.raises(DataError, match="exists already"):
        prepare_clips([videos], tmp_path / "empty", SETTINGS)
    write_video(tmp_path / "videos" / "more" / "plain.mkv", scene(120, 7))
    with pytest.raises(DataError, match="two videos have the same name"):
        prepare_clips([videos], tmp_path / "out", SETTINGS)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (dict(reduction=0), "reduction must be a whole number of at least 1, got 0"),
        (dict(cut=0), "cut must be above 0"),
        (dict(min_frames=9, max_frames=8), "max_frames=8 is below min_frames=9"),
    ],
)
def test_impossible_settings_are_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        Preparation(**options)
