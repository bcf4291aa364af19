"""Key frames: which calls of a layer are coded on their own."""

from __future__ import annotations

from dataclasses import dataclass

from vsrq.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class KeyFrameSchedule:
    """A key frame at the first calls after a reset, then every ``period`` calls.

    Time is counted in calls, so a backward branch has its key frame at the last frame of the clip.

    Args:
        period: Distance of key frames in calls, 1 or more; ``None`` for none after the first ones.
        warmup: Number of first calls that are key frames, 1 or more. BasicVSR++ needs 3, because the inputs
            of a branch jump at its calls 1 and 2 (first and second-order features start at zero).
        offset: How many calls later than call 0 the period starts, from 0 to below it: layers or branches with
            different offsets do not all have their key frames in one frame.

    Raises:
        ConfigError: A value is out of range.
    """

    period: int | None = None
    warmup: int = 1
    offset: int = 0

    def __post_init__(self) -> None:
        for name, least in (("period", 1), ("warmup", 1), ("offset", 0)):
            value = getattr(self, name)
            if value is None and name == "period":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be an integer of {least} or more, got {value!r}.")
        if self.offset and self.offset >= (self.period or 1):
            raise ConfigError(f"offset={self.offset} must lie below the period, which is {self.period}.")

    def is_key(self, call: int) -> bool:
        """Whether call number ``call`` (from 0, since the last reset) is a key frame."""
        return call < self.warmup or (self.period is not None and call % self.period == self.offset)
