"""The command line: one clear line per mistake, pipes, and what goes to which stream."""

import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.runtime.clips import moving, psnr, read_frames, read_times, write_clip
from vsrq.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", moving(30))


def standin(*arguments, **options):
    command = [sys.executable, "-m", "tests.runtime.standin", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False, **options)


def command(*arguments):
    """Run the real command in this process; everything below fails before a network is made."""
    return main(["upscale", *map(str, arguments)])


def test_a_summary_and_the_shares(tmp_path, source):
    done = standin(source, tmp_path / "out.mp4", "--stats")
    assert done.returncode == 0
    summary, shares = done.stderr.decode().splitlines()
    assert summary.startswith(f"{tmp_path}/out.mp4: 30 frames; ")
    assert summary.endswith(" fps")
    assert all(word in shares for word in ("decoding", "inference", "encoding", "they overlap"))
    quiet = standin(source, tmp_path / "out.mp4", "--overwrite", "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{in}", "{out}/a.xyz"], "unknown extension '.xyz' of the output; allowed are .mp4, .m4v, .mov, .mkv, .webm"),
        (["{in}", "{in}"], "is both the source and the output; choose another name"),
        (["{in}", "{out}/none/a.mp4"], "no such folder; create it first"),
        (["{out}/none.mp4", "{out}/a.mp4"], "no such file or folder; check the path"),
        (["{in}", "{out}/a.mp4", "--crf", "99"], "--crf 99 does not fit libx264; allowed: 0 (best) to 51"),
        (["{in}", "{out}/a.mp4", "--codec", "lib264"], "did you mean 'libx264'?"),
        (["{in}", "{out}/a.webm", "--codec", "libx264"], "--codec 'libx264' does not go into .webm"),
        (["{in}", "{out}/a.mp4", "--preset", "quick"], "--preset 'quick' does not fit libx264; allowed: ultrafast"),
        (["{in}", "{out}/a.mp4", "--start", "soon"], "--start 'soon' is not a time; write seconds (90.5) or HH:MM:SS"),
        (["{in}", "{out}/a.mp4", "--start", "2", "--end", "1"], "--end 1 s is not after --start 2 s"),
        (["{in}", "{out}/a.mp4", "--scale-to", "big"], "--scale-to 'big' is not a size; write WIDTHxHEIGHT or lines"),
        (["{in}", "{out}/a.mp4", "--fps", "30"], "--fps 30 is for images"),
        (["{in}", "-", "--resume"], "--resume needs a result that stays, and standard output does not"),
        (["-", "{out}/a.mp4", "--resume"], "--resume needs a source that can be read again"),
        (["{in}", "{out}/a.mp4", "--checkpoint", "c.pth"], "--checkpoint needs --config"),
        (["{in}", "{out}/a.mp4", "--bundle", "b", "--config", "c.py"], "--bundle already holds a network"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, source, capfd, arguments, message):
    before = source.read_bytes()
    filled = [argument.replace("{in}", str(source)).replace("{out}", str(tmp_path)) for argument in arguments]
    assert command(*filled) == 1
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert not list(tmp_path.iterdir())
    assert source.read_bytes() == before


def test_an_output_that_exists_is_kept(tmp_path, source, capfd):
    (tmp_path / "out.mp4").write_text("precious")
    assert command(source, tmp_path / "out.mp4") == 1
    assert "out.mp4: exists already; --overwrite replaces it" in capfd.readouterr().err
    assert (tmp_path / "out.mp4").read_text() == "precious"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    assert command(source, folder, "--overwrite") == 1
    assert "holds more than PNG images, and is not replaced" in capfd.readouterr().err


def test_unknown_commands_are_named(capfd):
    assert main(["upscal"]) == 2
    assert "no command 'upscal'; did you mean 'upscale'?" in capfd.readouterr().err
    assert main([]) == 0
    assert "upscale" in capfd.readouterr().out


