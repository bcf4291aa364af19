"""Small clips with everything a container can hold."""

from fractions import Fraction

import av
import numpy as np

TIME_BASE = Fraction(1, 12800)


def picture(height=48, width=64, seed=0):
    """Smooth colours without a seam when rolled sideways: (h, w, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    turn = 2 * np.pi * x / width
    channels = [120 + 80 * np.sin(turn), 40 + 150 * y / height, 120 + 60 * np.sin(turn + y / 9 + seed)]
    return np.stack(channels, -1).astype(np.uint8)


def moving(count, height=48, width=64):
    return [np.roll(picture(height, width), 2 * number, 1) for number in range(count)]


def write_clip(
    path, frames, *, times=None, time_base=TIME_BASE, codec="libx264", pix_fmt="yuv420p", rate=25, colour=None,
    aspect=None, rotation=None, audio=(), subtitles=False, chapters=None, metadata=None, movflags="", options=None,
):  # fmt: skip
    """Write frames ((h, w, 3) uint8, or prepared av.VideoFrame) at times given in units of the time base."""
    times = times or [round(number / (rate * time_base)) for number in range(len(frames))]
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as output:
        output.metadata.update(metadata or {})
        video = output.add_stream(codec, rate=rate, options={"crf": "4", "preset": "fast", **(options or {})})
        first = frames[0]
        video.height, video.width = (first.height, first.width) if isinstance(first, av.VideoFrame) else first.shape[:2]
        video.pix_fmt = pix_fmt
        video.time_base = video.codec_context.time_base = time_base
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        if rotation:
            video.set_display_rotation(**rotation)
        for name, value in (colour or {}).items():
            setattr(video.codec_context, name, value)
        sound = [output.add_stream(name, rate=44100) for name in audio]
        if chapters:
            output.set_chapters(chapters)
        packets = []
        for stream, pitch in zip(sound, (440, 880), strict=False):
            packets += tone(stream, pitch, times[-1] * time_base)
        for time, frame in zip(times, frames, strict=True):
            if not isinstance(frame, av.VideoFrame):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            frame.pts, frame.time_base = time, time_base
            packets += video.encode(frame)
        packets += video.encode(None)
        output.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    return path


def tone(stream, pitch, seconds):
    """Return the packets of a sine."""
    stream.codec_context.layout = "mono"
    frame_format = stream.codec_context.format.name
    packets, position = [], 0
    while position < seconds * 44100:
        samples = np.sin(2 * np.pi * pitch * (position + np.arange(1024)) / 44100)
        if frame_format.startswith("s16"):
            samples = (samples * 20000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            samples.astype(np.int16 if frame_format.startswith("s16") else np.float32)[None],
            format=frame_format,
            layout="mono",
        )
        frame.sample_rate, frame.pts, frame.time_base = 44100, position, Fraction(1, 44100)
        packets += stream.encode(frame)
        position += 1024
    return packets + stream.encode(None)


def read_frames(path):
    """Return [(seconds, rgb)] of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(frame.pts * stream.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]


def read_times(path):
    return [time for time, _ in read_frames(path)]


def read_packets(path, kind, number=0):
    """Return [(seconds, bytes)] of one stream."""
    with av.open(str(path)) as container:
        stream = [stream for stream in container.streams if stream.type == kind][number]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(stream) if packet.size]


def damage(path, number):
    """Overwrite one packet of a video, in storage order; return its time in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [(p.pos, p.size, p.pts * p.time_base) for p in container.demux(stream) if p.size]
    position, size, time = packets[number]
    content = bytearray(path.read_bytes())
    content[position + 4 : position + size] = bytes(size - 4)
    path.write_bytes(bytes(content))
    return time


def psnr(a, b):
    return 10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b.astype(float)) ** 2)))
