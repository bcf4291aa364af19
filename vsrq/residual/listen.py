"""How residual calls can be watched, without a cost where nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from torch import Tensor, nn


class Listener(Protocol):
    """Somebody who is told of every residual call."""

    def residual_call(self, layer: nn.Module, x: Tensor, residual: Tensor, change: Tensor) -> None:
        """Take note of one call.

        Args:
            layer: The residual layer.
            x: Its input.
            residual: The input's difference to its prediction.
            change: The residual, quantized.
        """


Anyone = TypeVar("Anyone", bound=Listener)
_LISTENER: ContextVar[Listener | None] = ContextVar("vsrq_residual_listener", default=None)


@contextmanager
def listening(listener: Anyone) -> Iterator[Anyone]:
    """Tell ``listener`` of all residual calls inside the block."""
    token = _LISTENER.set(listener)
    try:
        yield listener
    finally:
        _LISTENER.reset(token)


def current_listener() -> Listener | None:
    """Return who listens, or ``None``."""
    return _LISTENER.get()
