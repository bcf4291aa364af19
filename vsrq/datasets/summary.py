"""What a data set holds, checked and put into one log line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vsrq.datasets.frames import frame_size
from vsrq.errors import DataError

MAX_PROBED_CLIPS = 1000
"""Frame sizes are read from the first frame of at most so many clips, spread evenly; every frame that is loaded
later is checked again."""


def probe_sizes(clips: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, set[tuple[int, int]]]:
    """Read the frame sizes of clips and check that input and ground truth fit.

    Args:
        clips: Per clip, the addresses of its frames under ``'img'`` and/or ``'gt'``.

    Returns:
        Per key, the sizes ``(h, w)`` found.

    Raises:
        DataError: A frame is unreadable, or a ground truth is not a whole multiple of its input.
    """
    step = max(1, -(-len(clips) // MAX_PROBED_CLIPS))
    found: dict[str, set[tuple[int, int]]] = {}
    for clip in clips[::step]:
        sizes = {key: frame_size(addresses[0]) for key, addresses in clip.items()}
        if "img" in sizes and "gt" in sizes:
            (h, w), (gt_h, gt_w) = sizes["img"], sizes["gt"]
            if gt_h % h or gt_w % w or gt_h // h != gt_w // w:
                raise DataError(
                    f"{clip['gt'][0]} ({gt_w}x{gt_h}) is not a whole multiple of {clip['img'][0]} ({w}x{h}); "
                    "these are no pair, or the ground truth was not cropped to a multiple of the scale"
                )
        for key, size in sizes.items():
            found.setdefault(key, set()).add(size)
    return found


def describe(clips: Sequence[Mapping[str, Sequence[str]]], sizes: Mapping[str, set[tuple[int, int]]]) -> str:
    """Return ``'2 clips; gt: 62 frames (31 per clip), 720x576'`` and the like."""
    parts = [f"{len(clips)} clip{'s' if len(clips) != 1 else ''}"]
    for key in sizes:
        counts = [len(clip[key]) for clip in clips]
        span = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        ordered = sorted(sizes[key])
        names = [f"{w}x{h}" for h, w in ordered]
        listed = ", ".join(names) if len(names) <= 3 else f"{len(names)} sizes from {names[0]} to {names[-1]}"
        parts.append(f"{key}: {sum(counts)} frames ({span} per clip), {listed}")
    return "; ".join(parts)
