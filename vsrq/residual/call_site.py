"""Names for the several calls one layer receives within a single time step.

A temporal state is keyed by layer *and* call site: EDVR aligns five neighbours with the same layers, and each
neighbour slot has its own past.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SITE: ContextVar[tuple[object, ...]] = ContextVar("vsrq_call_site", default=())


@contextmanager
def call_site(name: object) -> Iterator[None]:
    """Run the block as call site ``name``; nested blocks make a path.

    Args:
        name: Anything hashable that is the same at every time step, such as the index of a neighbour slot.
    """
    token = _SITE.set((*_SITE.get(), name))
    try:
        yield
    finally:
        _SITE.reset(token)


def current_call_site() -> tuple[object, ...]:
    """Return the path of the call site the code runs in; empty outside of any."""
    return _SITE.get()
