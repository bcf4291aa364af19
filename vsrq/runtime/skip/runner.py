"""Calling step graphs on the tiles that changed; everything else is taken from the last time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from vsrq.deploy.array_pool import ArrayPool
from vsrq.deploy.driver import Arrays, StepGraph, StepMemory, StepRunner
from vsrq.deploy.plan import Plan, StepSpec
from vsrq.errors import ConfigError
from vsrq.residual.skip_policy import SkipPolicy
from vsrq.runtime.skip.activity import Activity, Judge, Kept
from vsrq.runtime.skip.depths import Depths
from vsrq.runtime.skip.graphs import WindowGraphs
from vsrq.runtime.skip.shapes import Shapes
from vsrq.runtime.skip.stats import SkipStats
from vsrq.runtime.skip.threads import copy
from vsrq.runtime.skip.windows import WINDOW_OVERHEAD, Layout, Windows, copy_boxes, gather, scatter


class SkipRunner(StepRunner):
    """Calls the steps of a network in one stream by name, each on as few tiles as the policy allows.

    Args:
        plan: How the steps belong together.
        graphs: For whole frames.
        windows: For parts of them.
        policy: Which tiles are computed.
        size: Height and width of the (padded) frames.
        stats: Where to count.

    Raises:
        ConfigError: The tiles are larger than the frames.
    """

    def __init__(
        self,
        plan: Plan,
        graphs: Mapping[str, StepGraph],
        windows: WindowGraphs,
        policy: SkipPolicy,
        size: tuple[int, int],
        stats: SkipStats,
    ) -> None:
        super().__init__(plan, graphs)
        if policy.tile > min(size):
            raise ConfigError(
                f"tile={policy.tile} is larger than the frames of {size[0]}x{size[1]} pixels (height x width); choose "
                "a smaller tile, or leave skip out."
            )
        self.windows, self.policy, self.stats = windows, policy, stats
        self._layout = Layout(*size, policy.tile)
        self._judge = Judge(policy, *size)
        self._shapes = Shapes(*size, WINDOW_OVERHEAD)
        # both kinds of results take the arrays that were let go, to need no more memory than one
        self._pools = {name: getattr(graph, "pool", ArrayPool()) for name, graph in graphs.items()}
        self._frames, self._depths = ArrayPool(), Depths()
        self._pixels, self._everything = size[0] * size[1], np.ones(self._layout.grid, bool)

    def __call__(
        self, name: str, values: Mapping[str, np.ndarray], memory: StepMemory, *, seen: Sequence[np.ndarray] = ()
    ) -> Arrays:
        """Run a step; see :meth:`vsrq.deploy.driver.StepRunner.__call__`.

        Raises:
            StateError: ``memory`` is of frames of another size.
        """
        spec, known = self.graphs[name].spec, dict(values)
        kept = memory.kept if isinstance(memory.kept, Kept) else Kept()
        memory.kept = None  # should this call fail, what is kept may be half done
        made_of = tuple(self._depths.of(known[port.name]) for port in spec.inputs if port.name in self.plan.branches)
        with self.stats.timed(name, "policy"):
            driving = self._judge.driving(spec, known, seen)
            looked = self._judge.can_tell(driving, made_of, kept)
            found = self._judge.activity(spec, driving, known, kept) if looked else None
            placed = None if found is None else self._place(found, spec)
        if found is None or placed is None:
            outputs = self._compute_all(spec, known, memory)
            kept = kept.after_whole(driving, outputs, made_of, looked=looked)
        elif self._judge.due(driving, kept):
            outputs = self._compute_all(spec, known, memory)
            kept = kept.after_refresh(driving, outputs, made_of)
        elif placed:
            kept = self._compute(spec, known, placed, driving, kept)
            outputs = kept.outputs
        else:
            kept = kept.after_windows(kept.references, kept.outputs, worth=True)
            outputs = kept.outputs
            self.stats.note(name, found.tiles, 0, frame_pixels=self._pixels)
        memory.kept = kept
        if spec.outputs[0].name in self.plan.branches:
            self._depths.note(outputs.values(), kept.depth)
        return dict(outputs)

    def _place(self, found: Activity, spec: StepSpec) -> list[Windows] | None:
        """Return the windows to compute; ``None`` where the whole frame is cheaper."""
        if not found.tiles.any():
            return []
        if not self.policy.saves(found.tiles.mean() * self._pixels, self._pixels):
            return None  # before windows are placed: that takes time
        placed = self._layout.place(found.tiles, found.margin, spec.multiple, partial(self._shapes.fit, spec.name))
        return placed if self.policy.saves(sum(windows.area for windows in placed), self._pixels) else None

    def _compute_all(self, spec: StepSpec, values: Arrays, memory: StepMemory) -> Arrays:
        start = time.perf_counter()
        with self.stats.timed(spec.name, "compute"):
            outputs = super().__call__(spec.name, values, memory)
        self.stats.steps[spec.name].dense_seconds += time.perf_counter() - start
        self.stats.note(spec.name, self._everything, self._pixels, frame_pixels=self._pixels)
        return outputs

    def _compute(
        self, spec: StepSpec, values: Arrays, placed: list[Windows], driving: tuple[np.ndarray, ...], kept: Kept
    ) -> Kept:
        """Compute some windows of what is kept, or of a copy where others hold it, too."""
        with self.stats.timed(spec.name, "scatter"):
            pool = self._pools[spec.name]
            outputs = {name: _own(kept.outputs, name, pool) for name in kept.outputs}
            references = self._references(driving, kept)
            renewed = [] if references is kept.references else list(zip(driving, references, strict=True))
        for windows in placed:
            for part in self.windows.batches(len(windows.starts)):
                self._compute_batch(spec, values, windows, part, outputs)
            with self.stats.timed(spec.name, "scatter"):
                for new, reference in renewed:
                    if reference is not new:
                        copy_boxes(new, windows, self._ratio(new), reference)
        pixels = self._count(spec.name, placed)
        return kept.after_windows(references, outputs, worth=2 * pixels <= self._pixels)

    def _references(self, driving: tuple[np.ndarray, ...], kept: Kept) -> tuple[np.ndarray, ...]:
        """Return arrays for what every tile was last computed with.

        A branch that begins anew has seen fewer frames. What it computes until it knows as much as it did does not
        count as computed: the same tiles are computed again.
        """
        if len(driving) < len(kept.references):
            return kept.references
        return tuple(
            new if new is kept.references[i] or new.size == 1 else _own(kept.references, i, self._frames)
            for i, new in enumerate(driving)
        )

    def _compute_batch(self, spec: StepSpec, values: Arrays, windows: Windows, part: slice, outputs: Arrays) -> None:
        shape = windows.height, windows.width, part.stop - part.start
        with self.stats.timed(spec.name, "gather"):
            inputs = self.windows.buffers(spec.inputs, *shape)
            for port, buffer in zip(spec.inputs, inputs, strict=True):
                if port.ratio:
                    gather(values[port.name], windows, port.ratio, part, buffer)
                else:
                    buffer[...] = values[port.name]
        graph = self.windows.graph(spec.name, *shape)
        with self.stats.timed(spec.name, "compute"):
            results = graph(inputs)
        with self.stats.timed(spec.name, "scatter"):
            for port, result in zip(spec.outputs, results, strict=True):
                scatter(result, windows, port.ratio, part, outputs[port.name])

    def _ratio(self, array: np.ndarray) -> Fraction:
        return Fraction(array.shape[-1], self._layout.width)

    def _count(self, name: str, placed: list[Windows]) -> int:
        """Add a call to the statistics; returns the pixels of its windows."""
        tiles, size = np.zeros(self._layout.grid, bool), self._layout.tile
        for windows in placed:
            for top, left, bottom, right in windows.boxes.tolist():
                tiles[top // size : -(-bottom // size), left // size : -(-right // size)] = True
        seen = sum(windows.area for windows in placed)
        self.stats.note(name, tiles, seen, frame_pixels=self._pixels)
        return seen


def _own(arrays: Sequence[np.ndarray] | Arrays, key: Any, pool: ArrayPool) -> np.ndarray:
    """Return ``arrays[key]`` if nobody else holds it, else a copy."""
    if pool.may_change(arrays, key):
        return arrays[key]
    array = arrays[key]
    twin = pool.empty(array.shape, array.dtype)
    copy(twin[0], array[0])
    return twin
