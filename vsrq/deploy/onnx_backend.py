"""The ONNX Runtime backend: standard ONNX files with QuantizeLinear and DequantizeLinear, DeformConv and GridSample."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch

from vsrq.cores import core_count
from vsrq.deploy import onnx_passes
from vsrq.deploy.backend import Kernel
from vsrq.deploy.onnx_translate import TRACED_OPSET, translate
from vsrq.deploy.plan import StepSpec
from vsrq.deploy.step import Step, example_inputs
from vsrq.errors import CheckpointError, ConfigError, check_keys

_OPTIONS = ("opset_version", "decompose_deform_conv", "threads")
_DEFAULT_OPSET = 21
_INT4_OPSET = 21
_OPSETS = range(19, 24)
_FLOATING = ("Conv", "FusedConv", "MatMul", "FusedMatMul", "Gemm", "DeformConv", "NhwcFusedConv")
_INTEGER = ("QLinearConv", "ConvInteger", "MatMulInteger", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat")


class ONNXRuntimeBackend:
    """See :class:`vsrq.deploy.backend.Backend`.

    Options:
        opset_version: Of the files, 19 to 23; default 21, the first in which 4-bit weights are stored packed.
        decompose_deform_conv: Write deformable convolutions as GridSample and MatMul, for runtimes without DeformConv.
        threads: Default: all cores the process may use.
    """

    name = "onnxruntime"
    suffix = ".onnx"
    batches = False

    def export(
        self, step: Step, path: Path, *, height: int, width: int, dynamic: bool, options: Mapping[str, Any]
    ) -> None:
        """Translate a step and write the graph with its weights as integers where they are quantized."""
        check_options(options)
        opset = options.get("opset_version", _DEFAULT_OPSET)
        inputs = example_inputs(step.spec, height, width, torch.Generator().manual_seed(0))
        decompose = options.get("decompose_deform_conv", False)
        model = translate(step, inputs, dynamic=dynamic, decompose=decompose)
        onnx_passes.standard_quantizers(model, pack=opset >= _INT4_OPSET)
        onnx_passes.name_nodes(model)
        onnx_passes.set_opset(model, TRACED_OPSET, opset)
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto, full_check=True)
        onnx.save_model(proto, path)

    def load(
        self, path: Path, spec: StepSpec, *, height: int, width: int, options: Mapping[str, Any], batch: int = 1
    ) -> ONNXGraph:
        """Make a session; it takes the size of its first frames, one at a time."""
        check_options(options)
        if batch != 1:
            raise ConfigError(f"graphs of onnxruntime take one frame at a time, got batch={batch}; use openvino.")
        try:
            model = ir.load(path)
            onnx_passes.unpack_weights(model)
            onnx_passes.multiply_integers(model)
            return ONNXGraph(model, spec, options)
        except CheckpointError:
            raise
        except Exception as error:  # onnx, protobuf and onnxruntime have no common class of errors
            raise CheckpointError(f"{path}: ONNX Runtime cannot read it; export the bundle again. ({error})") from error

    def kernels(self, graph: ONNXGraph) -> list[Kernel]:
        """Return how convolutions and matrix products ran; needs the option ``profile``."""
        return graph.kernels()


class ONNXGraph:
    """A session for a step; see :class:`vsrq.deploy.driver.StepGraph`.

    Args:
        model: The graph.
        spec: Signature of the step.
        options: See :class:`ONNXRuntimeBackend`, and ``profile``.
    """

    def __init__(self, model: ir.Model, spec: StepSpec, options: Mapping[str, Any]) -> None:
        self.spec = spec
        # a convolution moved to a blocked layout is renamed after its output
        self._renamed = {f"{value.name}_nchwc": str(node.name) for node in model.graph for value in node.outputs}
        self._profile: tempfile.TemporaryDirectory[str] | None = None
        settings = _session_options(options)
        if options.get("profile", False):
            self._profile = tempfile.TemporaryDirectory(prefix="vsrq-profile-")
            settings.enable_profiling = True
            settings.profile_file_prefix = str(Path(self._profile.name) / "ort")
        content = ir.to_proto(model).SerializeToString()
        self._session = ort.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        self._taken = {value.name for value in self._session.get_inputs()}

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the step."""
        values = {
            port.name: np.ascontiguousarray(array)
            for port, array in zip(self.spec.inputs, inputs, strict=True)
            if port.name in self._taken
        }
        return self._session.run([port.name for port in self.spec.outputs], values)

    def kernels(self) -> list[Kernel]:
        """Return the multiplying nodes of the last call; the profile ends with it."""
        if self._profile is None:
            return []
        found: dict[str, Kernel] = {}
        events = json.loads(Path(self._session.end_profiling()).read_text("utf-8"))
        for event in events:
            kind = event.get("args", {}).get("op_name", "")
            if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
                continue
            if kind not in (*_FLOATING, *_INTEGER):
                continue
            node = event["name"].removesuffix("_kernel_time")
            node = self._renamed.get(node, node)
            found[node] = Kernel(self.spec.name, node.split("/")[0], kind, kind, kind in _INTEGER, event["dur"] / 1000)
        self._profile.cleanup()
        self._profile = None
        return list(found.values())


def check_options(options: Mapping[str, Any]) -> None:
    """Check the options of the backend.

    Raises:
        ConfigError: A key is unknown or a value is not allowed.
    """
    check_keys(options, [*_OPTIONS, "profile"], "backend_config of onnxruntime")
    opset = options.get("opset_version", _DEFAULT_OPSET)
    if type(opset) is not int or opset not in _OPSETS:
        raise ConfigError(f"opset_version must be {_OPSETS[0]} to {_OPSETS[-1]} (DeformConv needs 19), got {opset!r}.")
    decompose = options.get("decompose_deform_conv", False)
    if not isinstance(decompose, bool):
        raise ConfigError(f"decompose_deform_conv must be True or False, got {decompose!r}.")
    threads = options.get("threads")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ConfigError(f"threads must be a positive number, got {threads!r}; leave it out for all cores.")


def _session_options(options: Mapping[str, Any]) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.intra_op_num_threads = options.get("threads") or core_count()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    # without VNNI, sums of unsigned times signed bytes would saturate
    settings.add_session_config_entry("session.x64quantprecision", "1")
    return settings
