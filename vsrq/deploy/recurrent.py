"""Driving recurrent networks: branches forward and backward in time, in stretches of a scene.

Forward branches carry their memory from stretch to stretch, so they see the whole past. Backward branches start
anew at the end of what is looked ahead; how much that matters is measured, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vsrq.deploy.driver import Arrays, Kept, StepGraph, StepMemory, StepRunner
from vsrq.deploy.plan import Plan, Port


class _Result(NamedTuple):
    """What a branch returned for a frame."""

    frame: int
    feat: np.ndarray


@dataclass
class _Past:
    """What a branch knows when its next call comes: its last two results, the latest last, and its residual state."""

    results: list[_Result] = field(default_factory=list)
    memory: StepMemory = field(default_factory=StepMemory)

    def copy(self) -> _Past:
        return _Past(list(self.results), self.memory.copy())


class RecurrentDriver:
    """Drives BasicVSR, BasicVSR++ and whatever has the same steps; see :class:`vsrq.deploy.driver.Driver`.

    Args:
        plan: A plan of kind ``recurrent``.
        graphs: One per step.
        steps: What calls them.
        lookahead: Frames beyond the finished ones on which the backward branches warm up.
    """

    def __init__(
        self, plan: Plan, graphs: Mapping[str, StepGraph], steps: StepRunner | None = None, *, lookahead: int
    ) -> None:
        self.plan = plan
        self.steps = steps or StepRunner(plan, graphs)
        self.lookahead = lookahead
        self.reset()

    def reset(self) -> None:
        """Forget the scene."""
        self._start = 0
        self._frames: dict[int, np.ndarray] = {}
        self._encoded: dict[int, Arrays] = {}
        self._flows: dict[tuple[int, int], np.ndarray] = {}
        self._carried = {branch: _Past() for branch in self.plan.branches if not branch.startswith("backward")}
        # backward branches forget what they know at every stretch, but a runner that skips may use what it kept
        self._kept: dict[str, Kept | None] = {}
        # flows there and back are two series, each of them alike from call to call
        self._memories = {site: StepMemory() for site in ("flow/1", "flow/-1", "encode", "reconstruct")}

    @property
    def state_nbytes(self) -> int:
        """Bytes that residual layers keep from frame to frame."""
        memories = [*self._memories.values(), *(past.memory for past in self._carried.values())]
        return sum(memory.nbytes for memory in memories) + sum(kept.nbytes for kept in self._kept.values() if kept)

    def run(self, frames: Sequence[np.ndarray], count: int) -> Iterator[np.ndarray]:
        """Upscale the first ``count`` of ``frames``; see :meth:`vsrq.deploy.driver.Driver.run`."""
        start, finish, stop = self._start, self._start + count, self._start + len(frames)
        self._frames |= {start + i: frame for i, frame in enumerate(frames)}
        feats: dict[int, Arrays] = {i: dict(self._encode(i)) for i in range(start, stop)}
        branches = self.plan.branches
        for position, branch in enumerate(branches):
            if branch.startswith("backward"):
                past = _Past(memory=StepMemory(kept=self._kept.pop(branch, None)))
                self._propagate(branch, range(stop - 1, start - 1, -1), past, feats)
                self._kept[branch] = past.memory.kept
                continue
            self._propagate(branch, range(start, finish), self._carried[branch], feats)
            # what lies ahead is of use only to a backward branch that comes later
            if any(later.startswith("backward") for later in branches[position + 1 :]):
                self._propagate(branch, range(finish, stop), self._carried[branch].copy(), feats)
        for i in range(start, finish):
            values = {"frame": self._frames[i], **feats.pop(i)}
            before = [self._frames[j] for j in (i - 1,) if j in self._frames]
            yield self._step("reconstruct", values, seen=[self._frames[i], *before])["hr"]
        self._forget_before(finish)

    def _propagate(self, branch: str, order: range, past: _Past, feats: dict[int, Arrays]) -> None:
        """Run a branch over frames, adding to ``feats`` and bringing ``past`` up to date."""
        step = f"propagate_{branch}"
        ports = [port for port in self.plan.inputs(step) if port.name.startswith(("feat_", "flow_", "gate_"))]
        orders = max(int(port.name.partition("_")[2]) for port in ports)
        for i in order:
            known = {port.name: self._recall(port, i, past.results) for port in ports}
            values = {"frame": self._frames[i], **feats[i], **known}
            sources = [result.frame for result in reversed(past.results[-orders:])]
            seen = [self._frames[j] for j in (i, *sources)]
            feat = self.steps(step, values, past.memory, seen=seen)[branch]
            feats[i][branch] = feat
            past.results = [*past.results[-1:], _Result(i, feat)]

    def _recall(self, port: Port, i: int, past: list[_Result]) -> np.ndarray:
        """Return ``feat_k``, ``flow_k`` or ``gate_k``: what the branch knows of its k-th last call, or zeros."""
        kind, _, order = port.name.partition("_")
        k = int(order)
        if len(past) < k:
            return np.zeros(port.shape(*self._frames[i].shape[-2:]), np.float32)
        if kind == "feat":
            return past[-k].feat
        if kind == "gate":
            return np.ones((1, 1, 1, 1), np.float32)
        return self._flow(i if k == 1 else past[1 - k].frame, past[-k].frame)

    def _encode(self, i: int) -> Arrays:
        if not self.plan.has("encode"):
            return {}
        if i not in self._encoded:
            self._encoded[i] = self._step("encode", {"frame": self._frames[i]}, seen=[self._frames[i]])
        return self._encoded[i]

    def _flow(self, i: int, neighbour: int) -> np.ndarray:
        """Return the flow from frame ``i`` to a neighbour, computed once."""
        pair = (i, neighbour)
        if pair not in self._flows:
            values = {"frame": self._frames[i], "neighbour": self._frames[neighbour]}
            site = f"flow/{neighbour - i}"
            self._flows[pair] = self._step("flow", values, seen=list(values.values()), site=site)["flow"]
        return self._flows[pair]

    def _step(self, name: str, values: Arrays, *, seen: Sequence[np.ndarray], site: str | None = None) -> Arrays:
        return self.steps(name, values, self._memories[site or name], seen=seen)

    def _forget_before(self, index: int) -> None:
        """Drop what no later call needs: it looks back one frame, and two for flows."""
        self._start = index
        self._frames = {i: frame for i, frame in self._frames.items() if i >= index - 2}
        self._encoded = {i: feat for i, feat in self._encoded.items() if i >= index}
        self._flows = {pair: flow for pair, flow in self._flows.items() if min(pair) >= index - 2}
