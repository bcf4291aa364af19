"""Run a producer or a consumer beside the main thread, with a bounded queue between.

An exception on either side reaches the main thread as itself; stopping never waits for a full queue.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ClosedError(Exception):
    """The other side of a channel has stopped."""


class Channel(Generic[T]):
    """A bounded queue that either side can close.

    Args:
        capacity: Largest number of items held.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._finished = self._abandoned = False

    def put(self, item: T) -> None:
        """Append an item; wait while the queue is full.

        Raises:
            ClosedError: Nobody will take it.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._capacity or self._abandoned)
            if self._abandoned:
                raise ClosedError
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T:
        """Take the oldest item; wait for one.

        Raises:
            ClosedError: None is left and none will come.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._finished or self._abandoned)
            if self._abandoned or not self._items:
                raise ClosedError
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def finish(self) -> None:
        """Say that no more items will be put; those inside are still taken."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Drop what is inside and refuse more."""
        with self._changed:
            self._abandoned = True
            self._items.clear()
            self._changed.notify_all()


class Prefetch(Generic[T]):
    """Iterate over ``items`` in a thread, a few items ahead.

    Attributes:
        busy: Seconds the thread has spent producing.
    """

    def __init__(self, items: Iterable[T], capacity: int) -> None:
        self.busy = 0.0
        self._channel: Channel[T] = Channel(capacity)
        self._error: BaseException | None = None
        self._items = items
        self._thread = threading.Thread(target=self._run, name="vsrq-decode", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                item = self._channel.get()
            except ClosedError:
                break
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop the thread. One that waits for standard input is left behind; it ends with the process."""
        self._channel.abandon()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        try:
            begin = time.perf_counter()
            for item in self._items:
                self.busy += time.perf_counter() - begin
                self._channel.put(item)
                begin = time.perf_counter()
        except ClosedError:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._channel.finish()


class Background(Generic[T]):
    """Call ``consume`` with every item put, in a thread, in order.

    Attributes:
        busy: Seconds the thread has spent consuming.
    """

    def __init__(self, consume: Callable[[T], object], capacity: int) -> None:
        self.busy = 0.0
        self._channel: Channel[T] = Channel(capacity)
        self._error: BaseException | None = None
        self._consume = consume
        self._thread = threading.Thread(target=self._run, name="vsrq-encode", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand over an item; raises what ``consume`` raised, if it failed."""
        try:
            self._channel.put(item)
        except ClosedError:
            self._thread.join()
            if self._error is not None:
                raise self._error from None
            raise

    def finish(self) -> None:
        """Wait until everything put is consumed; raises what ``consume`` raised, if it failed."""
        self._channel.finish()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            try:
                item = self._channel.get()
            except ClosedError:
                return
            begin = time.perf_counter()
            try:
                self._consume(item)
            except BaseException as error:
                self._error = error
                self._channel.abandon()
                return
            finally:
                self.busy += time.perf_counter() - begin
