"""What a backend offers, and where to find one by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vsrq.deploy.driver import StepGraph
from vsrq.deploy.plan import StepSpec
from vsrq.errors import ConfigError, MissingDependencyError, did_you_mean

if TYPE_CHECKING:
    from vsrq.deploy.step import Step


@dataclass(frozen=True)
class Kernel:
    """How a backend ran one multiplying node.

    Attributes:
        step: Name of the step.
        node: Name of the node, from which the layer can be told.
        kind: Such as ``Convolution``.
        kernel: The backend's name of the implementation.
        integer: Whether it multiplied integers.
        milliseconds: Time of the node in the profiled run.
    """

    step: str
    node: str
    kind: str
    kernel: str
    integer: bool
    milliseconds: float


class Backend(Protocol):
    """A way to store step graphs and to run them.

    Attributes:
        name: As users write it.
        suffix: Of the main file of a graph.
        batches: Whether its graphs take more than one frame at once.
    """

    name: str
    suffix: str
    batches: bool

    def export(
        self, step: Step, path: Path, *, height: int, width: int, dynamic: bool, options: Mapping[str, Any]
    ) -> None:
        """Write a step's graph to ``path`` (and files beside it with the same stem).

        Args:
            step: What to write.
            path: File name with the backend's suffix.
            height: Of the frames the trace sees, in pixels.
            width: Likewise.
            dynamic: Whether the graph must take frames of any size.
            options: The backend's own, from ``backend_config``.
        """

    def load(
        self, path: Path, spec: StepSpec, *, height: int, width: int, options: Mapping[str, Any], batch: int = 1
    ) -> StepGraph:
        """Return a graph, compiled for ``batch`` frames of one size at once."""

    def kernels(self, graph: StepGraph) -> list[Kernel]:
        """Return how the multiplying nodes ran in the last call; empty where the backend does not tell."""


_HOMES = {
    "openvino": ("vsrq.deploy.openvino_backend", "OpenVINOBackend", "openvino"),
    "onnxruntime": ("vsrq.deploy.onnx_backend", "ONNXRuntimeBackend", "onnx"),
}


def get_backend(name: str) -> Backend:
    """Return a backend by name.

    Raises:
        ConfigError: There is no such backend.
        MissingDependencyError: Its package is not installed.
    """
    if name not in _HOMES:
        allowed = ", ".join(_HOMES)
        raise ConfigError(f"unknown backend {name!r}{did_you_mean(name, _HOMES)}; allowed: {allowed}.")
    module, cls, extra = _HOMES[name]
    try:
        return getattr(import_module(module), cls)()
    except ImportError as error:
        raise MissingDependencyError(
            f"the {name} backend needs a package that is not installed ({error.name}): pip install 'vsrq[{extra}]'"
        ) from error
