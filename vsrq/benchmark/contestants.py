"""Who takes part in the comparison: each takes uint8 frames and returns uint8 frames four times larger."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from vsrq.benchmark.bundles import Workshop
from vsrq.deploy.backend import get_backend
from vsrq.deploy.bundle import Bundle
from vsrq.deploy.driver import StepGraph
from vsrq.deploy.plan import StepSpec
from vsrq.models.checkpoint import read_state_dict
from vsrq.models.edvr import window_indices
from vsrq.runtime import Upscaler


@dataclass(frozen=True)
class Contestant:
    """One way to run the network.

    Attributes:
        name: As users write it.
        label: As tables show it.
        needs: What :meth:`vsrq.benchmark.bundles.Workshop.prepare` makes for it.
        options: Of the backend; for mmagic's network: ``channels_last``, ``bf16``.
    """

    name: str
    label: str
    needs: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_bundle(self) -> bool:
        """Whether vsrq's runtime drives step graphs."""
        return self.needs != "weights"


REFERENCE = "mmagic"
OURS, CODED = "vsrq", "vsrq-codes"
CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(REFERENCE, "mmagic, PyTorch fp32", "weights"),
        Contestant("mmagic-channels-last", "mmagic, PyTorch fp32 channels last", "weights", {"channels_last": True}),
        Contestant("mmagic-bf16", "mmagic, PyTorch bf16 autocast", "weights", {"bf16": True}),
        Contestant("onnxruntime", "ONNX Runtime fp32", "onnxruntime-fp32"),
        Contestant("openvino", "OpenVINO fp32", "openvino-fp32"),
        Contestant("openvino-bf16", "OpenVINO bf16", "openvino-fp32", {"precision": "bf16"}),
        Contestant("nncf", "NNCF int8, OpenVINO", "openvino-nncf"),
        Contestant(OURS, "vsrq int8 (W8A8), OpenVINO", "openvino-w8a8"),
        Contestant(CODED, "vsrq int8, shortcuts in codes, OpenVINO", "openvino-w8a8-codes"),
    )
}


class Running(Protocol):
    """A contestant that is ready to run."""

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Upscale frames (h, w, 3), uint8."""


class MMagicNetwork:
    """mmagic's own class, a whole clip at a time, as its users run it.

    Args:
        workshop: Where the weights lie.
        threads: Of PyTorch.
        channels_last: Lay the weights out channels last.
        bf16: Run under autocast to bfloat16.
    """

    def __init__(self, workshop: Workshop, threads: int, *, channels_last: bool = False, bf16: bool = False) -> None:
        from mmagic.models import editors

        torch.set_num_threads(threads)
        config = workshop.subject.generator
        self._net = getattr(editors, config.pop("type"))(**config).eval()
        self._net.load_state_dict(read_state_dict(workshop.weights))
        if channels_last:
            self._net.to(memory_format=torch.channels_last)
        self._window = workshop.subject.network == "edvr"
        self._bf16 = bf16

    @torch.no_grad()
    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Upscale a clip; it is read to its end first."""
        clip = torch.from_numpy(np.stack(list(frames))).permute(0, 3, 1, 2).float().div_(255)[None]
        autocast = partial(torch.autocast, "cpu", torch.bfloat16) if self._bf16 else contextlib.nullcontext
        with autocast():
            outputs: Iterable[torch.Tensor] = self._windows(clip) if self._window else self._net(clip)[0]
            for output in outputs:
                frame = output.float().clamp(0, 1).mul(255).round().to(torch.uint8)
                yield frame.permute(1, 2, 0).contiguous().numpy()

    def _windows(self, clip: torch.Tensor) -> Iterator[torch.Tensor]:
        count = clip.shape[1]
        for i in range(count):
            yield self._net(clip[:, window_indices(i, count)])[0]


@dataclass
class StepTime:
    """Calls of a step so far, and what they took."""

    calls: int = 0
    seconds: float = 0.0


class StepGraphs:
    """A bundle under vsrq's runtime that notes how long it takes to load, and how long each step runs.

    Args:
        workshop: Where the bundle lies.
        kind: Of the bundle.
        threads: Of the backend.
        options: Of the backend, besides.

    Attributes:
        plan: Of the bundle.
        load_seconds: To read, compile and fix the graphs to a size, the last time.
        times: Of the steps since the start or :meth:`restart`.
        kernels: With the option ``profile``: milliseconds by step, layer, kernel, and whether it is an integer one.
    """

    def __init__(self, workshop: Workshop, kind: str, threads: int, options: Mapping[str, Any]) -> None:
        self._bundle = Bundle(workshop.bundle(kind))
        self._options = dict(options)
        self.plan = self._bundle.plan
        self.load_seconds = 0.0
        self._upscaler = Upscaler(self, threads=threads)
        self.restart()

    def restart(self) -> None:
        """Forget the times."""
        self.times: dict[str, StepTime] = defaultdict(StepTime)
        self.kernels: dict[tuple[str, str, str, bool], float] = defaultdict(float)

    def load(self, height: int, width: int, **options: Any) -> dict[str, StepGraph]:
        """Return the graphs; called by the runtime."""
        start = time.perf_counter()
        graphs = self._bundle.load(height, width, **{**self._options, **options})
        self.load_seconds = time.perf_counter() - start
        return {name: _Timed(graph, self) for name, graph in graphs.items()}

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Upscale a stream."""
        return self._upscaler.stream(frames)

    def note(self, graph: StepGraph, seconds: float) -> None:
        """Add a call of a step."""
        entry = self.times[graph.spec.name]
        entry.calls += 1
        entry.seconds += seconds
        if self._options.get("profile"):
            for kernel in get_backend(self._bundle.manifest.backend).kernels(graph):
                self.kernels[kernel.step, kernel.node, kernel.kernel, kernel.integer] += kernel.milliseconds


class _Timed:
    """A step whose time is noted."""

    def __init__(self, graph: StepGraph, owner: StepGraphs) -> None:
        self.spec: StepSpec = graph.spec
        self._graph, self._owner = graph, owner

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        start = time.perf_counter()
        outputs = self._graph(inputs)
        self._owner.note(self._graph, time.perf_counter() - start)
        return outputs


def start(contestant: Contestant, workshop: Workshop, threads: int, **options: Any) -> Running:
    """Return a contestant, ready to run.

    Args:
        contestant: Who.
        workshop: Where what it needs has been made.
        threads: How many threads it may use.
        **options: Added to its own.
    """
    own = {**contestant.options, **options}
    if contestant.is_bundle:
        return StepGraphs(workshop, contestant.needs, threads, own)
    return MMagicNetwork(workshop, threads, **own)
