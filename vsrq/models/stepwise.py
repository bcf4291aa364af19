"""What the step-wise networks have in common.

mmagic's networks run a whole clip inside one ``forward``. Here the loop lies outside: a network offers steps
that are called once per frame and branch, so that every layer sees time as successive calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vsrq.errors import DataError


class StepwiseVSR:
    """Mixin of the networks of vsrq.

    Attributes:
        scale: Height and width of the output over those of the input.
        roles: Glob patterns over module names to roles; the first match wins. Roles: ``flow``, ``encoder``,
            ``offset``, ``deform``, ``trunk``, ``fusion``, ``attention``, ``tail``.
        residual_warmup: How many first calls of a layer must be key frames, because its inputs still jump.
        trunks: Globs over the names of the sequences of residual blocks that may run at several depths.
    """

    scale: int = 4
    roles: ClassVar[dict[str, str]] = {}
    residual_warmup: int = 1
    trunks: ClassVar[tuple[str, ...]] = ()

    def upscale(self, clip: Tensor) -> Tensor:
        """Upscale every frame of a clip.

        Args:
            clip: (n, t, 3, h, w) in [0, 1], any ``t``, ``h`` and ``w`` from 1.

        Returns:
            (n, t, 3, scale * h, scale * w).

        Raises:
            DataError: The clip is empty or has another number of axes or channels.
        """
        raise NotImplementedError


def check_clip(clip: Tensor, channels: int = 3) -> None:
    """Raise :class:`DataError` unless ``clip`` is a non-empty (n, t, channels, h, w) tensor of floats."""
    shape = tuple(clip.shape)
    if clip.dim() != 5:
        raise DataError(f"a clip has shape (n, t, {channels}, h, w), got {shape}; add the missing axes.")
    if 0 in shape:
        raise DataError(f"the clip of shape {shape} is empty; every axis needs at least one element.")
    if shape[2] != channels:
        raise DataError(f"the clip of shape {shape} has {shape[2]} channels, the network takes {channels}.")
    if not clip.is_floating_point():
        raise DataError(f"the clip holds {clip.dtype}; convert it to floats in [0, 1].")


def is_mirror_extended(clip: Tensor) -> bool:
    """Return whether the second half of a clip (n, t, c, h, w) is the first half played backwards."""
    t = clip.shape[1]
    return t % 2 == 0 and torch.equal(clip[:, : t // 2], clip[:, t // 2 :].flip(1))


def clip_flows(
    flow: Callable[[Tensor, Tensor], Tensor], frames: Sequence[Tensor], *, mirrored: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Compute the optical flow between all neighbours of a clip, one pair per call.

    Args:
        flow: Flow from the first to the second of two frames.
        frames: ``t`` frames (n, 3, h, w).
        mirrored: The clip is mirror-extended, so that the second list is the first one reversed.

    Returns:
        Two lists of ``t - 1`` flows: ``backward[i]`` leads from frame ``i`` to ``i + 1`` (used by branches that
        run backward in time), ``forward[i]`` from frame ``i + 1`` to ``i``.
    """
    backward = [flow(frames[i], frames[i + 1]) for i in range(len(frames) - 1)]
    if mirrored:
        return backward, backward[::-1]
    return backward, [flow(frames[i + 1], frames[i]) for i in range(len(frames) - 1)]
