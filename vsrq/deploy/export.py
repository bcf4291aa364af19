"""Exporting a network: write its graphs, compare them with PyTorch, keep them only if they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vsrq.deploy import parity
from vsrq.deploy.backend import Kernel, get_backend
from vsrq.deploy.bundle import Manifest, checksums, new_folder, write_manifest
from vsrq.deploy.parity import Parity
from vsrq.deploy.receptive import count_cost
from vsrq.deploy.steps import cut
from vsrq.errors import CalibrationError, CheckpointError, ConfigError
from vsrq.models.deform import DeformConv2d
from vsrq.models.depth import skipped_layers
from vsrq.ops import deform_conv_export
from vsrq.quant import NF4Layer, QuantDeformConv2d, QuantLayer
from vsrq.quant.calibratable import calibratables
from vsrq.quant.lora import LoRA
from vsrq.quant.quantizer import FLOAT_BITS

# The trace must not see a size by which it could mistake one axis for another, nor one that hides a padding.
_TRACE_SIZE = (72, 88)


@dataclass(frozen=True)
class ExportReport:
    """What an export found.

    Attributes:
        path: The bundle.
        parity: Agreement with PyTorch.
        kernels: How the multiplying nodes ran; empty if the backend does not tell.
    """

    path: Path
    parity: Parity
    kernels: list[Kernel]

    def not_integer(self) -> list[Kernel]:
        """Return the convolutions and matrix products that ran in floating point."""
        return [kernel for kernel in self.kernels if not kernel.integer]


@torch.no_grad()
def export(
    net: nn.Module,
    path: str | Path,
    clip: Tensor,
    *,
    backend: str = "openvino",
    size: tuple[int, int] | None = None,
    backend_config: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write a bundle.

    Args:
        net: A step-wise network, float or quantized and calibrated.
        path: Folder of the bundle; it appears when everything is done and checked.
        clip: Real frames (t, 3, h, w) in [0, 1] on which graphs and PyTorch are compared.
        backend: ``'openvino'`` or ``'onnxruntime'``.
        size: Height and width of frames to fix the graphs to; ``None`` keeps them open.
        backend_config: Options of the backend.
        overwrite: Replace a bundle at ``path``.

    Raises:
        ConfigError: The network or an option is not one that can be exported.
        CalibrationError: A quantizer has no range.
        CheckpointError: The graphs do not compute what PyTorch computes; nothing is written.
        MissingDependencyError: The backend is not installed.
        OutputError: The folder exists or cannot be written.
    """
    _check_merged(net)
    _check_calibrated(net)
    path, options = Path(path), dict(backend_config or {})
    writer = get_backend(backend)
    plan, modules = cut(net)
    training = net.training
    net.eval()
    try:
        if not plan.schedules:  # what is executed is asked of networks that can skip
            plan = count_cost(plan, modules)
        with new_folder(path, overwrite=overwrite) as folder:
            files = {}
            with exportable(net):
                height, width = plan.padded(*(size or _TRACE_SIZE))
                for name, step in modules.items():
                    main = folder / f"{name}{writer.suffix}"
                    writer.export(step, main, height=height, width=width, dynamic=size is None, options=options)
                    files[name] = checksums(main)
            if size is not None:
                clip = _fit(clip, size)
            height, width = plan.padded(*clip.shape[-2:])
            profiled = {**options, "profile": True}
            graphs = {
                name: writer.load(
                    folder / f"{name}{writer.suffix}", step.spec, height=height, width=width, options=profiled
                )
                for name, step in modules.items()
            }
            found = _compare(net, clip, parity.run_graphs(plan, graphs, clip))
            if not found.ok:
                raise CheckpointError(
                    f"the graphs do not compute what PyTorch computes: {found.psnr:.1f} dB between them on "
                    f"{found.frames} frames, {found.required:.0f} dB are required. Nothing was written. "
                    f"backend={backend}, options={options or 'default'}."
                )
            manifest = Manifest(
                backend=backend,
                plan=plan,
                frame_size=None if size is None else plan.padded(*size),
                backend_config=options,
                quantization=_bits(net),
                parity=asdict(found),
                files=files,
            )
            write_manifest(folder, manifest)
            kernels = [kernel for graph in graphs.values() for kernel in writer.kernels(graph)]
    finally:
        net.train(training)
    return ExportReport(path, found, kernels)


def _compare(net: nn.Module, clip: Tensor, output: Tensor) -> Parity:
    reference = net.upscale(clip[None])[0]  # type: ignore[operator]
    size = (clip.shape[-2], clip.shape[-1])
    return Parity(parity.worst_psnr(reference, output), parity.required_db(net), len(clip), size)


def _check_merged(net: nn.Module) -> None:
    for name, module in net.named_modules():
        if isinstance(module, (NF4Layer, LoRA)):
            what = "stores its weight as NF4" if isinstance(module, NF4Layer) else "is a low-rank change"
            raise ConfigError(
                f"{name} {what}, with which no backend computes; merge the network first (tools/merge_lora.py) and "
                "export the result."
            )


def _check_calibrated(net: nn.Module) -> None:
    for name, module in calibratables(net):
        if module.required and not getattr(module, "initialized", True):
            raise CalibrationError(f"{name} is not calibrated; give the checkpoint of a calibrated network.")
        if getattr(module, "dynamic", False) and getattr(module, "bits", FLOAT_BITS) != FLOAT_BITS:
            raise ConfigError(
                f"{name} takes its range from each tensor (dynamic=True), which a graph cannot; calibrate with "
                "dynamic=False."
            )


def _bits(net: nn.Module) -> dict[str, int]:
    unused = set(skipped_layers(net))
    layers = [m for m in net.modules() if isinstance(m, QuantLayer) and m not in unused]
    return dict(Counter(f"W{m.weight_quantizer.bits}A{m.act_quantizer.bits}" for m in layers))


def _fit(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the clip at the size the graphs are fixed to: cropped, or repeated at the border."""
    rows = torch.arange(size[0]).clamp(max=clip.shape[-2] - 1)
    columns = torch.arange(size[1]).clamp(max=clip.shape[-1] - 1)
    return clip[..., rows, :][..., columns]


@contextmanager
def exportable(net: nn.Module) -> Iterator[None]:
    """Let deformable convolutions run as the one operator that converters recognise."""
    layers = [m for m in net.modules() if isinstance(m, (DeformConv2d, QuantDeformConv2d))]
    kept = [layer.op for layer in layers]
    for layer in layers:
        layer.op = deform_conv_export.deform_conv2d
    try:
        yield
    finally:
        for layer, op in zip(layers, kept, strict=True):
            layer.op = op
