"""The unfinished result beside its final name, and the journal that lets a later run go on with it.

``out.mp4`` grows as ``out.partial.mp4``, with ``out.partial.json`` beside it, and is renamed when it is complete.
While a resumed run copies what is there, the former file is ``out.partial.old.mp4``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vsrq.errors import ConfigError, OutputError


class Partial:
    """Names and journal of one unfinished result.

    Args:
        target: Final name: a video file or a folder.
        usable: Counts the complete frames of an unfinished result, given the number it was closed with, if it was.
    """

    def __init__(self, target: Path, usable: Callable[[Path, int | None], int]) -> None:
        self.target = target
        self.path = target.with_name(f"{target.stem}.partial{target.suffix}")
        self.previous = target.with_name(f"{target.stem}.partial.old{target.suffix}")
        self.journal = target.with_name(f"{target.stem}.partial.json")
        self._usable = usable
        self._record: dict[str, Any] = {}
        self._kept = 0
        self._frames: int | None = None  # that the unfinished result was closed with

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse to touch a result that is there, before any work is done.

        Raises:
            OutputError: The final name exists, or an unfinished result does, and the user has not said what to do.
        """
        if os.path.lexists(self.target) and not overwrite:
            raise OutputError(f"{self.target}: exists already; --overwrite replaces it")
        if self.target.is_dir() and any(file.suffix != ".png" for file in self.target.iterdir()):
            raise OutputError(f"{self.target}: holds more than PNG images, and is not replaced; choose another folder")
        if self._exists() and not (resume or overwrite):
            raise OutputError(
                f"{self.path}: is left of an interrupted run; --resume goes on with it, --overwrite starts anew"
            )
        folder = self.target.parent
        if not folder.is_dir():
            raise OutputError(f"{folder}: no such folder; create it first")
        if not os.access(folder, os.W_OK):
            raise OutputError(f"{folder}: is not writable; choose another folder")

    def compare(self, record: Mapping[str, Any]) -> None:
        """Refuse to go on with what was made otherwise; parts missing from ``record`` are not compared.

        Raises:
            ConfigError: See :meth:`begin`.
        """
        if self._exists():
            _compare(self._read(), json.loads(json.dumps(dict(record))), self.path)

    def begin(self, record: Mapping[str, Any], *, resume: bool) -> int:
        """Prepare for writing and return the number of frames that can be kept.

        Args:
            record: What must be the same for a run to go on: source, settings, network.
            resume: Go on if there is something to go on with.

        Raises:
            ConfigError: The unfinished result was made of another source, with other settings or another network.
        """
        self._record = json.loads(json.dumps(dict(record)))
        kept, self._frames = 0, None
        if resume and self._exists():
            self.compare(self._record)
            journal = self._read()
            kept = self._choose(journal.get("frames"), journal.get("former_frames"))
        self._kept = kept
        if not kept:
            self._remove(self.path)
            self._remove(self.previous)
        elif self.path.is_file():
            os.replace(self.path, self.previous)
        self._write(None)
        return kept

    def interrupted(self, frames: int) -> None:
        """Note that the result was closed with this many frames."""
        self._write(frames)
        self._remove(self.previous)

    def usable(self) -> int:
        """Return how many frames a result that could not be closed holds completely."""
        return self._usable(self.path, None)

    def revert(self) -> None:
        """Undo :meth:`begin`: nothing was added to the former unfinished result."""
        if self.previous.exists():
            os.replace(self.previous, self.path)
        if self._kept:
            self._write(self._frames)
        else:
            self._remove(self.path)
            self._remove(self.journal)

    def complete(self) -> None:
        """Give the result its final name.

        Raises:
            OutputError: Renaming failed.
        """
        try:
            if self.target.is_dir():
                shutil.rmtree(self.target)  # checked to hold images alone
            os.replace(self.path, self.target)
        except OSError as error:
            raise OutputError(f"{self.target}: cannot be renamed from {self.path} ({error.strerror})") from error
        self._remove(self.previous)
        self._remove(self.journal)

    def _exists(self) -> bool:
        return self.path.exists() or self.previous.exists()

    def _choose(self, frames: int | None, former_frames: int | None) -> int:
        """Keep the better of the two files a killed run may have left, under the first name."""
        count = self._usable(self.path, frames) if self.path.exists() else 0
        former = self._usable(self.previous, former_frames) if self.previous.exists() else 0
        self._frames = frames
        if former > count:
            os.replace(self.previous, self.path)
            self._frames = former_frames
        else:
            self._remove(self.previous)
        return max(count, former)

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self.journal.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.journal}: cannot be read ({error}); the run cannot go on: start anew with --overwrite"
            ) from error

    def _write(self, frames: int | None) -> None:
        temporary = self.journal.with_suffix(".tmp")
        try:
            counts = {"frames": frames, "former_frames": self._frames}
            temporary.write_text(json.dumps({**self._record, **counts}, indent=1) + "\n")
            os.replace(temporary, self.journal)
        except OSError as error:
            raise OutputError(f"{self.journal}: cannot be written ({error.strerror}); choose another folder") from error

    @staticmethod
    def _remove(path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _compare(journal: Mapping[str, Any], record: Mapping[str, Any], path: Path) -> None:
    for part, now in record.items():
        before = journal.get(part)
        if before == now:
            continue
        if isinstance(now, Mapping) and isinstance(before, Mapping):
            changed = next(key for key in {**before, **now} if before.get(key) != now.get(key))
            what = f"{part} {changed!r} was {before.get(changed)!r} and is now {now.get(changed)!r}"
        else:
            what = f"the {part} has changed"
        raise ConfigError(
            f"{path}: cannot be resumed: {what}; use what it was begun with, or start anew with --overwrite"
        )
