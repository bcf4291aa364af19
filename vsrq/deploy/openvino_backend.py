"""The OpenVINO backend: graphs straight from PyTorch, 8-bit kernels on a CPU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from mmengine import print_log
from openvino import opset13 as ops

from vsrq.cores import core_count
from vsrq.deploy.array_pool import ArrayPool
from vsrq.deploy.backend import Kernel
from vsrq.deploy.openvino_core import core
from vsrq.deploy.openvino_deform import accelerate
from vsrq.deploy.openvino_exact import multiply_floats, sums_overflow
from vsrq.deploy.openvino_passes import slice_codes, unpack_weights, widen_grids
from vsrq.deploy.openvino_shuffle import shuffle_codes, shuffle_runs
from vsrq.deploy.plan import Port, StepSpec
from vsrq.errors import CheckpointError, ConfigError, check_keys

if TYPE_CHECKING:
    from openvino.frontend.pytorch import ConversionExtension

    from vsrq.deploy.step import Step

_OPTIONS = ("precision", "threads")
_PRECISIONS = ("f32", "bf16")
# "Reference" is the operator of vsrq.deploy.openvino_deform
_MULTIPLYING = ("Convolution", "GroupConvolution", "FullyConnected", "MatMul", "DeformableConvolution", "Reference")


class OpenVINOBackend:
    """See :class:`vsrq.deploy.backend.Backend`.

    Options:
        precision: Of what is not quantized: ``'f32'`` (default) or ``'bf16'``. On CPUs with bfloat16 OpenVINO would
            choose it by itself, which costs more than 8-bit quantization does (about 9 dB of agreement with
            PyTorch in BasicVSR).
        threads: Default: all cores the process may use.
    """

    name = "openvino"
    suffix = ".xml"
    batches = True

    def export(
        self, step: Step, path: Path, *, height: int, width: int, dynamic: bool, options: Mapping[str, Any]
    ) -> None:
        """Trace a step, convert it and write the graph with its weights as integers where they are quantized."""
        _properties(options)  # a wrong option fails before the work
        import torch  # what has been exported runs without it

        from vsrq.deploy.step import example_inputs

        inputs = example_inputs(step.spec, height, width, torch.Generator().manual_seed(0))
        shapes = [ov.PartialShape(_shape(port, height, width, dynamic=dynamic)) for port in step.spec.inputs]
        with torch.no_grad():
            # unchecked: what is recorded differs in rounding from what runs, and the exporter compares both on a clip
            traced = torch.jit.trace(step, tuple(inputs), strict=False, check_trace=False)
            model = ov.convert_model(traced, example_input=inputs, input=shapes, extension=_extensions())
        for port, node in zip(step.spec.inputs, model.inputs, strict=True):
            node.set_names({port.name})
        for port, node in zip(step.spec.outputs, model.outputs, strict=True):
            node.set_names({port.name})
        widen_grids(model)
        shuffle_codes(model)
        shuffle_runs(model)
        ov.save_model(model, path, compress_to_fp16=False)

    def load(
        self, path: Path, spec: StepSpec, *, height: int, width: int, options: Mapping[str, Any], batch: int = 1
    ) -> OpenVINOGraph:
        """Compile a graph for frames of one size."""
        properties = _properties(options)
        model = _read(path)
        model.reshape({i: port.shape(height, width, batch) for i, port in enumerate(spec.inputs)})
        unpack_weights(model)
        slice_codes(model)
        if sums_overflow() and multiply_floats(model):
            _report_overflow()
        accelerate(model, options.get("threads"))
        return OpenVINOGraph(core().compile_model(model, "CPU", properties), spec)

    def kernels(self, graph: OpenVINOGraph) -> list[Kernel]:
        """Return how convolutions and matrix products ran in the last call; needs the option ``profile``."""
        return graph.kernels()


class OpenVINOGraph:
    """A compiled step; see :class:`vsrq.deploy.driver.StepGraph`.

    Attributes:
        pool: Where the results come from.
    """

    def __init__(self, compiled: ov.CompiledModel, spec: StepSpec) -> None:
        self.spec = spec
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()  # a request serves one call at a time
        self.pool = ArrayPool()
        self._shapes = [tuple(output.shape) for output in compiled.outputs]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the step; inputs are read and outputs written in place, without copies."""
        ports = zip(self._shapes, self.spec.outputs, strict=True)
        outputs = [self.pool.empty(shape, port.dtype) for shape, port in ports]
        arrays = [np.ascontiguousarray(array) for array in inputs]  # OpenVINO's tensors do not keep them alive
        with self._lock:
            for index, array in enumerate(arrays):
                self._request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
            for index, array in enumerate(outputs):
                self._request.set_output_tensor(index, ov.Tensor(array, shared_memory=True))
            self._request.infer()
        return outputs

    def kernels(self) -> list[Kernel]:
        """Return the multiplying nodes of the last call."""
        found = []
        for node in self._request.get_profiling_info():
            if node.node_type not in _MULTIPLYING or node.exec_type in ("undef", ""):
                continue
            milliseconds = node.real_time.total_seconds() * 1e3
            integer = node.exec_type.endswith("I8")
            found.append(
                Kernel(self.spec.name, _layer(node.node_name), node.node_type, node.exec_type, integer, milliseconds)
            )
        return found


def _layer(node: str) -> str:
    """Return the name of the layer a node was traced from."""
    return node.split("/")[0].removeprefix("__module.net.")


def _shape(port: Port, height: int, width: int, *, dynamic: bool) -> list[int]:
    shape = list(port.shape(height, width))
    return [*shape[:2], -1, -1] if dynamic and port.size != "0" else shape


def _read(path: Path) -> ov.Model:
    try:
        return core().read_model(path)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: OpenVINO cannot read it; export the bundle again. ({error})") from error


def _properties(options: Mapping[str, Any]) -> dict[str, Any]:
    check_keys(options, [*_OPTIONS, "profile"], "backend_config of openvino")
    precision = options.get("precision", "f32")
    if precision not in _PRECISIONS:
        raise ConfigError(f"precision must be one of {', '.join(_PRECISIONS)}, got {precision!r}.")
    threads = options.get("threads")
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        raise ConfigError(f"threads must be 1 or more, or None for all cores, got {threads!r}.")
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads or core_count(),
        "PERFORMANCE_HINT": "LATENCY",
        "PERF_COUNT": bool(options.get("profile", False)),
    }


@lru_cache(maxsize=1)
def _report_overflow() -> None:
    print_log(
        "this CPU has no VNNI: products of 8-bit weights overflow in its integer kernels, so the layers concerned run "
        "in float32, with the same results but slower. Weights of 7 bits or less run in integers here.",
        logger="current",
        level=logging.WARNING,
    )


def _pixel_shuffle(context: Any) -> list[ov.Output]:
    """Translate the shuffle into its one node; the converter's own translation hides it in reshapes."""
    block = context.get_values_from_const_input(1)
    return [ops.depth_to_space(context.get_input(0), "depth_first", int(block)).output(0)]


def _extensions() -> list[ConversionExtension]:
    from openvino.frontend.pytorch import ConversionExtension

    from vsrq.ops.deform_conv_export import openvino_extension

    return [ConversionExtension("aten::pixel_shuffle", _pixel_shuffle), openvino_extension()]
