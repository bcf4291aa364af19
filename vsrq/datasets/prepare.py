"""Turn video files into training clips: halve, cut at scene changes, crop, write, list and checksum."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vsrq.datasets.bicubic import matlab_resize
from vsrq.datasets.video import VIDEO_SUFFIXES, read_video
from vsrq.errors import ConfigError, DataError

Frames = NDArray[np.uint8]

LISTING = "clips.json"
CHECKSUMS = "checksums.sha256"


@dataclass(frozen=True)
class Preparation:
    """How videos become clips.

    Attributes:
        reduction: Frames are reduced so many times first, which removes most of a video's compression artefacts.
        cut: Mean absolute difference of neighbouring luma thumbnails, in grey levels, above which a scene changes.
        min_frames: Shorter scenes are dropped; the longest window that will be trained with.
        max_frames: Longer scenes are split, so that each file or folder stays handy.
        multiple: Frames are cropped at the bottom and right to multiples of this.
        hold_out: Names of videos that must not become training clips.
        lmdb: Write one LMDB folder instead of folders of PNG files.

    Raises:
        ConfigError: A value is out of range.
    """

    reduction: int = 2
    cut: float = 25.0
    min_frames: int = 15
    max_frames: int = 100
    multiple: int = 4
    hold_out: tuple[str, ...] = ()
    lmdb: bool = False

    def __post_init__(self) -> None:
        for name in ("reduction", "min_frames", "max_frames", "multiple"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.cut <= 0:
            raise ConfigError(f"cut must be above 0 grey levels, got {self.cut!r}")
        if self.max_frames < self.min_frames:
            raise ConfigError(f"max_frames={self.max_frames} is below min_frames={self.min_frames}; raise it")


def prepare_clips(
    videos: Sequence[str | Path], out: str | Path, settings: Preparation, *, min_clips: int = 1
) -> list[dict]:
    """Write the clips of some videos, ``clips.json`` and ``checksums.sha256`` into a new folder.

    The folder appears when everything in it is complete.

    Args:
        videos: Video files, and folders that hold some.
        out: The folder to make; the clips are its children, or those of ``clips.lmdb`` in it.
        settings: What to do with them.
        min_clips: Fewest clips to be content with: the number of processes times their batch size.

    Returns:
        One dict per clip: name, source, start and stop frame, frames, width, height.

    Raises:
        DataError: ``out`` exists, no video is found, one is unreadable, or too few clips are left.
        ConfigError: A name held out is none of the videos.
        MissingDependencyError: PyAV or, for LMDB, lmdb is not installed.
    """
    out = Path(out)
    if out.exists():
        raise DataError(f"{out}: exists already; remove it or choose another folder")
    files = _select(find_videos(videos), settings.hold_out)
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        rows = [row for file in files for row in _write_video(file, unfinished, settings)]
        if len(rows) < min_clips:
            raise DataError(
                f"{len(rows)} clip(s) of at least {settings.min_frames} frames found in {len(files)} video(s), but "
                f"{min_clips} are needed, one per process and sample of its batch; add videos, lower min_frames or "
                "start fewer processes"
            )
        if settings.lmdb:
            _pack_lmdb(unfinished, rows)
        listing = json.dumps(dict(hold_out=list(settings.hold_out), clips=rows), indent=1)
        (unfinished / LISTING).write_text(listing + "\n")
        _write_checksums(unfinished)
        os.replace(unfinished, out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return rows


def find_videos(paths: Iterable[str | Path]) -> list[Path]:
    """Return the video files among and below some paths, sorted by name.

    Raises:
        DataError: A path does not exist, or there is no video.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        children = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [child for child in children if child.suffix.lower() in VIDEO_SUFFIXES]
    if not files:
        raise DataError(f"no video found; files must end in {', '.join(VIDEO_SUFFIXES)}")
    return files


