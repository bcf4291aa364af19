"""The errors vsrq raises on purpose.

Every message names the offending value, what is allowed, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VsrqError(Exception):
    """Base class of all errors raised on purpose by vsrq."""


class ConfigError(VsrqError, ValueError):
    """A setting is unknown, out of range or contradicts another one."""


class DataError(VsrqError, ValueError):
    """A clip, image, video or annotation file cannot be used."""


class CheckpointError(VsrqError, RuntimeError):
    """A checkpoint is missing, broken, untrusted or does not fit the network."""


class CalibrationError(VsrqError, RuntimeError):
    """A quantizer has no usable range: never calibrated, or calibrated on NaN or constant data."""


class TrainingError(VsrqError, RuntimeError):
    """A training cannot go on: its loss is no number, or its checkpoint cannot be written."""


class StateError(VsrqError, RuntimeError):
    """A temporal state does not belong to this network, clip shape, dtype or device."""


class OutputError(VsrqError, OSError):
    """A result cannot be written: no space, no permission, already there."""


class MissingDependencyError(VsrqError, ImportError):
    """An optional package is not installed."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest allowed name, or an empty string."""
    close = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_keys(given: Iterable[str], allowed: Iterable[str], what: str) -> None:
    """Raise :class:`ConfigError` for the first key of ``given`` that is not allowed.

    Args:
        given: Keys the user wrote.
        allowed: Keys that exist.
        what: What the keys belong to, as it should read in the message.
    """
    allowed = sorted(allowed)
    for key in given:
        if key not in allowed:
            hint = did_you_mean(key, allowed)
            raise ConfigError(f"unknown key {key!r} in {what}{hint}. Allowed: {', '.join(allowed)}.")
