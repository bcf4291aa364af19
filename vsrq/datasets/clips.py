"""Clips as tensors, without a Runner: for demos, scripts and notebooks."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vsrq.datasets.bicubic import matlab_resize
from vsrq.datasets.frames import read_frames
from vsrq.datasets.gaussian import gaussian_downsample
from vsrq.datasets.sources import open_source
from vsrq.errors import ConfigError, DataError

Degradation = Literal["BI", "BD"]


def load_clip(path: str | os.PathLike, *, start: int = 0, stop: int | None = None) -> Tensor:
    """Load one clip from a folder of images or from a video file.

    Args:
        path: The folder or the video.
        start: First frame, counted from 0.
        stop: One past the last frame; ``None`` loads to the end.

    Returns:
        ``(t, 3, h, w)`` float32, RGB in [0, 1].

    Raises:
        DataError: Missing, empty, truncated, frames of different sizes, or fewer frames than asked for.
    """
    source = open_source(os.fspath(path))
    names = source.names(depth=1)
    if len(names) != 1:
        listed = f": {', '.join(names[:5])}" if names else ""
        raise DataError(f"{path}: holds {len(names)} clips{listed}; give the path of one folder of images or one video")
    addresses = source.frames(names[0])
    stop = len(addresses) if stop is None else stop
    if not 0 <= start < stop <= len(addresses):
        raise DataError(
            f"{path}: frames {start}..{stop} asked for, but it has {len(addresses)}; need 0 <= start < stop <= count"
        )
    return to_tensor(read_frames(addresses[start:stop]))


def to_tensor(frames: list[np.ndarray] | np.ndarray) -> Tensor:
    """Turn ``t`` 8-bit RGB frames ``(h, w, 3)`` into ``(t, 3, h, w)`` float32 in [0, 1]."""
    return torch.from_numpy(np.stack(list(frames))).permute(0, 3, 1, 2).contiguous().float().div_(255)


def to_uint8(clip: Tensor) -> Tensor:
    """Round a clip in [0, 1] to 8 bits, clipping what lies outside."""
    return clip.clamp(0, 1).mul(255).round().to(torch.uint8)


def crop_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Cut rows at the bottom and columns at the right until ``h`` and ``w`` are multiples of ``multiple``.

    Raises:
        DataError: Nothing would be left.
    """
    height, width = (size // multiple * multiple for size in image.shape[-2:])
    if height == 0 or width == 0:
        raise DataError(
            f"a frame of {image.shape[-1]}x{image.shape[-2]} pixels is too small to be reduced {multiple} times"
        )
    return image[..., :height, :width]


def make_pair(clip: Tensor, degradation: Degradation = "BI", scale: int = 4) -> tuple[Tensor, Tensor]:
    """Make the low-resolution input and the ground truth from a high-resolution clip.

    Both are rounded to 8 bits, as frames read from files are.

    Args:
        clip: ``(..., 3, h, w)`` in [0, 1], any size of at least ``scale`` pixels.
        degradation: ``'BI'`` (MATLAB bicubic) or ``'BD'`` (Gaussian of sigma 1.6, every ``scale``-th pixel).
        scale: Size of the ground truth over size of the input.

    Returns:
        The input ``(..., 3, h // scale, w // scale)`` and the ground truth, cropped at the bottom and right to
        multiples of ``scale``; both float32 in [0, 1].

    Raises:
        ConfigError: Unknown degradation.
        DataError: The clip is smaller than ``scale``.
    """
    truth = to_uint8(crop_to_multiple(clip, scale))
    return degrade(truth, degradation, scale).float() / 255, truth.float() / 255


def degrade(image: Tensor, degradation: Degradation = "BI", scale: int = 4) -> Tensor:
    """Reduce ``(..., h, w)`` by ``scale`` with one of the two benchmark degradations.

    Raises:
        ConfigError: Unknown degradation or a scale that is no whole number above 0.
        DataError: The shape or dtype cannot be resampled.
    """
    if not isinstance(scale, int) or scale < 1:
        raise ConfigError(f"scale must be a whole number of at least 1, got {scale!r}")
    if degradation == "BI":
        return matlab_resize(image, 1 / scale)
    if degradation == "BD":
        return gaussian_downsample(image, scale)
    raise ConfigError(f"unknown degradation {degradation!r}; allowed are 'BI' and 'BD'")
