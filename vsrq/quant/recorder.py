"""How layers tell whoever listens what one call really computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

Kind = Literal["float", "weight-only", "frame", "key", "residual"]


@dataclass(frozen=True)
class Call:
    """One executed call of one layer.

    Attributes:
        layer: The module.
        kind: ``float``, ``weight-only`` (stored in few bits, computed in float), ``frame`` (quantized on its own),
            ``key`` or ``residual``.
        macs: Multiply-accumulates.
        weight_bits: Bit width of the weight operand.
        act_bits: Bit width of the activation operand, on average where it differs between places.
        elementwise: Extra element operations a residual call adds (differences, accumulations).
    """

    layer: nn.Module
    kind: Kind
    macs: int
    weight_bits: int
    act_bits: float
    elementwise: int = 0


@dataclass
class CallLog:
    """All calls of a recording, in order."""

    calls: list[Call] = field(default_factory=list)


_LOG: ContextVar[CallLog | None] = ContextVar("vsrq_call_log", default=None)


@contextmanager
def recording() -> Iterator[CallLog]:
    """Collect the calls of all vsrq layers that run inside the block."""
    log = CallLog()
    token = _LOG.set(log)
    try:
        yield log
    finally:
        _LOG.reset(token)


def record(call: Call) -> None:
    """Report a call; does nothing when nobody listens."""
    log = _LOG.get()
    if log is not None:
        log.calls.append(call)


def is_recording() -> bool:
    """Whether somebody listens; lets a layer skip the counting otherwise."""
    return _LOG.get() is not None
