"""List files that name the clips of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from vsrq.errors import DataError


class ListedClip(NamedTuple):
    """One clip of a list file."""

    name: str
    declared: int | None
    """Number of frames the file declares, if it does."""
    frames: tuple[str, ...]
    """Frames named one by one, without suffix; empty if the file names whole clips."""


def read_list_file(path: str, clip_depth: int) -> list[ListedClip]:
    """Read a list file in any of the usual forms, one entry per line.

    Understood are ``calendar 41`` (Vid4: clip and number of frames), ``000/00000000.png (720, 1280, 3)`` (REDS: single
    frames), ``00001/0266 (256, 448, 3)`` and ``00001/0266`` (Vimeo-90K: clips of two path parts). Blank lines
    are skipped; clips come in the order of their first line.

    Args:
        path: The list file.
        clip_depth: Number of path parts that make a clip's name.

    Raises:
        DataError: The file is missing, empty or names fewer path parts than ``clip_depth``.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"list file {path} cannot be read ({error}); check ann_file, leave it out to take every clip, "
            "or set split='reds4_val' or 'reds4_train'"
        ) from error
    declared: dict[str, int | None] = {}
    frames: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        parts = words[0].replace("\\", "/").strip("/").split("/")
        if len(parts) < clip_depth:
            raise DataError(f"{path}, line {number}: {words[0]!r} has fewer than {clip_depth} path parts; check depth")
        name = "/".join(parts[:clip_depth])
        frames.setdefault(name, [])
        declared[name] = int(words[1]) if len(words) == 2 and words[1].isdigit() else declared.get(name)
        if len(parts) > clip_depth:
            frames[name].append(Path("/".join(parts[clip_depth:])).stem)
    if not frames:
        raise DataError(f"{path}: the list file names no clip")
    return [ListedClip(name, declared[name], tuple(frames[name])) for name in frames]
