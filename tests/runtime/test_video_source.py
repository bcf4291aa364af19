"""Damaged, truncated, empty and odd sources."""

import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.runtime.clips import damage, moving, picture, psnr, read_frames, read_packets, read_times, write_clip
from tests.runtime.standin import Nearest
from vsrq.errors import ConfigError, DataError, MissingDependencyError
from vsrq.runtime.video.source import open_source
from vsrq.runtime.video.timing import Selection

WHOLE = Selection()


def long_clip(path, **options):
    return write_clip(path, moving(50, 96, 128), audio=("aac",), options={"g": "12"}, **options)


@pytest.mark.parametrize("number", [1, 20, 24, 49])
def test_a_damaged_frame_is_reported_and_bridged(tmp_path, upscale, caplog, number):
    source = long_clip(tmp_path / "in.mp4")
    times, sound = read_times(source), read_packets(source, "audio")
    broken = damage(source, number)
    upscale(source, tmp_path / "out.mp4")
    result = read_frames(tmp_path / "out.mp4")
    assert [time for time, _ in result] == times
    assert [data for _, data in read_packets(tmp_path / "out.mp4", "audio")] == [data for _, data in sound]
    index = times.index(broken)
    assert f"frame {index} at {float(broken):.3f} s is damaged; the previous frame stands in for it" in caplog.text
    assert psnr(result[index][1], result[index - 1][1]) > 35


def test_damage_at_the_beginning_is_bridged_by_the_next_good_frame(tmp_path, upscale, caplog):
    source = long_clip(tmp_path / "in.mp4")
    times = read_times(source)
    assert damage(source, 0) == 0
    upscale(source, tmp_path / "out.mp4")
    assert read_times(tmp_path / "out.mp4") == times
    assert "frame 0 at 0.000 s is damaged; the next frame stands in for it" in caplog.text


def test_much_damage_is_reported_a_few_times(tmp_path, upscale, caplog):
    source = long_clip(tmp_path / "in.mp4")
    for number in range(13, 35):
        damage(source, number)
    upscale(source, tmp_path / "out.mp4")
    assert len(read_times(tmp_path / "out.mp4")) == 50
    assert caplog.text.count("stands in for it") == 5
    assert "more damaged frames are bridged without a message each" in caplog.text


def test_a_truncated_file_is_used_as_far_as_it_goes(tmp_path, upscale, caplog):
    source = long_clip(tmp_path / "in.mp4", movflags="faststart")
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 2 // 3])
    summary = upscale(source, tmp_path / "out.mp4")
    assert 20 < summary.frames < 50
    assert f"truncated: 50 frames promised, {summary.frames} found and used" in caplog.text
    assert len(read_times(tmp_path / "out.mp4")) == summary.frames