def test_a_read_only_folder_is_refused(tmp_path, source, capfd, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert command(source, tmp_path / "out.mp4") == 1
    assert f"{tmp_path}: is not writable; choose another folder" in capfd.readouterr().err


def test_y4m_from_pipe_to_pipe(tmp_path, source):
    """The stand-in prints; nothing but pictures may reach standard output."""
    first = standin(source, "-", "--scale", "1", "--quiet")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(b"YUV4MPEG2 W64 H48 F25:1 ")
    second = standin("-", "-", input=first.stdout)
    assert second.returncode == 0, second.stderr
    assert b"a network that prints" in second.stderr
    (tmp_path / "out.y4m").write_bytes(second.stdout)
    frames = read_frames(tmp_path / "out.y4m")
    assert [time for time, _ in frames] == read_times(source)
    assert frames[0][1].shape == (96, 128, 3)
    assert psnr(frames[0][1][::2, ::2], read_frames(source)[0][1]) > 33
    third = standin("-", tmp_path / "out.mp4", input=first.stdout)
    assert third.returncode == 0, third.stderr
    assert read_times(tmp_path / "out.mp4") == read_times(source)


def test_ten_bits_through_a_pipe(tmp_path):
    source = write_clip(tmp_path / "in.mkv", moving(3), codec="libx265", pix_fmt="yuv420p10le")
    done = standin(source, "-")
    assert done.returncode == 0, done.stderr
    (tmp_path / "out.y4m").write_bytes(done.stdout)
    with av.open(str(tmp_path / "out.y4m")) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p10le"
        assert sum(1 for _ in container.decode(video=0)) == 3


def test_a_pipe_without_y4m_is_refused():
    done = standin("-", "-", input=b"hello")
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode().startswith("error: standard input: ")


def test_a_reader_that_stops_is_an_error(source):
    command = [sys.executable, "-m", "tests.runtime.standin", str(source), "-", "--scale", "8"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1000)
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(20) == 1
    assert errors.splitlines()[-1].startswith("error: standard output: ")
    assert "the reading program has stopped" in errors


MEMORY = """
import resource, sys
import tests.runtime.standin as standin

taken = []
class Watched(standin.Nearest):
    def stream(self, frames):
        for number, result in enumerate(super().stream(frames)):
            if number in (100, 1999):
                taken.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            yield result
standin.Smoothing = lambda scale, delay: Watched(scale, chunk=20)
assert standin.main() == 0
print(*taken)
"""


def test_memory_does_not_grow_with_length(tmp_path):
    """2,000 frames of 180x320: after the first chunks the peak stays where it is."""
    frames = [np.roll(frame, 3, 0) for frame in moving(20, 180, 320)]
    source = write_clip(tmp_path / "in.mp4", frames * 100, options={"preset": "ultrafast"})
    code = [sys.executable, "-c", MEMORY, str(source), str(tmp_path / "out.mp4"), "--preset", "ultrafast"]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    early, late = map(int, done.stdout.split()[-2:])
    assert (late - early) / 1024 < 12, f"{early} -> {late} KiB"
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].frames == 2000


def test_a_config_and_checkpoint_run_in_pytorch(tmp_path):
    """The whole way, with a tiny network of random weights and PyTorch as the backend."""
    import torch
    from mmengine.registry import DefaultScope

    from vsrq.apis.check import check_config
    from vsrq.apis.config import load_config
    from vsrq.registry import MODELS

    config = str(ROOT / "configs/tiny/basicvsr.py")
    settings = load_config(config)
    check_config(settings)
    with DefaultScope.overwrite_default_scope("vsrq"):
        network = MODELS.build(settings.model).generator.eval()
    torch.save(network.state_dict(), tmp_path / "tiny.pth")
    source = write_clip(tmp_path / "in.mkv", moving(3, 24, 32), codec="ffv1", pix_fmt="bgr0")
    options = ["--backend", "torch", "--config", config, "--checkpoint", str(tmp_path / "tiny.pth"), "--quiet"]
    assert command(source, tmp_path / "out", *options) == 0
    clip = torch.from_numpy(np.stack(moving(3, 24, 32))).permute(0, 3, 1, 2)[None] / 255
    with torch.no_grad():
        expected = (network.upscale(clip)[0].clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()
    for number in range(3):
        found = cv2.imread(str(tmp_path / "out" / f"{number:08d}.png"))[..., ::-1]
        assert np.abs(found - expected[number]).max() <= 0.6
