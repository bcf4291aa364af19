"""PyAV, imported late, and its errors turned into vsrq's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from vsrq.errors import DataError, MissingDependencyError

MICROSECONDS = 1_000_000


def load() -> ModuleType:
    """Return the module ``av``.

    Raises:
        MissingDependencyError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(
            "reading and writing videos needs PyAV, which is not installed: pip install 'av>=16'"
        ) from error
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
