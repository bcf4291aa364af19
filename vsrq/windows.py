"""Which frames of a clip make up a sliding window."""

from __future__ import annotations


def window_indices(centre: int, count: int, num_frames: int = 5, centre_slot: int | None = None) -> list[int]:
    """Return which frames of a clip of ``count`` make up the window around frame ``centre``.

    A place beyond the clip is taken by a frame from just outside of the window's other side, as in mmagic's
    padding ``reflection_circle`` with which EDVR is tested: around frame 0 the window of five is 4, 3, 0, 1, 2.
    Where a short clip has no such frame either, its frames are reflected.

    Args:
        centre: Index of the frame to upscale.
        count: Number of frames of the clip.
        num_frames: Length of the window.
        centre_slot: Place of ``centre`` in the window; by default the middle.
    """
    left = num_frames // 2 if centre_slot is None else centre_slot
    first, last = centre - left, centre - left + num_frames - 1
    window = []
    for index in range(first, last + 1):
        if index < 0:
            index = last - index
        elif index >= count:
            index = first - (index - (count - 1))
        window.append(_reflect(index, count))
    return window


def _reflect(index: int, count: int) -> int:
    period = max(2 * (count - 1), 1)
    index %= period
    return min(index, period - index) if count > 1 else 0
