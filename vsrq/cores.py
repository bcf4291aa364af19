"""The cores a process may use, and threads that use all of them."""

from __future__ import annotations

import contextlib
import functools
import os
from concurrent.futures import ThreadPoolExecutor


def usable_cores() -> frozenset[int]:
    """Return the numbers of the cores that this thread may use; empty where the system does not tell."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def core_count() -> int:
    """Return how many cores this thread may use."""
    return len(usable_cores()) or os.cpu_count() or 1


@functools.cache
def thread_pool(threads: int, cores: frozenset[int]) -> ThreadPoolExecutor:
    """Return threads that sleep when they have nothing to do, always the same.

    Args:
        threads: How many.
        cores: That they may use, whatever their maker may: OpenVINO binds a thread that calls an operator to one core.
    """
    return ThreadPoolExecutor(threads, "vsrq", initializer=_use_cores, initargs=(cores,))


def _use_cores(cores: frozenset[int]) -> None:
    if cores:
        with contextlib.suppress(OSError):  # they may have been taken away since
            os.sched_setaffinity(0, cores)
