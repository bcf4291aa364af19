"""Find the clips below a data prefix: frame folders, video files, LMDB."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from vsrq.datasets.frames import video_addresses
from vsrq.datasets.lmdb_store import lmdb_keys
from vsrq.datasets.video import VIDEO_SUFFIXES
from vsrq.errors import DataError
from vsrq.images import IMAGE_SUFFIXES, natural_order


class ClipSource(Protocol):
    """Something that holds clips by name."""

    def names(self, depth: int) -> list[str]:
        """Return the names of all clips, sorted; a name has ``depth`` parts joined by ``/``."""

    def frames(self, name: str) -> list[str]:
        """Return the addresses of a clip's frames in temporal order.

        Raises:
            DataError: There is no such clip, or it is empty.
        """


def open_source(prefix: str) -> ClipSource:
    """Return the clips below ``prefix``.

    Args:
        prefix: A folder of clips (frame folders and video files, mixed at will), one frame folder, one video file,
            a folder ending in ``.lmdb``, or a folder with ``*`` in place of the clip's name
            (``SPMCS/*/truth``, the layout SPMCS and UDM10 are published in).

    Raises:
        DataError: The path does not exist.
    """
    existing = Path(prefix.split("*")[0]) if "*" in prefix else Path(prefix)
    if not existing.exists():
        raise DataError(f"{prefix}: no such file or folder; check data_root and data_prefix, or link your data there")
    if prefix.rstrip("/").endswith(".lmdb"):
        return LmdbSource(prefix.rstrip("/"))
    return FolderSource(prefix)


class FolderSource:
    """Clips as folders of images or as video files.

    Args:
        prefix: See :func:`open_source`.
    """

    def __init__(self, prefix: str) -> None:
        self._root, _, inner = prefix.partition("*")
        self._inner = inner.strip("/")
        # A prefix that is itself one clip is known by its own name.
        self._single = "*" not in prefix and _is_clip(Path(prefix))

    def names(self, depth: int) -> list[str]:
        """Return the names of all clips; folders without frames count, so that they are not lost silently."""
        if self._single:
            return [Path(self._root).stem]
        level = [Path(self._root)]
        for _ in range(depth - 1):
            level = [child for folder in level for child in _children(folder) if child.is_dir()]
        clips = [child for folder in level for child in _children(folder) if child.is_dir() or _is_video(child)]
        names = [clip.relative_to(self._root) for clip in clips]
        return sorted((str(n.with_suffix("") if _is_video(n) else n) for n in names), key=natural_order)

    def frames(self, name: str) -> list[str]:
        """Return the addresses of a clip's frames in temporal order.

        Raises:
            DataError: There is no such clip, it is empty, or its video is truncated.
        """
        clip = Path(self._root) if self._single else Path(self._root) / name / self._inner
        if clip.is_dir():
            images = [str(child) for child in _children(clip) if child.suffix.lower() in IMAGE_SUFFIXES]
            if not images:
                raise DataError(f"{clip}: empty clip, no file ends in {', '.join(IMAGE_SUFFIXES)}")
            return images
        if clip.is_file():
            return video_addresses(str(clip))
        for suffix in VIDEO_SUFFIXES:
            video = clip.with_name(clip.name + suffix)
            if video.is_file():
                return video_addresses(str(video))
        raise DataError(f"{clip}: no such clip, neither a folder nor a video file")


class LmdbSource:
    """Clips inside an LMDB folder, keys as ``clip/frame`` with or without a file suffix.

    Args:
        path: The folder, ending in ``.lmdb``.

    Raises:
        DataError: ``path`` is not an LMDB folder, or a key has no clip part.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._clips: dict[str, list[str]] = {}
        for key in lmdb_keys(path):
            clip, slash, _ = key.rpartition("/")
            if not slash:
                raise DataError(f"{path}: key {key!r} has no clip part; keys must look like '000/00000000'")
            self._clips.setdefault(clip, []).append(f"{path}/{key}")

    def names(self, depth: int) -> list[str]:
        """Return the names of all clips.

        Raises:
            DataError: The names have another depth.
        """
        for name in self._clips:
            if name.count("/") + 1 != depth:
                raise DataError(f"{self._path}: clip {name!r} has not {depth} parts; set depth to fit the keys")
        return sorted(self._clips, key=natural_order)

    def frames(self, name: str) -> list[str]:
        """Return the addresses of a clip's frames in temporal order.

        Raises:
            DataError: There is no such clip.
        """
        if name not in self._clips:
            raise DataError(f"{self._path}: no such clip {name!r}; it holds {', '.join(list(self._clips)[:5])}, ..")
        return sorted(self._clips[name], key=natural_order)


def _children(folder: Path) -> list[Path]:
    visible = (child for child in folder.iterdir() if not child.name.startswith("."))
    return sorted(visible, key=lambda child: natural_order(child.name))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _is_clip(path: Path) -> bool:
    """Tell whether a path is one clip: a file, or a folder with images and neither folders nor videos."""
    if path.is_file():
        return True
    children = _children(path)
    images = any(child.suffix.lower() in IMAGE_SUFFIXES for child in children)
    return images and not any(child.is_dir() or _is_video(child) for child in children)
