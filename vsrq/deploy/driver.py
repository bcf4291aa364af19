"""Running step graphs over frames, a stretch at a time.

A driver is fed the frames of one scene in order. Each call gets the frames not yet finished: the first ones are
upscaled for good, the rest is looked at ahead, for the branches that run backward in time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vsrq.deploy.plan import STATE, Plan, StepSpec

Arrays = dict[str, np.ndarray]


class StepGraph(Protocol):
    """A step, ready to run for one frame size."""

    spec: StepSpec

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the step on arrays in the order of ``spec.inputs``; the results belong to the caller."""


class Driver(Protocol):
    """What drives the step graphs of one network for one frame size.

    Attributes:
        lookahead: Frames a call needs beyond the finished ones, unless the scene ends.
    """

    lookahead: int

    @property
    def state_nbytes(self) -> int:
        """Bytes that residual layers keep from frame to frame."""

    def reset(self) -> None:
        """Forget the scene."""

    def run(self, frames: Sequence[np.ndarray], count: int) -> Iterator[np.ndarray]:
        """Upscale the first ``count`` of ``frames``; the iterator has to be exhausted before the next call.

        Args:
            frames: Float32 arrays (1, 3, h, w) in [0, 1], from the first unfinished frame of the scene on.
            count: How many to finish.

        Yields:
            ``count`` arrays (1, 3, scale * h, scale * w), not clipped.
        """


class Kept(Protocol):
    """What a runner keeps of a step from call to call."""

    @property
    def nbytes(self) -> int:
        """Bytes of it."""

    def copy(self) -> Kept:
        """Return the same to go its own way; arrays are shared, and not changed as long as they are."""


@dataclass
class StepMemory:
    """What the residual layers of a step remember of its past calls.

    Attributes:
        calls: Calls since the reset.
        tensors: Their state, by the names of the ports.
        kept: What a runner that skips keeps; replaced by every call.
    """

    calls: int = 0
    tensors: Arrays = field(default_factory=dict)
    kept: Kept | None = None

    def copy(self) -> StepMemory:
        """Return a memory that goes its own way; arrays are shared, for calls never change what others hold."""
        return StepMemory(self.calls, self.tensors, None if self.kept is None else self.kept.copy())

    @property
    def nbytes(self) -> int:
        """Bytes of the state."""
        own = 0 if self.kept is None else self.kept.nbytes
        return own + sum(array.nbytes for array in self.tensors.values())


class StepRunner:
    """Calls the steps of a network by name.

    Args:
        plan: How the steps belong together.
        graphs: All graphs of the plan.
    """

    def __init__(self, plan: Plan, graphs: Mapping[str, StepGraph]) -> None:
        self.plan = plan
        self.graphs = graphs

    def __call__(
        self, name: str, values: Mapping[str, np.ndarray], memory: StepMemory, *, seen: Sequence[np.ndarray] = ()
    ) -> Arrays:
        """Run a step on values by name and return its results by name.

        Args:
            name: Of the step.
            values: At least what the step takes.
            memory: Of this step's past; brought up to date. Unused by steps without residual layers.
            seen: The frames that matter most to the result, always in the same order. Runners that skip what did not
                change look at them; this one computes everything.
        """
        schedule = self.plan.schedules.get(name)
        if schedule is None:
            return _call(self.graphs[name], values)
        results = _call(self.graphs[schedule.graph(memory.calls)], {**values, **memory.tensors})
        memory.tensors = {key: value for key, value in results.items() if key.startswith(STATE)}
        memory.calls += 1
        return {key: value for key, value in results.items() if key not in memory.tensors}


def _call(graph: StepGraph, values: Mapping[str, np.ndarray]) -> Arrays:
    outputs = graph([values[port.name] for port in graph.spec.inputs])
    return {port.name: value for port, value in zip(graph.spec.outputs, outputs, strict=True)}


def make_driver(
    plan: Plan, graphs: Mapping[str, StepGraph], *, lookahead: int, steps: StepRunner | None = None
) -> Driver:
    """Return the driver for a plan.

    Args:
        plan: How the steps belong together.
        graphs: One per step of the plan.
        lookahead: For recurrent networks; sliding windows know what they need.
        steps: What calls the graphs; by default each call computes everything.
    """
    from vsrq.deploy.recurrent import RecurrentDriver
    from vsrq.deploy.window import WindowDriver

    if plan.kind == "window":
        return WindowDriver(plan, graphs, steps)
    return RecurrentDriver(plan, graphs, steps, lookahead=lookahead)
