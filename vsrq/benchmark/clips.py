"""The clips benchmarks score on, and those they calibrate on: never the same."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from vsrq.datasets.bicubic import matlab_resize
from vsrq.datasets.clips import load_clip, make_pair
from vsrq.errors import DataError
from vsrq.models import BasicVSRNet, load_weights


@dataclass(frozen=True)
class BenchmarkClip:
    """A stretch of a clip.

    Attributes:
        name: As it appears in tables.
        path: Folder of frames or video of the ground truth, below a data folder.
        start: First frame.
        halve: Halve the size first, which hides compression artefacts of large videos.
    """

    name: str
    path: str
    start: int = 0
    halve: bool = False

    def load(self, folders: list[Path], frames: int, crop: int | None = None) -> tuple[Tensor, Tensor]:
        """Return input ``(t, 3, h, w)`` and ground truth ``(t, 3, 4h, 4w)``, in [0, 1], x4 bicubic.

        Args:
            folders: Data folders; the first that has the clip is used.
            frames: How many frames.
            crop: Edge of the central part of the ground truth to take, in pixels; ``None`` for all of it.

        Raises:
            DataError: No folder has the clip, or it is shorter.
        """
        path = next((folder / self.path for folder in folders if (folder / self.path).exists()), None)
        if path is None:
            looked = ", ".join(map(str, folders))
            raise DataError(f"clip {self.name}: no {self.path} in {looked}; set VSRQ_DATA to the folder that has it.")
        clip = load_clip(path, start=self.start, stop=self.start + frames)
        if self.halve:
            clip = matlab_resize(clip, 0.5).clamp(0, 1)
        if crop is not None:
            height, width = (min(crop, size) for size in clip.shape[-2:])
            top, left = (clip.shape[-2] - height) // 2, (clip.shape[-1] - width) // 2
            clip = clip[..., top : top + height, left : left + width]
        return make_pair(clip)


SCORED = {
    clip.name: clip
    for clip in (
        BenchmarkClip("calendar", "Vid4/GT/calendar"),
        BenchmarkClip("foliage", "Vid4/GT/foliage"),
        BenchmarkClip("static_cups", "videos/test/static_cups.mp4", start=100, halve=True),
        BenchmarkClip("moving_apple", "videos/test/moving_apple.mp4", start=10, halve=True),
        BenchmarkClip("bikes", "videos/bikes.mp4", start=146),
    )
}
CALIBRATION = tuple(
    BenchmarkClip(name, f"videos/train/{name}.mp4", start=start, halve=True)
    for name, start in (("bedroom", 40), ("03_blocks", 60), ("cockatoo", 30))
)


def data_folders() -> list[Path]:
    """Return where clips may lie: ``$VSRQ_DATA``, then ``data``."""
    named = os.environ.get("VSRQ_DATA")
    return [*([Path(named)] if named else []), Path("data")]


def flow_network(checkpoint: str | Path) -> nn.Module:
    """Return the optical flow network within BasicVSR's weights, for scores of consistency in time.

    Args:
        checkpoint: Weights of BasicVSR in any layout vsrq reads.

    Raises:
        CheckpointError: They are missing, broken or do not fit.
    """
    net = BasicVSRNet()
    load_weights(net, checkpoint)
    return net.spynet.eval()
