"""How a residual layer codes: what it predicts from, what it feeds back, what gradients see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from vsrq.errors import ConfigError

Reference = Literal["prev", "key"]
Loop = Literal["closed", "open"]


@dataclass(frozen=True, kw_only=True)
class Coding:
    """The variant of residual coding.

    Args:
        reference: What a call is predicted from: ``'prev'``, the call before, or ``'key'``, the last key frame, which
            is all that is remembered then.
        loop: ``'closed'`` predicts from the reconstructed input (DPCM), ``'open'`` from the true one, so that
            the errors of all calls since the key frame add up in the output.
        truncate: Cut the graph of the memory every so many calls (truncated back-propagation in time); ``None`` never.

    Raises:
        ConfigError: A value is not allowed.
    """

    reference: Reference = "prev"
    loop: Loop = "closed"
    truncate: int | None = None

    def __post_init__(self) -> None:
        check_choice("reference", self.reference, get_args(Reference))
        check_choice("loop", self.loop, get_args(Loop))
        cut = self.truncate
        if cut is not None and (not isinstance(cut, int) or isinstance(cut, bool) or cut < 1):
            raise ConfigError(f"truncate must be None or an integer of 1 or more, got {cut!r}.")


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise :class:`ConfigError` unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
