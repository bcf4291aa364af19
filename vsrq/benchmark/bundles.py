"""What the contestants run: weights and step graphs, made once and kept until the code or the network changes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import vsrq
from vsrq.apis.exporting import PARITY_FRAMES
from vsrq.benchmark.networks import Subject, calibration, float_net, quantized_net, source_clip
from vsrq.datasets.clips import to_tensor
from vsrq.deploy.backend import get_backend
from vsrq.deploy.bundle import MANIFEST, Bundle, checksums, new_folder
from vsrq.deploy.driver import StepGraph, make_driver
from vsrq.deploy.export import export
from vsrq.deploy.plan import StepSpec
from vsrq.deploy.step import example_inputs
from vsrq.deploy.steps import cut
from vsrq.errors import MissingDependencyError
from vsrq.models.checkpoint import read_state_dict
from vsrq.quant import cost
from vsrq.quant.rules import first_match
from vsrq.runtime.upscaler import StepSource

_PARITY_SIZE = (96, 128)
_SOURCES = ("models", "ops", "quant", "residual", "deploy", "runtime")


@dataclass(frozen=True)
class LayerMacs:
    """Multiply-accumulates of one call of a step in one layer.

    Attributes:
        step: Name of the step.
        layer: Name of the layer in the network.
        role: What it does there.
        macs: Of one call.
    """

    step: str
    layer: str
    role: str
    macs: int


@dataclass(frozen=True)
class Workshop:
    """The folder where everything for one network lies.

    Attributes:
        subject: The network.
        root: Folder of the benchmark.
        version: Of the code, see :func:`code_version`; taken once, so that it stays the same through a run.
    """

    subject: Subject
    root: Path
    version: str

    @property
    def folder(self) -> Path:
        """Where this version of the network lies."""
        return (
            self.root / "bundles" / f"{self.subject.network}-{_digest(json.dumps(asdict(self.subject)), self.version)}"
        )

    @property
    def weights(self) -> Path:
        """State dict of the float network."""
        return self.folder / "weights.pth"

    def bundle(self, kind: str) -> Path:
        """Folder of a bundle."""
        return self.folder / kind

    def has(self, kind: str) -> bool:
        """Return whether :meth:`prepare` has been here."""
        return (self.weights if kind == "weights" else self.bundle(kind) / MANIFEST).is_file()

    def prepare(self, kind: str) -> None:
        """Make a bundle, or only the weights (``'weights'``), unless it is there.

        Args:
            kind: A key of ``MAKERS``, or ``'weights'``.

        Raises:
            MissingDependencyError: It needs a package that is not installed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.has("weights"):
            partial = self.weights.with_suffix(".partial")
            torch.save(float_net(self.subject).state_dict(), partial)
            os.replace(partial, self.weights)
        if not self.has(kind):
            MAKERS[kind](self)

    def net(self) -> nn.Module:
        """Return the float network."""
        net = float_net(self.subject)
        net.load_state_dict(read_state_dict(self.weights))
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def macs(self, height: int, width: int) -> list[LayerMacs]:
        """Return what each layer multiplies in each step, for frames of a size; counted once."""
        file = self.folder / f"macs-{height}x{width}.json"
        if not file.is_file():
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps([asdict(entry) for entry in count_macs(self.net(), height, width)]), "utf-8")
            os.replace(partial, file)
        return [LayerMacs(**entry) for entry in json.loads(file.read_text("utf-8"))]


def count_macs(net: Any, height: int, width: int) -> list[LayerMacs]:
    """Run every step of a network once and count."""
    plan, modules = cut(net)
    size = plan.padded(height, width)
    counts = []
    for name, step in modules.items():
        inputs = example_inputs(step.spec, *size, torch.Generator().manual_seed(0))
        report = cost.measure(step, torch.empty(1, 1, 3, *size), run=lambda _: step(*inputs))  # noqa: B023
        for layer in report.layers:
            own = layer.name.removeprefix("net.")
            pattern = first_match(own, net.roles)
            counts.append(LayerMacs(name, own, net.roles[pattern] if pattern else "other", layer.macs))
    return counts


def _export_float(workshop: Workshop, backend: str, kind: str) -> None:
    clip = to_tensor(source_clip(workshop.subject, *_PARITY_SIZE)[:PARITY_FRAMES])
    export(workshop.net(), workshop.bundle(kind), clip, backend=backend, overwrite=True)


