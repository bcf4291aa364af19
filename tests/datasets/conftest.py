import av
import numpy as np
import pytest
from PIL import Image

from vsrq.compat import ensure_mmagic

ensure_mmagic()  # before any test module imports mmagic itself


def noise(count, height, width, seed=0):
    """Frames that differ from each other and compress badly: (count, h, w, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def write_frames(folder, frames, template="{:08d}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / template.format(number))
    return folder


def write_video(path, frames, codec="ffv1", pix_fmt="bgr0", **options):
    """The default codec is lossless, so that frames can be compared exactly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def vid4(data_root):
    """The published Vid4 clips with their bit-exact BIx4 half."""
    root = data_root / "Vid4"
    if not (root / "BIx4").is_dir():
        pytest.skip(f"no clips at {root}: set VSRQ_DATA to the folder that holds Vid4/GT and Vid4/BIx4")
    return root
