"""Ctrl-C and SIGTERM: the first stops in an orderly way, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """The user, or the system, asked to stop."""


class Guard:
    """What the first signal does: it raises :class:`Interrupted`, or nothing once ``finishing`` is set."""

    finishing = False


@contextmanager
def interruptible() -> Iterator[Guard]:
    """React to SIGINT and SIGTERM inside the block; the second one ends the process.

    Yields:
        A switch for the last steps, which are short and must not be torn apart.
    """
    guard = Guard()
    if threading.current_thread() is not threading.main_thread():
        yield guard  # signals reach the main thread alone
        return
    signals = (signal.SIGINT, signal.SIGTERM)

    def first(number: int, frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, second)
        if not guard.finishing:
            raise Interrupted

    def second(number: int, frame: FrameType | None) -> None:
        os._exit(128 + number)

    before = {each: signal.signal(each, first) for each in signals}
    try:
        yield guard
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
