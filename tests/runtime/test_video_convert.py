from fractions import Fraction

import av
import numpy as np
import pytest

from tests.runtime.clips import TIME_BASE, moving, picture, psnr, read_frames, read_packets, read_times, write_clip
from tests.runtime.standin import Nearest

VARIABLE = [0, 300, 1324, 1536, 1600, 4000, 4100, 6144, 9000, 9050, 12000, 20000]


def test_every_frame_is_enlarged_in_place(tmp_path, upscale):
    source = write_clip(tmp_path / "in.mp4", moving(17))
    summary = upscale(source, tmp_path / "out.mp4", crf=1, network=Nearest(4))
    before, after = read_frames(source), read_frames(tmp_path / "out.mp4")
    assert summary.frames == len(after) == 17
    for (_, small), (_, large) in zip(before, after, strict=True):
        assert large.shape == (192, 256, 3)
        blocks = large.reshape(48, 4, 64, 4, 3).mean((1, 3))
        assert psnr(blocks, small) > 38
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_variable_rate_keeps_each_time(tmp_path, upscale, suffix):
    source = write_clip(tmp_path / f"in{suffix}", moving(len(VARIABLE)), times=VARIABLE)
    upscale(source, tmp_path / f"out{suffix}")
    assert read_times(tmp_path / f"out{suffix}") == read_times(source)
    with av.open(str(source)) as a, av.open(str(tmp_path / f"out{suffix}")) as b:
        frame = max(np.diff(VARIABLE)) * TIME_BASE
        assert abs(a.duration - b.duration) <= frame * 1_000_000


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1", "libvpx-vp9"])
def test_variable_rate_with_other_encoders(tmp_path, upscale, codec):
    source = write_clip(tmp_path / "in.mp4", moving(len(VARIABLE)), times=VARIABLE)
    presets = {"libx265": "ultrafast", "libsvtav1": "12", "libvpx-vp9": "8"}
    upscale(source, tmp_path / "out.mp4", codec=codec, preset=presets[codec])
    assert read_times(tmp_path / "out.mp4") == read_times(source)


