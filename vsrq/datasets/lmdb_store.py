"""Images stored in an LMDB folder, keys as ``clip/frame`` (BasicSR's layout)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsrq.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    import lmdb


def lmdb_keys(path: str) -> list[str]:
    """Return every key of the database, sorted.

    Raises:
        DataError: ``path`` is not an LMDB folder.
        MissingDependencyError: lmdb is not installed.
    """
    with _environment(path).begin() as transaction:
        return [key.decode() for key in transaction.cursor().iternext(keys=True, values=False)]


def lmdb_get(path: str, key: str) -> bytes:
    """Return the value of one key.

    Raises:
        DataError: ``path`` is not an LMDB folder or has no such key.
        MissingDependencyError: lmdb is not installed.
    """
    with _environment(path).begin() as transaction:
        value = transaction.get(key.encode())
    if value is None:
        raise DataError(f"{path}: has no key {key!r}; the list file and the database do not belong together")
    return value


def lmdb_write(path: str | os.PathLike, items: Iterable[tuple[str, bytes]]) -> None:
    """Write a new database.

    Raises:
        DataError: The folder cannot be made, or the disk is full.
        MissingDependencyError: lmdb is not installed.
    """
    lmdb = _import_lmdb()
    try:
        with lmdb.open(os.fspath(path), map_size=1 << 40) as environment:
            for key, value in items:
                with environment.begin(write=True) as transaction:
                    transaction.put(key.encode(), value)
    except lmdb.Error as error:
        raise DataError(f"{path}: cannot be written ({error}); is the disk full?") from error


def _import_lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise MissingDependencyError("LMDB data needs the package lmdb: pip install lmdb") from error
    return lmdb


@lru_cache(maxsize=16)
def _environment(path: str) -> lmdb.Environment:
    """Open a database once per process."""
    lmdb = _import_lmdb()
    if not (Path(path) / "data.mdb").is_file():
        raise DataError(f"{path}: not an LMDB folder, data.mdb is missing; check the path")
    try:
        return lmdb.open(path, readonly=True, lock=False, readahead=False, meminit=False)
    except lmdb.Error as error:
        raise DataError(f"{path}: cannot be opened as LMDB ({error})") from error


# An environment must not be used across a fork, nor can a forked loader worker open the same path again: let go of
# all of them first; each side opens its own on the next read.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_environment.cache_clear)
