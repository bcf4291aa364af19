import io

import lmdb
import numpy as np
import pytest
from PIL import Image

from tests.datasets.conftest import noise, write_frames, write_video
from vsrq.datasets.frames import clip_of, frame_size, read_frames
from vsrq.datasets.sources import open_source
from vsrq.errors import DataError


def png(frame):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "png")
    return buffer.getvalue()


def write_lmdb(path, clips):
    with lmdb.open(str(path), map_size=2**22) as database, database.begin(write=True) as transaction:
        for key, content in clips.items():
            transaction.put(key.encode(), content)
    return path


def test_folders_and_videos_may_be_mixed(tmp_path):
    frames = noise(3, 16, 24)
    write_frames(tmp_path / "b", frames)
    write_video(tmp_path / "a.mkv", frames)
    (tmp_path / "notes.txt").write_text("no clip")
    (tmp_path / ".hidden").mkdir()
    source = open_source(str(tmp_path))
    assert source.names(1) == ["a", "b"]
    for name in ("a", "b"):
        addresses = source.frames(name)
        assert np.array_equal(np.stack(read_frames(addresses)), frames)
        assert frame_size(addresses[2]) == (16, 24)
        assert len({clip_of(address) for address in addresses}) == 1


def test_frames_are_ordered_by_number_and_other_files_left_out(tmp_path):
    frames = noise(11, 8, 8)
    write_frames(tmp_path / "clip", frames, "im{}.png")
    (tmp_path / "clip" / "im3.txt").write_text("no frame")
    read = read_frames(open_source(str(tmp_path)).frames("clip"))
    assert np.array_equal(np.stack(read), frames)


def test_a_path_may_be_one_clip(tmp_path):
    frames = noise(2, 8, 8)
    folder, video = write_frames(tmp_path / "one", frames), write_video(tmp_path / "two.mkv", frames)
    for path, name in ((folder, "one"), (video, "two")):
        source = open_source(str(path))
        assert source.names(1) == [name]
        assert np.array_equal(np.stack(read_frames(source.frames(name))), frames)


def test_a_star_stands_for_the_clip(tmp_path):
    for clip in ("car", "hdclub"):
        write_frames(tmp_path / clip / "truth", noise(2, 8, 8))
        write_frames(tmp_path / clip / "input4", noise(2, 2, 2))
    source = open_source(str(tmp_path / "*" / "truth"))
    assert source.names(1) == ["car", "hdclub"]
    assert frame_size(source.frames("car")[0]) == (8, 8)
    assert frame_size(open_source(str(tmp_path / "*" / "input4")).frames("car")[0]) == (2, 2)


def test_two_levels_of_folders(tmp_path):
    write_frames(tmp_path / "00001" / "0266", noise(1, 8, 8))
    write_frames(tmp_path / "00002" / "0001", noise(1, 8, 8))
    assert open_source(str(tmp_path)).names(2) == ["00001/0266", "00002/0001"]


def test_lmdb_holds_clips_by_key(tmp_path):
    frames = noise(3, 8, 12)
    contents = {f"{clip}/{number:08d}": png(frames[number]) for clip in ("000", "011") for number in range(3)}
    path = write_lmdb(tmp_path / "train.lmdb", contents)
    source = open_source(str(path))
    assert source.names(1) == ["000", "011"]
    addresses = source.frames("011")
    assert np.array_equal(np.stack(read_frames(addresses)), frames)
    assert frame_size(addresses[0]) == (8, 12)
    assert clip_of(addresses[0]) != clip_of(source.frames("000")[0])
    with pytest.raises(DataError, match=r"no such clip '020'; it holds 000, 011"):
        source.frames("020")
    with pytest.raises(DataError, match="has not 2 parts; set depth"):
        source.names(2)
    with pytest.raises(DataError, match="has no key '000/00000099'"):
        read_frames([f"{path}/000/00000099"])


def test_broken_lmdb_is_refused(tmp_path):
    (tmp_path / "empty.lmdb").mkdir()
    with pytest.raises(DataError, match=r"empty\.lmdb: not an LMDB folder"):
        open_source(str(tmp_path / "empty.lmdb"))
    flat = write_lmdb(tmp_path / "flat.lmdb", {"00000000": b"x"})
    with pytest.raises(DataError, match="key '00000000' has no clip part"):
        open_source(str(flat))


def test_missing_and_empty_clips_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file or folder; check data_root"):
        open_source(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no such file or folder"):
        open_source(str(tmp_path / "nowhere" / "*" / "truth"))
    (tmp_path / "clips" / "empty").mkdir(parents=True)
    source = open_source(str(tmp_path / "clips"))
    with pytest.raises(DataError, match=r"empty: empty clip, no file ends in \.png"):
        source.frames("empty")
    with pytest.raises(DataError, match="other: no such clip, neither a folder nor a video file"):
        source.frames("other")


def test_frames_of_different_sizes_are_refused(tmp_path):
    write_frames(tmp_path, noise(2, 8, 8))
    write_frames(tmp_path, noise(1, 8, 12), "99.png")
    with pytest.raises(DataError, match=r"different sizes.*00000000\.png is 8x8, .*99\.png is 12x8"):
        read_frames([str(path) for path in sorted(tmp_path.iterdir())])
    with pytest.raises(DataError, match="without frames"):
        read_frames([])
    with pytest.raises(DataError, match=r"gone\.png: cannot be read"):
        read_frames([str(tmp_path / "gone.png")])


def test_frames_of_a_video_come_in_any_order_and_repeated(tmp_path):
    frames = noise(6, 16, 16)
    path = write_video(tmp_path / "a.mkv", frames)
    read = read_frames([f"{path}#{number}" for number in (4, 2, 2, 5)])
    assert np.array_equal(np.stack(read), frames[[4, 2, 2, 5]])