def test_lossless_encoder_returns_the_source(tmp_path, upscale):
    source = write_clip(tmp_path / "in.mkv", moving(4), codec="ffv1", pix_fmt="bgr0")
    upscale(source, tmp_path / "out.mkv", codec="ffv1", preset=None)
    for (_, small), (_, large) in zip(read_frames(source), read_frames(tmp_path / "out.mkv"), strict=True):
        # 4:2:0 at twice the size holds the chroma of 4:4:4: a pixel is a 2x2 block of one colour.
        assert np.abs(large[::2, ::2].astype(int) - small)[2:-2, 2:-2].mean() < 2


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_sound_and_tags_are_copied(tmp_path, upscale, suffix):
    chapters = [
        {"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}},
        {"id": 2, "start": 500, "end": 1000, "time_base": Fraction(1, 1000), "metadata": {"title": "two"}},
    ]
    source = write_clip(
        tmp_path / f"in{suffix}", moving(25), audio=("aac", "aac"), chapters=chapters, metadata={"title": "Cups"}
    )
    upscale(source, tmp_path / f"out{suffix}")
    shift = {read_packets(tmp_path / f"out{suffix}", "video")[0][0] - read_packets(source, "video")[0][0]}
    for number in (0, 1):
        before, after = (read_packets(path, "audio", number) for path in (source, tmp_path / f"out{suffix}"))
        assert [content for _, content in before] == [content for _, content in after]
        assert len(before) > 40
        shift |= {b - a for (a, _), (b, _) in zip(before, after, strict=True)}
    assert max(shift) - min(shift) <= Fraction(1, 1000)
    with av.open(str(tmp_path / f"out{suffix}")) as result:
        assert result.metadata["title"] == "Cups"
        assert [(c["start"] * c["time_base"], c["metadata"]["title"]) for c in result.chapters()] == [
            (0, "one"), (Fraction(1, 2), "two"),
        ]  # fmt: skip


def test_subtitles_are_copied_and_what_does_not_fit_is_named(tmp_path, upscale, caplog):
    (tmp_path / "lines.srt").write_text(
        "1\n00:00:00,100 --> 00:00:00,400\nHello\n\n2\n00:00:00,600 --> 00:00:00,900\nBye\n"
    )
    clip = write_clip(tmp_path / "clip.mkv", moving(25))
    source = tmp_path / "in.mkv"
    with (
        av.open(str(clip)) as pictures,
        av.open(str(tmp_path / "lines.srt")) as lines,
        av.open(str(source), "w") as out,
    ):
        streams = {0: out.add_stream_from_template(pictures.streams.video[0], opaque=True)}
        text = out.add_stream_from_template(lines.streams.subtitles[0])
        text.metadata["language"] = "eng"
        for packet in lines.demux():
            if packet.size:
                packet.stream = text
                out.mux(packet)
        for packet in pictures.demux():
            if packet.size:
                packet.stream = streams[0]
                out.mux(packet)
    upscale(source, tmp_path / "out.mkv")
    assert read_packets(tmp_path / "out.mkv", "subtitle") == read_packets(source, "subtitle")
    with av.open(str(tmp_path / "out.mkv")) as result:
        assert result.streams.subtitles[0].metadata["language"] == "eng"
    upscale(source, tmp_path / "out.mp4")
    assert "subtitle stream 1 (srt) does not go into .mp4 and is left out; write .mkv to keep it" in caplog.text
    upscale(source, tmp_path / "cut.mkv", start=0.2, end=0.7)
    cut = read_packets(tmp_path / "cut.mkv", "subtitle")
    assert [content for _, content in cut] == [b"Hello", b"Bye"]
    assert [time for time, _ in cut] == [0, Fraction(2, 5)]


def test_a_part_begins_at_zero_with_its_sound(tmp_path, upscale):
    source = write_clip(tmp_path / "in.mp4", moving(50), audio=("aac",), options={"g": "10"})
    upscale(source, tmp_path / "out.mp4", start="0:01", end=1.5)
    assert read_times(tmp_path / "out.mp4") == [Fraction(number, 25) for number in range(13)]
    whole = [frame for time, frame in read_frames(source) if 1 <= time < 1.5]
    for small, (_, large) in zip(whole, read_frames(tmp_path / "out.mp4"), strict=True):
        assert psnr(large[::2, ::2], small) > 35
    expected = [content for time, content in read_packets(source, "audio") if 1 <= time < 1.5]
    sound = read_packets(tmp_path / "out.mp4", "audio")
    assert [content for _, content in sound] == expected
    assert 0 <= sound[0][0] < Fraction(1024, 44100)


def test_colour_tags_and_aspect_are_kept(tmp_path, upscale):
    tags = {"color_range": 2, "colorspace": 9, "color_primaries": 9, "color_trc": 16}
    source = write_clip(tmp_path / "in.mp4", moving(3), colour=tags, aspect=Fraction(16, 15))
    upscale(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as result:
        frame = next(result.decode(video=0))
        assert {name: int(getattr(frame, name)) for name in tags} == tags
        assert result.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


def test_an_untagged_small_source_stays_bt601_when_it_gets_large(tmp_path, upscale):
    """Players read untagged video of 720 lines as BT.709; the colours would change."""
    source = write_clip(tmp_path / "in.mp4", [picture(180, 320)] * 2)
    upscale(source, tmp_path / "out.mp4", network=Nearest(4))
    with av.open(str(tmp_path / "out.mp4")) as result:
        frame = next(result.decode(video=0))
        assert (frame.height, int(frame.colorspace), int(frame.color_range)) == (720, 6, 1)


def test_ten_bits_in_ten_bits_out(tmp_path, upscale):
    ramp = np.tile(np.linspace(100, 900, 64).astype(np.uint16), (48, 1))
    frame = av.VideoFrame(64, 48, "yuv420p10le")
    for plane, values in zip(frame.planes, [ramp, np.full((24, 32), 512), np.full((24, 32), 512)], strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        rows[:, : plane.width] = values
        plane.update(rows)
    source = write_clip(tmp_path / "in.mkv", [frame] * 3, codec="libx265", pix_fmt="yuv420p10le")
    network = Nearest(2)
    upscale(source, tmp_path / "out.mp4", crf=0, network=network)
    assert {dtype for _, dtype in network.seen} == {np.dtype(np.uint16)}
    with av.open(str(source)) as a, av.open(str(tmp_path / "out.mp4")) as b:
        small, large = next(a.decode(video=0)), next(b.decode(video=0))
    assert large.format.name == "yuv420p10le"
    small, large = (
        np.frombuffer(f.planes[0], np.uint16).reshape(f.height, -1)[:, : f.width].astype(int) for f in (small, large)
    )
    assert np.abs(large[::2, ::2] - small).max() <= 2
    assert len(np.unique(large)) > 60


@pytest.mark.parametrize(("degrees", "hflip", "vflip"), [(0, 0, 1), (90, 0, 0), (180, 0, 0), (-90, 0, 0), (90, 1, 0)])
def test_a_turned_source_is_made_upright(tmp_path, upscale, degrees, hflip, vflip):
    image = picture(48, 64)
    rotation = {"degrees": degrees, "hflip": bool(hflip), "vflip": bool(vflip)}
    source = write_clip(tmp_path / "in.mp4", [image] * 2, rotation=rotation, aspect=Fraction(4, 3))
    upscale(source, tmp_path / "out.mp4", crf=1)
    upright = np.rot90(image, degrees // 90)
    upright = upright[:, ::-1] if hflip else upright
    upright = upright[::-1] if vflip else upright
    result = read_frames(tmp_path / "out.mp4")[0][1]
    assert psnr(result[::2, ::2], upright) > 30
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0
        expected = Fraction(3, 4) if degrees % 180 else Fraction(4, 3)
        assert container.streams.video[0].sample_aspect_ratio == expected


@pytest.mark.parametrize(("height", "width"), [(45, 61), (33, 64), (48, 51)])
def test_odd_sizes(tmp_path, upscale, height, width):
    source = write_clip(tmp_path / "in.mkv", moving(2, height, width), codec="ffv1", pix_fmt="bgr0")
    upscale(source, tmp_path / "out.mp4", network=Nearest(4))
    assert read_frames(tmp_path / "out.mp4")[0][1].shape == (4 * height, 4 * width, 3)


@pytest.mark.parametrize("count", [1, 3])
def test_very_short_videos(tmp_path, upscale, count):
    source = write_clip(tmp_path / "in.mp4", moving(count))
    assert upscale(source, tmp_path / "out.mp4").frames == count
    assert read_times(tmp_path / "out.mp4") == read_times(source)


def test_side_by_side_and_scale_to(tmp_path, upscale):
    source = write_clip(tmp_path / "in.mp4", moving(6, 54, 96))
    upscale(source, tmp_path / "out.mp4", side_by_side=True, scale_to="120p", network=Nearest(4), crf=4)
    frames = read_frames(tmp_path / "out.mp4")
    assert frames[0][1].shape == (120, 2 * 214, 3)
    for _, frame in frames:
        assert psnr(frame[:, :214], frame[:, 214:]) > 28
    upscale(source, tmp_path / "large.mp4", scale_to="1000x300", network=Nearest(4))
    assert read_frames(tmp_path / "large.mp4")[0][1].shape == (300, 534, 3)


def test_memory_is_bounded_by_the_queues(tmp_path, upscale):
    """No more frames are in flight than the network's chunk and the two queues hold."""
    source = write_clip(tmp_path / "in.mp4", moving(100))
    taken, given = 0, 0
    most = 0

    class Counting(Nearest):
        def stream(self, frames):
            nonlocal given

            def counted():
                nonlocal taken, most
                for frame in frames:
                    taken += 1
                    most = max(most, taken - given)
                    yield frame

            for result in super().stream(counted()):
                given += 1
                yield result

    upscale(source, tmp_path / "out.mp4", network=Counting(2, chunk=7))
    assert most == 7


def test_a_network_that_loses_frames_is_found_out(tmp_path, upscale):
    class Losing(Nearest):
        def _results(self, chunk):
            return super()._results(chunk[1:])

    source = write_clip(tmp_path / "in.mp4", moving(12))
    with pytest.raises(RuntimeError, match="the network returned 3 frames less than it was given"):
        upscale(source, tmp_path / "out.mp4", network=Losing(2))
    assert not (tmp_path / "out.mp4").exists()


def test_stages_overlap(tmp_path, upscale):
    source = write_clip(tmp_path / "in.mp4", moving(20))
    summary = upscale(source, tmp_path / "out.mp4", network=Nearest(2, delay=0.01))
    assert summary.infer >= 0.2
    assert summary.seconds < summary.infer + summary.decode + summary.encode + 1


def test_a_transport_stream_keeps_its_clock_and_its_sound(tmp_path, upscale):
    """Its first frame is not at 0, and its AAC packets carry a header each, which files do not allow."""
    source = write_clip(
        tmp_path / "in.ts",
        moving(40),
        codec="mpeg2video",
        time_base=Fraction(1, 25),
        audio=("aac",),
        options={"bf": "2"},
    )
    upscale(source, tmp_path / "out.mp4")
    assert read_times(source)[0] > 0
    assert read_times(tmp_path / "out.mp4") == read_times(source)
    before, after = read_packets(source, "audio"), read_packets(tmp_path / "out.mp4", "audio")
    assert [content[7:] for _, content in before] == [content for _, content in after]
    assert max(abs(a - b) for (a, _), (b, _) in zip(before, after, strict=True)) < Fraction(1, 1000)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.avi", {"codec": "mpeg4", "time_base": Fraction(1, 25), "options": {"bf": "2"}}),
        ("in.webm", {"codec": "libvpx", "time_base": Fraction(1, 1000), "options": {"auto-alt-ref": "1"}}),
    ],
)
def test_other_containers_keep_every_frame(tmp_path, upscale, name, options):
    source = write_clip(tmp_path / name, moving(40), **options)
    upscale(source, tmp_path / "out.mp4")
    assert len(read_times(source)) == 40
    assert read_times(tmp_path / "out.mp4") == read_times(source)


def test_fonts_go_along_where_they_fit(tmp_path, upscale, caplog):
    clip = write_clip(tmp_path / "clip.mkv", moving(3))
    with av.open(str(clip)) as pictures, av.open(str(tmp_path / "in.mkv"), "w") as out:
        video = out.add_stream_from_template(pictures.streams.video[0], opaque=True)
        out.add_attachment("a.ttf", "application/x-truetype-font", b"letters")
        for packet in pictures.demux():
            if packet.size:
                packet.stream = video
                out.mux(packet)
    upscale(tmp_path / "in.mkv", tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as result:
        assert [stream.data for stream in result.streams if stream.type == "attachment"] == [b"letters"]
    upscale(tmp_path / "in.mkv", tmp_path / "out.mp4")
    assert "stream 1 (attachment) is not copied" in caplog.text
