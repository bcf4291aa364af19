"""Modules that stand in for packages vsrq never uses but mmagic imports."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType

from vsrq.errors import MissingDependencyError


class PlaceholderModule(ModuleType):
    """A module whose every public name is a class that raises ``reason`` when it is built.

    Args:
        name: Dotted name of the module it stands for.
        reason: What to tell somebody who builds one of its classes.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(name)
        self.__path__: list[str] = []  # a package, so that nested placeholders can be imported
        self._reason = reason

    def __getattr__(self, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        message = f"{self.__name__}.{name} cannot be built: {self._reason}"

        def refuse(self: object, *args: object, **kwargs: object) -> None:
            raise MissingDependencyError(message)

        placeholder = type(name, (), {"__init__": refuse, "__module__": self.__name__, "__doc__": message})
        setattr(self, name, placeholder)
        return placeholder


def install(names: Iterable[str], reason: str) -> None:
    """Put a placeholder for each of ``names`` that is not imported yet into ``sys.modules``, for good."""
    for name in names:
        sys.modules.setdefault(name, PlaceholderModule(name, reason))


@contextmanager
def lent(names: Iterable[str], reason: str) -> Iterator[None]:
    """Hold placeholders for ``names`` in ``sys.modules`` within the block; what was there comes back after it.

    A parent must be listed before its children, which become its attributes.
    """
    names = list(names)
    before = {name: sys.modules.get(name) for name in names}
    try:
        for name in names:
            sys.modules[name] = PlaceholderModule(name, reason)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, sys.modules[name])
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
