"""Driving recurrent networks: branches forward and backward in time, in stretches of a scene.

Forward branches carry their memory from stretch to stretch, so they see the whole past. Backward branches start
anew at the end of what is looked ahead; how much that matters is measured, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vsrq.deploy.driver import Arrays, StepGraph, call
from vsrq.deploy.plan import Plan, Port


class _Past(NamedTuple):
    """What a branch returned for a frame."""

    frame: int
    feat: np.ndarray


def _is_memory(port: Port) -> bool:
    return port.name.startswith(("feat_", "flow_", "gate_"))


class RecurrentDriver:
    """Drives BasicVSR, BasicVSR++ and whatever has the same steps; see :class:`vsrq.deploy.driver.Driver`.

    Args:
        plan: A plan of kind ``recurrent``.
        graphs: One per step.
        lookahead: Frames beyond the finished ones on which the backward branches warm up.
    """

    def __init__(self, plan: Plan, graphs: Mapping[str, StepGraph], *, lookahead: int) -> None:
        self.plan = plan
        self.graphs = graphs
        self.lookahead = lookahead
        self.reset()

    def reset(self) -> None:
        """Forget the scene."""
        self._start = 0
        self._frames: dict[int, np.ndarray] = {}
        self._encoded: dict[int, Arrays] = {}
        self._flows: dict[tuple[int, int], np.ndarray] = {}
        self._carried: dict[str, list[_Past]] = {}

    def run(self, frames: Sequence[np.ndarray], count: int) -> Iterator[np.ndarray]:
        """Upscale the first ``count`` of ``frames``; see :meth:`vsrq.deploy.driver.Driver.run`."""
        start, finish, stop = self._start, self._start + count, self._start + len(frames)
        self._frames |= {start + i: frame for i, frame in enumerate(frames)}
        feats: dict[int, Arrays] = {i: dict(self._encode(i)) for i in range(start, stop)}
        branches = self.plan.branches
        for position, branch in enumerate(branches):
            if branch.startswith("backward"):
                self._propagate(branch, range(stop - 1, start - 1, -1), [], feats)
                continue
            # what lies ahead is of use only to a backward branch that comes later
            ahead = any(later.startswith("backward") for later in branches[position + 1 :])
            past = self._propagate(branch, range(start, finish), self._carried.get(branch, []), feats)
            self._carried[branch] = past
            if ahead:
                self._propagate(branch, range(finish, stop), past, feats)
        for i in range(start, finish):
            values = {"frame": self._frames[i], **feats.pop(i)}
            yield call(self.graphs["reconstruct"], values)["hr"]
        self._forget_before(finish)

    def _propagate(self, branch: str, order: range, past: list[_Past], feats: dict[int, Arrays]) -> list[_Past]:
        """Run a branch over frames, adding to ``feats``; returns its last two results, the latest last."""
        graph = self.graphs[f"propagate_{branch}"]
        for i in order:
            memory = {port.name: self._remember(port, i, past) for port in graph.spec.inputs if _is_memory(port)}
            feat = call(graph, {"frame": self._frames[i], **feats[i], **memory})[branch]
            feats[i][branch] = feat
            past = [*past[-1:], _Past(i, feat)]
        return past

    def _remember(self, port: Port, i: int, past: list[_Past]) -> np.ndarray:
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
        if "encode" not in self.graphs:
            return {}
        if i not in self._encoded:
            self._encoded[i] = call(self.graphs["encode"], {"frame": self._frames[i]})
        return self._encoded[i]

    def _flow(self, i: int, neighbour: int) -> np.ndarray:
        """Return the flow from frame ``i`` to a neighbour, computed once."""
        pair = (i, neighbour)
        if pair not in self._flows:
            values = {"frame": self._frames[i], "neighbour": self._frames[neighbour]}
            self._flows[pair] = call(self.graphs["flow"], values)["flow"]
        return self._flows[pair]

    def _forget_before(self, index: int) -> None:
        """Drop what no later call needs: it looks back one frame, and two for flows."""
        self._start = index
        self._frames = {i: frame for i, frame in self._frames.items() if i >= index - 1}
        self._encoded = {i: feat for i, feat in self._encoded.items() if i >= index}
        self._flows = {pair: flow for pair, flow in self._flows.items() if min(pair) >= index - 2}
