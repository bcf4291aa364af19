"""PyAV, imported late, and its errors turned into vsrq's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from vsrq.errors import DataError, MissingDependencyError

MICROSECONDS = 1_000_000
_OLDEST = 18  # the first with colour tags of frames, chapters, and mp4 files that survive a killed process


def load() -> ModuleType:
    """Return the module ``av``.

    Raises:
        MissingDependencyError: PyAV is not installed, or too old.
    """
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(
            f"reading and writing videos needs PyAV, which is not installed: pip install 'av>={_OLDEST}'"
        ) from error
    if int(av.__version__.split(".")[0]) < _OLDEST:
        raise MissingDependencyError(
            f"PyAV {av.__version__} is too old to write videos: pip install 'av>={_OLDEST}' (Python 3.11 or later)"
        )
    return av


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn every failure of FFmpeg inside the block into a DataError about ``name``."""
    av = load()
    try:
        yield
    except av.error.EOFError as error:
        raise DataError(f"{name}: zero frames: the file ends after its header; fetch it again") from error
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"{name}: not a readable video, or cut off before its index ({reason}); fetch it again"
        ) from error
