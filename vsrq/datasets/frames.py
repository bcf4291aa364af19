"""Read frames by address, wherever they are stored.

An address is a string, so that mmagic's transforms can pass it on as ``img_path`` or ``gt_path``:

* ``folder/clip/00000000.png``: an image file;
* ``folder/clip.mp4#17``: frame 17 of a video;
* ``folder/train.lmdb/clip/00000000``: the key ``clip/00000000`` of an LMDB folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vsrq.datasets.images import decode_image, image_size
from vsrq.datasets.lmdb_store import lmdb_get
from vsrq.datasets.video import VIDEO_SUFFIXES, index_video, read_video
from vsrq.errors import DataError

_VIDEO = re.compile(rf"(.+(?:{'|'.join(map(re.escape, VIDEO_SUFFIXES))}))#(\d+)", re.IGNORECASE)
_LMDB = re.compile(r"(.+?\.lmdb)[/\\](.+)")


def read_frames(addresses: Sequence[str]) -> list[np.ndarray]:
    """Read the frames of one clip.

    Args:
        addresses: At least one address; frames of one video are decoded together.

    Returns:
        One ``(h, w, 3)`` ``uint8`` RGB array per address, all of one size.

    Raises:
        DataError: No address, an unreadable frame, or frames of different sizes.
    """
    if not addresses:
        raise DataError("a clip without frames cannot be read")
    videos: dict[str, list[int]] = {}
    for address in addresses:
        if match := _VIDEO.fullmatch(address):
            videos.setdefault(match[1], []).append(int(match[2]))
    pieces = {
        path: (min(numbers), read_video(path, start=min(numbers), stop=max(numbers) + 1))
        for path, numbers in videos.items()
    }
    frames = []
    for address in addresses:
        if match := _VIDEO.fullmatch(address):
            first, piece = pieces[match[1]]
            frames.append(piece[int(match[2]) - first])
        else:
            frames.append(decode_image(_read_bytes(address), address))
    for address, frame in zip(addresses, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise DataError(
                f"frames of different sizes in one clip: {addresses[0]} is {_size(frames[0])}, "
                f"{address} is {_size(frame)}; resize or remove the odd ones"
            )
    return frames


def frame_size(address: str) -> tuple[int, int]:
    """Return ``(h, w)`` of one frame from its header, without decoding pixels.

    Raises:
        DataError: The frame is missing or its header unreadable.
    """
    if match := _VIDEO.fullmatch(address):
        index = index_video(match[1])
        return index.height, index.width
    return image_size(_read_bytes(address), address)


def video_addresses(path: str) -> list[str]:
    """Return the address of every frame of a video file.

    Raises:
        DataError: The video is unreadable or truncated.
    """
    return [f"{path}#{number}" for number in range(index_video(path).num_frames)]


def clip_of(address: str) -> str:
    """Return what the frames of one clip have in common: the folder, the video file or the LMDB clip."""
    match = _VIDEO.fullmatch(address)
    return match[1] if match else str(Path(address).parent)


def _read_bytes(address: str) -> bytes:
    if match := _LMDB.fullmatch(address):
        return lmdb_get(match[1], match[2])
    try:
        return Path(address).read_bytes()
    except OSError as error:
        raise DataError(f"{address}: cannot be read ({error.strerror}); check the path") from error


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"
