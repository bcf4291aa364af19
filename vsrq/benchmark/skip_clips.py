"""The clips of the skip benchmark: real cameras at rest and in motion, and rendered ones of known moving area."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsrq.benchmark.clips import SCORED, data_folders
from vsrq.datasets.clips import load_clip, make_pair
from vsrq.datasets.textures import dead_leaves
from vsrq.demo.assets import ASSETS, fetch
from vsrq.demo.settings import CLIPS
from vsrq.errors import ConfigError

SHARES = (5, 10, 20, 40, 80)  # percent of the frame
_SPEED = 4  # pixels of the ground truth per frame
_RENDERED = "rendered"
_LONGEST = 8  # frames of the demo's clip
_WIDE = ("bigbuckbunny.mp4", 92, 40)  # video, first frame, frames: the whole picture of which the demo's clip is a part


def moving_area(percent: float, frames: int, height: int, width: int) -> Tensor:
    """Render a picture at rest with a rectangle in its middle behind which a texture moves to the right.

    Args:
        percent: Of the frame that the rectangle takes, above 0 to 100.
        frames: How many.
        height: Of the frames in pixels.
        width: Likewise.

    Returns:
        ``(t, 3, height, width)`` in [0, 1].

    Raises:
        ConfigError: The share is out of range.
    """
    if not 0 < percent <= 100:
        raise ConfigError(f"the moving area must be above 0 to 100 % of the frame, got {percent!r}.")
    side = max(height, width)
    resting, moving = (dead_leaves(np.random.default_rng(seed), side) for seed in (0, 1))
    share = (percent / 100) ** 0.5
    tall, wide = max(1, round(share * height)), max(1, round(share * width))
    top, left = (height - tall) // 2, (width - wide) // 2
    clip = np.repeat(resting[None, :height, :width], frames, 0)
    for t, frame in enumerate(clip):
        frame[top : top + tall, left : left + wide] = np.roll(moving, _SPEED * t, 1)[:tall, :wide]
    return torch.from_numpy(clip).permute(0, 3, 1, 2).float() / 255


def _scored(name: str) -> Callable[[int, tuple[int, int]], tuple[Tensor, Tensor]]:
    return lambda frames, size: SCORED[name].load(data_folders(), frames)


def _bunny(frames: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    (clip,) = [clip for clip in CLIPS if "static" in clip.name]
    _, low, high = clip.load(_video(clip.video, "the demo's clip", _LONGEST, frames))
    return low[:frames], high[:frames]


def _bunny_wide(frames: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    video, start, longest = _WIDE
    files = _video(video, "bunny_wide", longest, frames)
    return make_pair(load_clip(files[video], start=start, stop=start + frames))


def _video(name: str, clip: str, longest: int, frames: int) -> dict[str, Path]:
    """Fetch the video of a clip that has so many frames."""
    if frames > longest:
        raise ConfigError(f"{clip} has {longest} frames, --frames {frames} asks for more.")
    return fetch(Path("data"), tuple(asset for asset in ASSETS if asset.target.endswith(name)))


def _rendered(percent: int) -> Callable[[int, tuple[int, int]], tuple[Tensor, Tensor]]:
    return lambda frames, size: make_pair(moving_area(percent, frames, 4 * size[0], 4 * size[1]))


LOADERS: dict[str, Callable[[int, tuple[int, int]], tuple[Tensor, Tensor]]] = {
    "static_cups": _scored("static_cups"),
    "bunny_static": _bunny,
    "bunny_wide": _bunny_wide,
    **{f"{_RENDERED}_{percent}": _rendered(percent) for percent in SHARES},
    "moving_apple": _scored("moving_apple"),
    "bikes": _scored("bikes"),
}


def load(name: str, frames: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return input ``(t, 3, h, w)`` and ground truth ``(t, 3, 4h, 4w)`` in [0, 1], the central part of at most a size.

    Args:
        name: A key of ``LOADERS``.
        frames: How many.
        size: Most height and width of the input.

    Raises:
        DataError: The clip is missing or shorter.
        ConfigError: The clip has not so many frames.
    """
    low, high = LOADERS[name](frames, size)
    height, width = (min(most, edge) for most, edge in zip(size, low.shape[-2:], strict=True))
    top, left = (low.shape[-2] - height) // 2, (low.shape[-1] - width) // 2
    low = low[..., top : top + height, left : left + width]
    return low, high[..., 4 * top : 4 * (top + height), 4 * left : 4 * (left + width)]
