"""Interruption by Ctrl-C, by a killed process and by a full disk; going on afterwards."""

import json
import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.clips import damage, moving, psnr, read_frames, read_packets, read_times, write_clip
from tests.runtime.standin import Smoothing
from vsrq.errors import ConfigError, OutputError
from vsrq.runtime.video.file_sink import usable_frames

ROOT = Path(__file__).parents[2]
COUNT = 100
VARIABLE = [512 * number + (300 if number % 3 else 0) for number in range(COUNT)]


class Stop(Smoothing):
    """Raises what Ctrl-C raises after some results."""

    def __init__(self, after):
        super().__init__(2)
        self.after = after

    def stream(self, frames):
        for number, result in enumerate(super().stream(frames)):
            if number == self.after:
                raise KeyboardInterrupt
            yield result


@pytest.fixture
def source(tmp_path):
    return write_clip(tmp_path / "in.mp4", moving(COUNT), times=VARIABLE, audio=("aac",))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("stops", [[37], [1, 30], [60, 99]])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, source, upscale, suffix, stops):
    upscale(source, tmp_path / f"whole{suffix}", network=Smoothing(2), preset="medium")
    out, partial = tmp_path / f"out{suffix}", tmp_path / f"out.partial{suffix}"
    for number, stop in enumerate(stops):
        already = len(read_times(partial)) if partial.exists() else 0
        seen_again = min(already, Smoothing.context)
        network = Stop(stop - already + seen_again)
        with pytest.raises(KeyboardInterrupt, match=rf"frames are in .*out\.partial{suffix}; --resume goes on"):
            upscale(source, out, network=network, resume=number > 0, preset="medium")
        assert not out.exists()
        assert read_times(partial) == read_times(tmp_path / f"whole{suffix}")[:stop]
    summary = upscale(source, out, network=Smoothing(2), resume=True, preset="medium")
    assert (summary.frames, summary.kept) == (COUNT, stops[-1])
    whole, resumed = read_frames(tmp_path / f"whole{suffix}"), read_frames(out)
    assert [time for time, _ in whole] == [time for time, _ in resumed]
    assert min(psnr(a, b) for (_, a), (_, b) in zip(whole, resumed, strict=True)) > 38
    assert read_packets(tmp_path / f"whole{suffix}", "audio") == read_packets(out, "audio")
    assert not list(tmp_path.glob("*partial*"))


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1", "libvpx-vp9"])
def test_resume_with_other_encoders(tmp_path, source, upscale, codec):
    options = {"codec": codec, "preset": {"libx265": "ultrafast", "libsvtav1": "12", "libvpx-vp9": "8"}[codec]}
    with pytest.raises(KeyboardInterrupt):
        upscale(source, tmp_path / "out.mp4", network=Stop(41), **options)
    upscale(source, tmp_path / "out.mp4", network=Smoothing(2), resume=True, **options)
    assert read_times(tmp_path / "out.mp4") == read_times(source)


def test_folders_go_on_too(tmp_path, source, upscale):
    upscale(source, tmp_path / "whole", network=Smoothing(2))
    with pytest.raises(KeyboardInterrupt):
        upscale(source, tmp_path / "out", network=Stop(33))
    assert len(list((tmp_path / "out.partial").glob("*.png"))) == 33
    upscale(source, tmp_path / "out", network=Smoothing(2), resume=True)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for name in names:
        # The fading memory of 12 frames is 0.3 ** 12 of a level.
        assert np.array_equal(cv2.imread(str(tmp_path / "out" / name)), cv2.imread(str(tmp_path / "whole" / name)))


def test_resume_refuses_what_has_changed(tmp_path, source, upscale):
    with pytest.raises(KeyboardInterrupt):
        upscale(source, tmp_path / "out.mp4", network=Stop(20))
    journal = (tmp_path / "out.partial.json").read_text()
    with pytest.raises(OutputError, match=r"left of an interrupted run; --resume goes on with it, --overwrite starts"):
        upscale(source, tmp_path / "out.mp4")
    with pytest.raises(ConfigError, match="settings 'crf' was 17 and is now 20"):
        upscale(source, tmp_path / "out.mp4", resume=True, crf=20)
    with pytest.raises(ConfigError, match="settings 'end' was None and is now 1"):
        upscale(source, tmp_path / "out.mp4", resume=True, end=1)
    content = source.read_bytes()
    damage(source, 5)
    with pytest.raises(ConfigError, match="source 'sha256_of_ends' was"):
        upscale(source, tmp_path / "out.mp4", resume=True)
    source.write_bytes(content)
    changed = {**json.loads(journal), "network": "another"}
    (tmp_path / "out.partial.json").write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match="the network has changed"):
        upscale(source, tmp_path / "out.mp4", resume=True)
    (tmp_path / "out.partial.json").write_text(journal)
    assert len(read_times(tmp_path / "out.partial.mp4")) == 20
    upscale(source, tmp_path / "out.mp4", overwrite=True)
    assert read_times(tmp_path / "out.mp4") == read_times(source)


