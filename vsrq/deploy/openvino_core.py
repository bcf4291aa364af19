"""The one OpenVINO core of a process."""

from __future__ import annotations

from functools import lru_cache

import openvino as ov


@lru_cache(maxsize=1)
def core() -> ov.Core:
    """Return the core that everything here uses; it lives as long as the process.

    OpenVINO's CPU plugin gives the thread a stack for signal handlers. Each of several cores restores, when it goes,
    the one it found. Where a core went before another that came later, that stack is freed memory, and the next signal
    (Ctrl-C, the end of a child process) ends the process.
    """
    return ov.Core()
