"""An output file that stays as it is after a write has failed."""

from __future__ import annotations

import os
from pathlib import Path

from vsrq.errors import OutputError


class SafeFile:
    """A file object for PyAV's muxers.

    A muxer that meets a full disk goes on: it writes an index, and patches the beginning of the file to point at
    it. That destroys a file whose fragments were playable so far. So after the first failure nothing is written.

    Args:
        path: File to create.

    Raises:
        OutputError: It cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.error: OutputError | None = None
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error

    def write(self, data: bytes) -> int:
        """Write, or raise the first failure again."""
        if self.error is None:
            try:
                view = memoryview(data)
                while view:  # an unbuffered write may take a part
                    view = view[self._file.write(view) :]
                return len(data)
            except OSError as error:
                self.error = OutputError(
                    f"{self._path}: writing failed ({error.strerror}); free some space, then go on with --resume"
                )
        raise self.error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    @property
    def closed(self) -> bool:
        """Whether the file is closed; PyAV then leaves out the trailer."""
        return self._file.closed

    def sync(self) -> None:
        """Wait until the data is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
