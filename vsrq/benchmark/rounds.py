"""Paired rounds: kept on disk as they come in, and compared within each round only."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Summary:
    """Median and spread of a few values."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary | None:
        """Summarize values; ``None`` if there are none."""
        values = list(values)
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values), len(values))


def in_turn(names: Sequence[str], turn: int) -> list[str]:
    """Return the contestants in the order of a round: each is first in one of as many rounds as there are.

    Who follows whom can be worth some percent: caches, clocks and allocators are as the one before left them.
    """
    first = turn % len(names)
    return [*names[first:], *names[:first]]


@dataclass
class Record:
    """Everything that was measured, resumable.

    Attributes:
        settings: What was measured on what; a record of other settings is not continued.
        contestants: For each, what is known of it besides its rounds.
        rounds: Seconds per frame by contestant; all of one round were measured one right after the other.
    """

    settings: dict[str, Any]
    contestants: dict[str, dict[str, Any]] = field(default_factory=dict)
    rounds: list[dict[str, float]] = field(default_factory=list)

    def ratios(self, name: str, reference: str) -> list[float]:
        """Return how many times faster than the reference a contestant was, round by round."""
        return [entry[reference] / entry[name] for entry in self.rounds if name in entry and reference in entry]

    def seconds(self, name: str) -> list[float]:
        """Return the seconds per frame of a contestant in all rounds."""
        return [entry[name] for entry in self.rounds if name in entry]

    def missing(self, names: Iterable[str], reference: str | None, wanted: int) -> list[str]:
        """Return the contestants that have not been in ``wanted`` rounds yet, together with the reference."""
        return [name for name in names if self._paired(name, reference) < wanted]

    def _paired(self, name: str, reference: str | None) -> int:
        return sum(name in entry and (reference is None or reference in entry) for entry in self.rounds)

    def forget(self, name: str) -> None:
        """Drop all that is known of a contestant."""
        self.contestants.pop(name, None)
        for entry in self.rounds:
            entry.pop(name, None)
        self.rounds = [entry for entry in self.rounds if entry]

    def of(self, name: str) -> dict[str, Any]:
        """Return what is known of a contestant, to be added to."""
        return self.contestants.setdefault(name, {})

    def save(self, path: Path) -> None:
        """Write the record under a temporary name, then rename it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        content = {"settings": self.settings, "contestants": self.contestants, "rounds": self.rounds}
        partial.write_text(json.dumps(content, indent=1), "utf-8")
        os.replace(partial, path)

    @classmethod
    def resume(cls, path: Path, settings: Mapping[str, Any]) -> Record:
        """Read a record; one that is missing, broken or of other settings gives an empty one."""
        wanted: dict[str, Any] = json.loads(json.dumps(settings))  # tuples become lists, as in the file
        try:
            content = json.loads(path.read_text("utf-8"))
            if content["settings"] == wanted:
                return cls(wanted, content["contestants"], content["rounds"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return cls(wanted)
