"""Padding of clips to the sizes a network can work on."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pad_clip(clip: Tensor, *, multiple: int = 1, minimum: int = 1) -> Tensor:
    """Repeat the border pixels at the bottom and at the right until height and width suit the network.

    The upper left corner stays where it is, so the output is cropped by ``out[..., :scale * h, :scale * w]``.

    Args:
        clip: (n, t, c, h, w).
        multiple: Height and width become a multiple of it.
        minimum: Smallest height and width, itself a multiple of ``multiple``.

    Returns:
        The padded clip, or ``clip`` itself where nothing is missing.
    """
    height, width = clip.shape[-2:]
    below = _target(height, multiple, minimum) - height
    right = _target(width, multiple, minimum) - width
    if not below and not right:
        return clip
    padded = F.pad(clip.flatten(0, 1), (0, right, 0, below), mode="replicate")
    return padded.unflatten(0, clip.shape[:2])


def _target(size: int, multiple: int, minimum: int) -> int:
    return max(minimum, -(-size // multiple) * multiple)
