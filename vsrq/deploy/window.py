"""Driving sliding-window networks: every frame is encoded once and aligned in each window that holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vsrq.deploy.driver import Arrays, StepGraph, StepMemory, StepRunner
from vsrq.deploy.plan import Plan
from vsrq.windows import window_indices


class WindowDriver:
    """Drives EDVR; see :class:`vsrq.deploy.driver.Driver`. Stretches change nothing in the result.

    Args:
        plan: A plan of kind ``window``.
        graphs: One per step.
        steps: What calls them.
    """

    def __init__(self, plan: Plan, graphs: Mapping[str, StepGraph], steps: StepRunner | None = None) -> None:
        self.plan = plan
        self.steps = steps or StepRunner(plan, graphs)
        # the window around frame 0 reaches to frame num_frames - 1: it has no past to be filled from
        self.lookahead = plan.num_frames - 1
        self.reset()

    def reset(self) -> None:
        """Forget the scene."""
        self._start = 0
        self._encoded: dict[int, Arrays] = {}
        self._frames: dict[int, np.ndarray] = {}
        self._memories: dict[str, StepMemory] = {}

    @property
    def state_nbytes(self) -> int:
        """Bytes that residual layers keep from frame to frame."""
        return sum(memory.nbytes for memory in self._memories.values())

    def run(self, frames: Sequence[np.ndarray], count: int) -> Iterator[np.ndarray]:
        """Upscale the first ``count`` of ``frames``; see :meth:`vsrq.deploy.driver.Driver.run`."""
        start, stop = self._start, self._start + len(frames)
        for i in range(start, start + count):
            window = window_indices(i, stop, self.plan.num_frames, self.plan.centre)
            for index in sorted(set(window) - set(self._encoded)):
                frame = frames[index - start]
                self._encoded[index] = self._step("encode", {"frame": frame}, seen=[frame])
                self._frames[index] = frame
            yield self._upscale(window)
        self._start = start + count
        oldest = self._start - self.lookahead
        self._encoded = {index: feats for index, feats in self._encoded.items() if index >= oldest}
        self._frames = {index: frame for index, frame in self._frames.items() if index >= oldest}

    def _upscale(self, window: list[int]) -> np.ndarray:
        seen = [self._frames[index] for index in window]
        centre = seen[self.plan.centre]
        offsets = self._step("reference", self._encoded[window[self.plan.centre]], seen=[centre])
        values = {"frame": centre}
        for slot, index in enumerate(window):
            # each place of the window has a past of its own
            aligned = self._step(
                "align", {**self._encoded[index], **offsets}, site=slot, seen=[centre, self._frames[index]]
            )
            values[f"aligned_{slot}"] = aligned["aligned"]
        return self._step("reconstruct", values, seen=seen)["hr"]

    def _step(self, name: str, values: Arrays, *, seen: Sequence[np.ndarray], site: int = 0) -> Arrays:
        return self.steps(name, values, self._memories.setdefault(f"{name}/{site}", StepMemory()), seen=seen)
