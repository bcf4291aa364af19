"""Rules: which layer gets which recipe. Data, never code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from vsrq.errors import ConfigError, check_keys

Rule = Mapping[str, Any]


def first_match(name: str, patterns: Iterable[str]) -> str | None:
    """Return the first glob pattern that matches a module name (``*`` crosses dots), or ``None``."""
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)


class RuleBook:
    """A list of rules, first match wins, that knows which of them were used.

    Args:
        rules: Each a mapping with ``pattern`` (a glob over module names) and the settings it overrides.
        allowed: Settings a rule may hold.

    Raises:
        ConfigError: A rule has no pattern or an unknown key, or two rules have the same pattern.
    """

    def __init__(self, rules: Iterable[Rule], allowed: Iterable[str]) -> None:
        self._rules: dict[str, Rule] = {}
        self._used: set[str] = set()
        allowed = ["pattern", *allowed]
        for rule in rules:
            check_keys(rule, allowed, "a rule")
            pattern = rule.get("pattern")
            if not isinstance(pattern, str) or not pattern:
                raise ConfigError(f"every rule needs a `pattern` (a glob over layer names), got {dict(rule)}.")
            if pattern in self._rules:
                raise ConfigError(f"two rules have the pattern {pattern!r}; only the first could ever win.")
            self._rules[pattern] = rule

    def settings(self, name: str) -> dict[str, Any]:
        """Return what the first matching rule says of a layer, without its pattern; empty if none does."""
        pattern = first_match(name, self._rules)
        if pattern is None:
            return {}
        self._used.add(pattern)
        return {key: value for key, value in self._rules[pattern].items() if key != "pattern"}

    def unused(self, name: str) -> bool:
        """Whether a rule decides a layer, but has decided nothing so far."""
        pattern = first_match(name, self._rules)
        return pattern is not None and pattern not in self._used

    def check_all_used(self, names: Iterable[str]) -> None:
        """Raise :class:`ConfigError` for a rule that decided nothing.

        Args:
            names: Names of the layers there are, for the message.
        """
        names = list(names)
        for pattern in self._rules:
            if pattern in self._used:
                continue
            shadowed = any(fnmatchcase(name, pattern) for name in names)
            why = "earlier rules take all its layers" if shadowed else "it matches no quantizable layer"
            examples = ", ".join(names[:: max(1, len(names) // 6)][:6])
            raise ConfigError(f"rule {pattern!r} has no effect: {why}. Layers are named like: {examples}.")


def merge(base: Mapping[str, Any], override: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return ``base`` with the keys of ``override`` replaced."""
    return {**base, **(override or {})}
