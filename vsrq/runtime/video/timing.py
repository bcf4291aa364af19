"""Times: what the user writes, what a container stores, and the repair of stamps that go backwards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from vsrq.errors import ConfigError

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)")


def parse_time(text: str | float | None, name: str) -> Fraction | None:
    """Return seconds from ``90``, ``90.5``, ``1:30`` or ``0:01:30.5``.

    Args:
        text: What the user wrote; ``None`` stays ``None``.
        name: The option's name, for the error message.

    Raises:
        ConfigError: Not a time, or negative.
    """
    if text is None:
        return None
    match = _CLOCK.fullmatch(str(text).strip())
    if not match:
        raise ConfigError(f"{name} {text!r} is not a time; write seconds (90.5) or HH:MM:SS (00:01:30.5)")
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + Fraction(seconds)


@dataclass(frozen=True)
class Selection:
    """The part of a source to upscale, in seconds from its beginning; the end is not included.

    Raises:
        ConfigError: The end is not after the start.
    """

    start: Fraction | None = None
    end: Fraction | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= (self.start or 0):
            raise ConfigError(
                f"--end {float(self.end):g} s is not after --start {float(self.start or 0):g} s; give a later end"
            )

    @property
    def whole(self) -> bool:
        """Whether this is everything."""
        return self.start is None and self.end is None


class Clock:
    """Give every frame a time later than the one before it.

    Containers with damaged or missing time stamps exist; a frame without a usable one comes one step after
    its predecessor. ``repaired`` counts them.

    Args:
        step: Nominal duration of a frame in units of the time base.
    """

    def __init__(self, step: int) -> None:
        self.step = max(step, 1)
        self.repaired = 0
        self._last: int | None = None

    def stamp(self, time: int | None) -> int:
        """Return ``time``, or one step after the last frame where that is not later."""
        if time is None or (self._last is not None and time <= self._last):
            self.repaired += 1
            time = 0 if self._last is None else self._last + self.step
        self._last = time
        return time
