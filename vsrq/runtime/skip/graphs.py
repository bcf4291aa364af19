"""Step graphs for windows, compiled when a shape is first met."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from vsrq.deploy.driver import StepGraph
from vsrq.deploy.plan import Port

_MOST_GRAPHS = 84  # six sizes of windows in two numbers for the seven steps of BasicVSR++
_BATCHES = (4, 1)


class GraphSource(Protocol):
    """Where graphs for windows come from: a bundle, or a network in memory."""

    @property
    def batches(self) -> bool:
        """Whether a graph may take more than one window at once."""

    def load_step(self, name: str, height: int, width: int, *, batch: int = 1, **options: object) -> StepGraph:
        """Return a graph for ``batch`` windows of one size at once."""


class _Key(NamedTuple):
    """What a graph was compiled for."""

    step: str
    height: int
    width: int
    batch: int


class WindowGraphs:
    """Graphs by step, size of the windows and their number; the least recently used ones are dropped.

    Args:
        source: Where they come from.
        options: Of the backend.
    """

    def __init__(self, source: GraphSource, options: dict[str, object]) -> None:
        self._source, self._options = source, options
        self._graphs: OrderedDict[_Key, StepGraph] = OrderedDict()
        self._buffers: dict[tuple[int, ...], np.ndarray] = {}

    def batches(self, count: int) -> Iterator[slice]:
        """Split a number of windows into batches that graphs are compiled for."""
        start = 0
        for size in _BATCHES if self._source.batches else (1,):
            while count - start >= size:
                yield slice(start, start + size)
                start += size

    def graph(self, step: str, height: int, width: int, batch: int) -> StepGraph:
        """Return a graph, compiled if this shape is new."""
        key = _Key(step, height, width, batch)
        if key not in self._graphs:
            self._graphs[key] = self._source.load_step(step, height, width, batch=batch, **self._options)
            if len(self._graphs) > _MOST_GRAPHS:
                old, _ = self._graphs.popitem(last=False)
                self._drop_buffers(old)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def buffers(self, ports: Sequence[Port], height: int, width: int, batch: int) -> list[np.ndarray]:
        """Return arrays for the inputs of a graph; they are used again by the next call of this shape."""
        found = []
        for number, port in enumerate(ports):
            shape = port.shape(height, width, batch)
            key = (number, height, width, *shape)
            if key not in self._buffers:
                self._buffers[key] = np.empty(shape, port.dtype)
            found.append(self._buffers[key])
        return found

    def _drop_buffers(self, old: _Key) -> None:
        shape = old[1:]
        if not any(key[1:] == shape for key in self._graphs):
            self._buffers = {key: a for key, a in self._buffers.items() if (*key[1:3], key[3]) != shape}