def test_a_file_cut_off_before_its_index_is_refused(tmp_path, upscale):
    source = long_clip(tmp_path / "in.mp4")
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"in\.mp4: not a readable video, or cut off before its index"):
        upscale(source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_what_is_no_video_is_refused(tmp_path, upscale):
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with av.open(str(tmp_path / "none.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        out.start_encoding()
    for name, message in [
        ("text.mp4", "not a readable video"),
        ("empty.mp4", "zero frames|not a readable video"),
        ("missing.mp4", "no such file or folder"),
        ("sound.m4a", "holds no video stream"),
        ("none.mkv", "zero frames"),
    ]:
        with pytest.raises(DataError, match=message):
            upscale(tmp_path / name, tmp_path / "out.mp4")
    assert not list(tmp_path.glob("out*"))


def test_an_unknown_codec_is_named(tmp_path, upscale):
    source = write_clip(tmp_path / "in.mkv", moving(2))
    source.write_bytes(source.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    with pytest.raises(DataError, match="the video codec is not known to this FFmpeg; re-encode it"):
        upscale(source, tmp_path / "out.mp4")


def test_a_part_outside_is_refused(tmp_path, upscale):
    source = long_clip(tmp_path / "in.mp4")
    with pytest.raises(DataError, match="zero frames between --start and --end"):
        upscale(source, tmp_path / "out.mp4", start=100)


def test_unusual_pixel_formats_are_read(tmp_path):
    image = picture()
    for pix_fmt, bits in [
        ("gray", 8),
        ("yuv444p", 8),
        ("yuv410p", 8),
        ("bgra", 8),
        ("yuv422p10le", 10),
        ("gray16le", 16),
    ]:
        path = write_clip(tmp_path / f"{pix_fmt}.mkv", [image] * 2, codec="ffv1", pix_fmt=pix_fmt)
        source = open_source(str(path), WHOLE)
        frame = next(source.frames())
        assert source.info.colour.bits == bits
        rgb = frame.rgb if bits == 8 else frame.rgb / 257
        if pix_fmt.startswith("gray"):
            assert np.ptp(rgb.astype(float), axis=2).max() <= 1
        else:
            assert psnr(rgb, image) > 27
        source.close()


def test_a_change_of_size_is_named_and_what_is_done_stays(tmp_path, upscale, caplog):
    """A transport stream may change its picture size."""
    source = tmp_path / "in.ts"
    with open(source, "wb") as file:
        for height in (48, 96):
            part = write_clip(
                tmp_path / f"{height}.ts", moving(30, height, 64), codec="mpeg2video", time_base=Fraction(1, 25)
            )
            file.write(part.read_bytes())
    with pytest.raises(
        DataError, match=r"the picture changes from 64x48 to 64x96 at frame (29|30); cut it there with --end"
    ):
        upscale(source, tmp_path / "out.mp4")
    assert "frames are in" in caplog.text
    assert not (tmp_path / "out.mp4").exists()
    assert 20 <= len(read_times(tmp_path / "out.partial.mp4")) <= 30


def write_images(folder, images, names=None):
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / (names[number] if names else f"{number}.png"))
    return folder


def test_folders_and_globs_in_natural_order(tmp_path, upscale):
    folder = write_images(tmp_path / "in", moving(11))
    for source in (folder, folder / "*.png"):
        network = Nearest(2)
        upscale(source, tmp_path / "out", overwrite=True, network=network)
        for number, image in enumerate(moving(11)):
            assert np.array_equal(cv2.imread(str(tmp_path / "out" / f"{number}.png"))[::2, ::2, ::-1], image)
        assert len(list((tmp_path / "out").iterdir())) == 11


def test_a_folder_becomes_a_video_at_the_rate_asked_for(tmp_path, upscale):
    folder = write_images(tmp_path / "in", moving(6))
    upscale(folder, tmp_path / "out.mp4", fps=12.5, start=0.08)
    assert read_times(tmp_path / "out.mp4") == [number * Fraction(2, 25) for number in range(5)]


def test_a_video_becomes_a_folder(tmp_path, upscale):
    source = write_clip(tmp_path / "in.mkv", moving(3), codec="ffv1", pix_fmt="bgr0")
    upscale(source, tmp_path / "frames")
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["00000000.png", "00000001.png", "00000002.png"]
    assert np.array_equal(cv2.imread(str(tmp_path / "frames" / names[2]))[::2, ::2, ::-1], moving(3)[2])


def test_grey_opaque_deep_and_transparent_images(tmp_path, upscale):
    grey = write_images(tmp_path / "grey", [picture()[..., 0]])
    upscale(grey, tmp_path / "grey2")
    assert cv2.imread(str(tmp_path / "grey2" / "0.png"), cv2.IMREAD_UNCHANGED).shape == (96, 128, 3)
    opaque = write_images(tmp_path / "opaque", [np.dstack([picture(), np.full((48, 64), 255, np.uint8)])])
    upscale(opaque, tmp_path / "opaque2")
    assert np.array_equal(cv2.imread(str(tmp_path / "opaque2" / "0.png"))[::2, ::2, ::-1], picture())
    deep = tmp_path / "deep"
    deep.mkdir()
    values = picture().astype(np.uint16) * 257 + 3
    cv2.imwrite(str(deep / "0.png"), values)
    upscale(deep, tmp_path / "deep2")
    assert np.array_equal(cv2.imread(str(tmp_path / "deep2" / "0.png"), cv2.IMREAD_UNCHANGED)[::2, ::2], values)
    clear = write_images(tmp_path / "clear", [np.dstack([picture(), np.full((48, 64), 99, np.uint8)])])
    with pytest.raises(DataError, match="has transparent pixels; flatten it"):
        upscale(clear, tmp_path / "clear2")


def test_folders_that_do_not_fit_are_refused(tmp_path, upscale):
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="zero frames: no file ends in"):
        upscale(tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match="zero frames: no image matches"):
        upscale(tmp_path / "none" / "*.png", tmp_path / "out")
    odd = write_images(tmp_path / "odd", [picture(), picture(50, 64)])
    with pytest.raises(DataError, match=r"1\.png: is 64x50, the first frame is 64x48"):
        upscale(odd, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
    video = write_clip(tmp_path / "in.mp4", moving(2))
    with pytest.raises(ConfigError, match="--fps 30 is for "):
        upscale(video, tmp_path / "out.mp4", fps=30)


def test_missing_package_is_named(tmp_path, upscale, monkeypatch):
    source = write_clip(tmp_path / "in.mp4", moving(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'av>=18'"):
        upscale(source, tmp_path / "out.mp4")
    monkeypatch.undo()
    monkeypatch.setattr(av, "__version__", "17.1.0")
    with pytest.raises(MissingDependencyError, match=r"PyAV 17\.1\.0 is too old to write videos: pip install 'av>=18'"):
        upscale(source, tmp_path / "out.mp4")