def _export_quantized(workshop: Workshop, shortcuts: str, kind: str) -> None:
    clip = to_tensor(source_clip(workshop.subject, *_PARITY_SIZE)[:PARITY_FRAMES])
    net = quantized_net(workshop.subject, workshop.weights, shortcuts=shortcuts)
    export(net, workshop.bundle(kind), clip, overwrite=True)


def _export_nncf(workshop: Workshop) -> None:
    workshop.prepare("openvino-fp32")
    bundle = Bundle(workshop.bundle("openvino-fp32"))
    quantize_by_nncf(bundle, calibration(workshop.subject), workshop.bundle("openvino-nncf"))


def quantize_by_nncf(bundle: Bundle, clips: list[torch.Tensor], path: Path) -> None:
    """Quantize the float graphs of a bundle by NNCF with its default settings.

    Args:
        bundle: Float, for OpenVINO.
        clips: Clips (t, 3, h, w) in [0, 1] to calibrate on.
        path: Folder of the new bundle; an existing one is replaced.

    Raises:
        MissingDependencyError: NNCF is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise MissingDependencyError("nncf is not installed: pip install 'vsrq[baselines]'") from error
    import openvino as ov

    from vsrq.deploy.openvino_core import core

    inputs = record_inputs(bundle, clips)
    with new_folder(path, overwrite=True) as folder:
        files = {}
        for step in bundle.plan.steps:
            samples = inputs[step.name]
            model = core().read_model(bundle.graph_file(step.name))
            quantized = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))
            main = folder / f"{step.name}.xml"
            ov.save_model(quantized, main, compress_to_fp16=False)
            files[step.name] = checksums(main)
        manifest = replace(bundle.manifest, quantization={"NNCF int8": len(files)}, parity={}, files=files)
        (folder / MANIFEST).write_text(json.dumps(manifest.to_json(), indent=1), "utf-8")


MAKERS: Mapping[str, Callable[[Workshop], None]] = {
    "openvino-fp32": lambda workshop: _export_float(workshop, "openvino", "openvino-fp32"),
    "onnxruntime-fp32": lambda workshop: _export_float(workshop, "onnxruntime", "onnxruntime-fp32"),
    "openvino-nncf": _export_nncf,
    "openvino-w8a8": lambda workshop: _export_quantized(workshop, "float", "openvino-w8a8"),
    "openvino-w8a8-codes": lambda workshop: _export_quantized(workshop, "codes", "openvino-w8a8-codes"),
}


def record_inputs(bundle: StepSource, clips: list[torch.Tensor]) -> dict[str, list[list[np.ndarray]]]:
    """Return what every step of a bundle or a network in memory is given when clips (t, 3, h, w) run through it."""
    inputs: dict[str, list[list[np.ndarray]]] = {step.name: [] for step in bundle.plan.steps}
    for clip in clips:
        height, width = bundle.plan.padded(*clip.shape[-2:])
        below, right = height - clip.shape[-2], width - clip.shape[-1]
        padded = np.pad(clip.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
        graphs = {name: _Recorder(graph, inputs[name]) for name, graph in bundle.load(height, width).items()}
        driver = make_driver(bundle.plan, graphs, lookahead=0)
        for _ in driver.run([frame[None] for frame in padded], len(padded)):
            pass
    return inputs


class _Recorder:
    """A step that keeps what it is given."""

    def __init__(self, graph: StepGraph, kept: list[list[np.ndarray]]) -> None:
        self.spec: StepSpec = graph.spec
        self._graph, self._kept = graph, kept

    def __call__(self, inputs: Any) -> list[np.ndarray]:
        self._kept.append([np.array(array) for array in inputs])
        return self._graph(inputs)


def require(kind: str) -> None:
    """Raise :class:`MissingDependencyError` unless a bundle of this kind can be made and run here."""
    if kind != "weights":
        get_backend(kind.partition("-")[0])


def code_version() -> str:
    """Return a digest of the code on which results depend."""
    root = Path(vsrq.__file__).parent
    files = sorted(file for room in _SOURCES for file in (root / room).rglob("*.py"))
    return _digest(*(file.read_text("utf-8") for file in files))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