def find_scenes(frames: Frames, cut: float) -> list[tuple[int, int]]:
    """Split a video where neighbouring frames have little in common.

    Args:
        frames: ``(t, h, w, 3)`` ``uint8``.
        cut: See :class:`Preparation`.

    Returns:
        ``(start, stop)`` of every scene, without gaps.
    """
    thumbnails = np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in frames])
    luma = thumbnails.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    change = np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2))
    borders = [0, *(np.flatnonzero(change > cut) + 1).tolist(), len(frames)]
    return list(itertools.pairwise(borders))


def verify(folder: str | Path) -> None:
    """Check every file of a prepared folder against its checksum.

    Raises:
        DataError: A file is missing or has changed, or the folder holds no checksums.
    """
    folder = Path(folder)
    if not (folder / CHECKSUMS).is_file():
        raise DataError(f"{folder}: holds no {CHECKSUMS}; it was not written by prepare_clips")
    for line in (folder / CHECKSUMS).read_text().splitlines():
        digest, name = line.split("  ", 1)
        if not (folder / name).is_file():
            raise DataError(f"{folder / name}: missing; prepare the clips again")
        if _digest(folder / name) != digest:
            raise DataError(f"{folder / name}: differs from its checksum; prepare the clips again")


def _select(files: list[Path], hold_out: Sequence[str]) -> list[Path]:
    names = {file.stem for file in files}
    unknown = [name for name in hold_out if Path(name).stem not in names]
    if unknown:
        raise ConfigError(f"hold_out: no video is called {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    held = {Path(name).stem for name in hold_out}
    kept = [file for file in files if file.stem not in held]
    if len({file.stem for file in kept}) < len(kept):
        raise DataError("two videos have the same name; rename one, because clips are named after them")
    return kept


def _write_video(file: Path, folder: Path, settings: Preparation) -> list[dict]:
    frames = read_video(file)
    rows = []
    for first, last in find_scenes(frames, settings.cut):
        pieces = max(1, -(-(last - first) // settings.max_frames))
        borders = np.linspace(first, last, pieces + 1).astype(int).tolist()
        for start, stop in itertools.pairwise(borders):
            if stop - start < settings.min_frames:
                continue
            name = f"{file.stem}_{start:05d}"
            (folder / name).mkdir()
            for number in range(start, stop):
                image = _reduced(frames[number], settings)
                _write_png(folder / name / f"{number - start:08d}.png", image)
            rows.append(
                dict(
                    name=name,
                    source=file.name,
                    start=start,
                    stop=stop,
                    frames=stop - start,
                    width=image.shape[1],
                    height=image.shape[0],
                )
            )
    return rows


def _reduced(frame: Frames, settings: Preparation) -> Frames:
    image = torch.from_numpy(frame).permute(2, 0, 1)
    if settings.reduction > 1:
        image = matlab_resize(image, 1 / settings.reduction)
    height, width = (size // settings.multiple * settings.multiple for size in image.shape[1:])
    return image[:, :height, :width].permute(1, 2, 0).contiguous().numpy()


def _write_png(path: Path, image: Frames) -> None:
    encoded, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 2])
    if not encoded:
        raise DataError(f"{path}: a frame of {image.shape[1]}x{image.shape[0]} pixels cannot be written as PNG")
    path.write_bytes(data.tobytes())


def _pack_lmdb(folder: Path, rows: list[dict]) -> None:
    from vsrq.datasets.lmdb_store import lmdb_write

    names = [row["name"] for row in rows]
    images = {f"{name}/{file.stem}": file for name in names for file in sorted((folder / name).iterdir())}
    lmdb_write(folder / "clips.lmdb", ((key, file.read_bytes()) for key, file in images.items()))
    for name in names:
        shutil.rmtree(folder / name)


def _write_checksums(folder: Path) -> None:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "lock.mdb")
    lines = [f"{_digest(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / CHECKSUMS).write_text("".join(lines))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