def test_resume_without_anything_to_resume_starts_anew(tmp_path, source, upscale):
    assert upscale(source, tmp_path / "out.mp4", resume=True).kept == 0
    assert read_times(tmp_path / "out.mp4") == read_times(source)


def test_a_failed_start_leaves_the_earlier_part_alone(tmp_path, source, upscale):
    with pytest.raises(KeyboardInterrupt):
        upscale(source, tmp_path / "out.mp4", network=Stop(40))
    before = (tmp_path / "out.partial.mp4").read_bytes()
    with pytest.raises(KeyboardInterrupt, match="40 of 100 frames are in"):
        upscale(source, tmp_path / "out.mp4", network=Stop(0), resume=True)
    assert (tmp_path / "out.partial.mp4").read_bytes() == before
    assert upscale(source, tmp_path / "out.mp4", resume=True).kept == 40


def start(*arguments, **options):
    command = [sys.executable, "-m", "tests.runtime.standin", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for(path, size):
    for _ in range(400):
        if path.exists() and path.stat().st_size > size:
            return
        time.sleep(0.05)
    raise TimeoutError(path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_in_an_orderly_way(tmp_path, source, number):
    process = start(source, tmp_path / "out.mp4", "--delay", "0.02", "--preset", "ultrafast")
    wait_for(tmp_path / "out.partial.mp4", 100)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.startswith("interrupted: ")
    assert errors.count("\n") == 1
    assert not (tmp_path / "out.mp4").exists()
    assert 0 < len(read_times(tmp_path / "out.partial.mp4")) < COUNT


def test_a_second_signal_ends_at_once(tmp_path, source):
    process = start(source, tmp_path / "out.mp4", "--delay", "0.02", "--preset", "placebo", "--scale", "6")
    wait_for(tmp_path / "out.partial.json", 10)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode in (130, 128 + signal.SIGINT)
    assert time.monotonic() - begin < 2
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_killed_process_leaves_a_part_to_go_on_with(tmp_path, upscale, suffix):
    source = write_clip(tmp_path / "in.mp4", moving(400), audio=("aac",))
    out, partial = tmp_path / f"out{suffix}", tmp_path / f"out.partial{suffix}"
    process = start(source, out, "--delay", "0.005", "--preset", "ultrafast")
    wait_for(partial, 150_000)
    process.kill()
    process.communicate()
    assert not out.exists()
    assert len(read_times(partial)) > 100
    summary = upscale(source, out, resume=True, network=Smoothing(2))
    assert summary.kept >= 100
    before, after = read_times(source), read_times(out)
    # The sound begins 23 ms before the picture. Matroska has no negative times and moves everything.
    shift = after[0]
    assert shift == (Fraction(23, 1000) if suffix == ".mkv" else 0)
    assert max(abs(b - a - shift) for a, b in zip(before, after, strict=True)) <= Fraction(1, 1000)
    assert [data for _, data in read_packets(out, "audio")] == [data for _, data in read_packets(source, "audio")]


def test_a_full_disk_is_one_clear_line_and_the_part_can_be_played(tmp_path, upscale):
    source = write_clip(tmp_path / "in.mp4", moving(200), audio=("aac",))
    limit = 100_000

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start(source, tmp_path / "out.mp4", "--preset", "ultrafast", preexec_fn=small_files)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    lines = errors.splitlines()
    assert len(lines) == 2
    assert lines[-1].startswith("error: ")
    assert "out.partial.mp4: writing failed (File too large); free some space, then go on with --resume" in lines[-1]
    assert not (tmp_path / "out.mp4").exists()
    kept = usable_frames(tmp_path / "out.partial.mp4", reorder=2)
    assert lines[0] == f"warning: {kept} of 200 frames are in {tmp_path}/out.partial.mp4; --resume goes on"
    assert kept > 60
    assert upscale(source, tmp_path / "out.mp4", resume=True, network=Smoothing(2)).kept == kept
    assert read_times(tmp_path / "out.mp4") == read_times(source)


LOST = 7  # frames at the end of a torn file: B-frames of two groups, and the frame they lean on


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@settings(max_examples=12, deadline=None)
@given(part=st.floats(0.01, 0.999))
def test_every_torn_file_goes_on_with_whole_frames(tmp_path_factory, suffix, part):
    """Wherever the writing stopped: the frames counted as usable are exactly the first ones."""
    folder = tmp_path_factory.mktemp("torn")
    movflags = "frag_every_frame+delay_moov" if suffix == ".mp4" else ""
    path = write_clip(folder / f"a{suffix}", moving(60), times=VARIABLE[:60], movflags=movflags, options={"bf": "3"})
    times = read_times(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    count = usable_frames(path, reorder=2)
    assert count <= 60
    if part > 0.95:
        assert count > 0
    if count:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packets = [packet.pts * stream.time_base for packet in container.demux(stream) if packet.size]
        assert sorted(packets[:count]) == times[:count]
        assert count >= len(packets) - LOST
