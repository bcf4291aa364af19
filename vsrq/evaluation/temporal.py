"""Scores of temporal consistency: warping error and tOF, with the motion of the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from vsrq.errors import DataError
from vsrq.ops.warp import flow_warp

Flow = Callable[[Tensor, Tensor], Tensor]


class Motion(NamedTuple):
    """How one frame of a clip moves to the next.

    Attributes:
        flow: Flow to the next frame, ``(1, 2, h, w)`` in pixels, x before y.
        visible: 1 where the next frame shows the same point, 0 elsewhere, ``(1, 1, h, w)``.
    """

    flow: Tensor
    visible: Tensor


@torch.no_grad()
def clip_motion(clip: Tensor, flow: Flow) -> list[Motion]:
    """Estimate the motion between all neighbours of a clip.

    Args:
        clip: ``(t, 3, h, w)`` in [0, 1], the ground truth.
        flow: Returns the flow from the first to the second of two frames ``(1, 3, h, w)``.

    Returns:
        ``t - 1`` motions.
    """
    motions = []
    for first, second in pairwise(clip):
        there, back = flow(first[None], second[None]), flow(second[None], first[None])
        motions.append(Motion(there, visible_mask(there, back)))
    return motions


def visible_mask(there: Tensor, back: Tensor) -> Tensor:
    """Return 1 where the flow there and back agrees and is smooth, 0 where a point is hidden or at a motion boundary.

    Args:
        there: Flow from a frame to the next, ``(n, 2, h, w)``.
        back: Flow from the next frame to it.

    Returns:
        ``(n, 1, h, w)``.

    Reference: Ruder et al., Artistic Style Transfer for Videos (GCPR 2016), equations 5 and 6, as used by Lai et al.
    """
    returned = flow_warp(back, there)
    size = there.square().sum(1, keepdim=True)
    mismatch = (there + returned).square().sum(1, keepdim=True)
    hidden = mismatch > 0.01 * (size + returned.square().sum(1, keepdim=True)) + 0.5
    gradient = torch.zeros_like(size)
    gradient[..., :, 1:] += there.diff(dim=-1).square().sum(1, keepdim=True)
    gradient[..., 1:, :] += there.diff(dim=-2).square().sum(1, keepdim=True)
    boundary = gradient > 0.01 * size + 0.002
    return (~(hidden | boundary)).to(there.dtype)


def warping_error(clip: Tensor, motions: Sequence[Motion]) -> float:
    """Return E_warp: the mean squared difference of each frame and the next one warped to it, where both see a point.

    Args:
        clip: ``(t, 3, h, w)`` in [0, 1].
        motions: Of the ground truth, from :func:`clip_motion`.

    Raises:
        DataError: The clip has fewer than two frames, or their number does not match the motions.

    Reference: Lai et al., Learning Blind Video Temporal Consistency (ECCV 2018), section 4.
    """
    _check(clip, motions)
    errors = []
    for first, second, motion in zip(clip[:-1], clip[1:], motions, strict=True):
        difference = (first[None] - flow_warp(second[None], motion.flow, padding_mode="border")).square()
        seen = motion.visible.sum() * clip.shape[1]
        errors.append((difference * motion.visible).sum() / seen.clamp(min=1))
    return torch.stack(errors).mean().item()


@torch.no_grad()
def flow_error(clip: Tensor, motions: Sequence[Motion], flow: Flow) -> float:
    """Return tOF: the mean absolute difference of a clip's flow and that of the ground truth, in pixels.

    Args:
        clip: ``(t, 3, h, w)`` in [0, 1].
        motions: Of the ground truth, from :func:`clip_motion`.
        flow: The same estimator as there.

    Raises:
        DataError: See :func:`warping_error`.

    Reference: Chu et al., Learning Temporal Coherence via Self-Supervision (TOG 2020), with another flow estimator.
    """
    _check(clip, motions)
    pairs = zip(clip[:-1], clip[1:], motions, strict=True)
    errors = [(flow(first[None], second[None]) - m.flow).abs().sum(1).mean() for first, second, m in pairs]
    return torch.stack(errors).mean().item()


def _check(clip: Tensor, motions: Sequence[Motion]) -> None:
    if len(clip) < 2 or len(motions) != len(clip) - 1:
        raise DataError(
            f"a clip of {len(clip)} frames and {len(motions)} motions: temporal scores need two frames or more, and "
            "one motion between all neighbours."
        )
