"""The steps of a step-wise network, and how to put something around them for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

STEPS = ("flow", "encode", "propagate", "align", "fuse", "reconstruct")  # see vsrq.models.stepwise
Step = Callable[..., Any]


def steps_of(net: Any) -> list[str]:
    """Return the names of the steps a network has."""
    return [name for name in STEPS if hasattr(net, name)]


@contextmanager
def wrapped_steps(net: Any, names: Iterable[str], wrap: Callable[[str, Step], Step]) -> Iterator[None]:
    """Call ``wrap(name, step)`` in place of some steps while the block runs; blocks may be nested.

    Args:
        net: A step-wise network.
        names: Steps it has.
        wrap: Makes the stand-in of a step.
    """
    before = {name: vars(net).get(name) for name in names}
    for name in before:
        object.__setattr__(net, name, wrap(name, getattr(net, name)))
    try:
        yield
    finally:
        for name, own in before.items():
            if own is None:
                object.__delattr__(net, name)
            else:
                object.__setattr__(net, name, own)
