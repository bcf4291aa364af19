import sys

import numpy as np
import pytest

from tests.datasets.conftest import noise, write_video
from vsrq.datasets.video import index_video, read_video
from vsrq.errors import DataError, MissingDependencyError

FRAMES = noise(12, 48, 64)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "clip.mkv", FRAMES)


@pytest.fixture(scope="module")
def b_frames(tmp_path_factory):
    """Key frames every 5 frames and bidirectional frames between: storage order is not display order."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    return write_video(path, FRAMES, "mpeg4", "yuv420p", g="5", bf="2", qscale="2")


def test_lossless_video_is_returned_exactly(lossless):
    assert np.array_equal(read_video(lossless), FRAMES)


@pytest.mark.parametrize("fixture", ["lossless", "b_frames"])
@pytest.mark.parametrize(("start", "stop"), [(0, 3), (1, 2), (4, 9), (7, None), (11, 12)])
def test_a_piece_equals_the_same_piece_of_the_whole(request, fixture, start, stop):
    path = request.getfixturevalue(fixture)
    whole = read_video(path)
    assert whole.shape == (12, 48, 64, 3)
    assert np.array_equal(read_video(path, start=start, stop=stop), whole[start:stop])


def test_index_counts_without_decoding(b_frames):
    index = index_video(b_frames)
    assert (index.num_frames, index.height, index.width) == (12, 48, 64)
    assert list(index.times) == sorted(set(index.times))


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 3), (0, 13), (12, None)])
def test_frames_outside_are_refused_with_the_number_there_is(lossless, start, stop):
    with pytest.raises(DataError, match="but the video has 12"):
        read_video(lossless, start=start, stop=stop)


def test_truncated_video_is_refused(tmp_path):
    whole = write_video(tmp_path / "a.mp4", FRAMES, "mpeg4", "yuv420p", g="5", movflags="")
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.mp4: .*truncated.*fetch it again"):
        read_video(whole)


def test_truncated_streaming_video_is_refused(tmp_path):
    import av

    # With the index at the beginning the container opens well; only the frames at the end are missing.
    path = tmp_path / "b.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=r"b\.mp4: truncated: 12 frames promised, \d found"):
        index_video(path)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(DataError, match=r"text\.mp4: not a readable video"):
        read_video(tmp_path / "text.mp4")
    with pytest.raises(DataError, match=r"missing\.mp4: cannot be opened \(No such file"):
        read_video(tmp_path / "missing.mp4")
    with pytest.raises(DataError, match="is a folder, not a video file"):
        read_video(tmp_path)


def test_missing_package_is_named(lossless, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'vsrq\[video\]'"):
        read_video(lossless)
