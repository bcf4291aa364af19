"""NNCF: the OpenVINO step graphs are quantized, the driver runs the results in OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vsrq.benchmark.bundles import quantize_by_nncf
from vsrq.benchmark.toolkits.toolkit import Quantized
from vsrq.deploy import parity
from vsrq.deploy.bundle import Bundle
from vsrq.deploy.export import export

_MODULE = "__module.net."  # with which OpenVINO names what a layer of the network became


def quantize(net: nn.Module, clips: list[Tensor], folder: Path) -> Quantized:
    """Export and quantize the steps; see :meth:`vsrq.benchmark.toolkits.Toolkit.quantize`."""
    export(net, folder / "nncf-float", clips[0], overwrite=True)
    quantize_by_nncf(Bundle(folder / "nncf-float"), clips, folder / "nncf-int8")
    bundle = Bundle(folder / "nncf-int8")

    def upscale(clip: Tensor) -> Tensor:
        size = bundle.plan.padded(*clip.shape[-2:])
        return parity.run_graphs(bundle.plan, bundle.load(*size), clip)

    return Quantized(upscale, _quantized_layers(bundle))


def _quantized_layers(bundle: Bundle) -> frozenset[str] | None:
    """Return the names of the convolutions whose input is quantized; ``None`` if one has no name of a layer."""
    from vsrq.deploy.openvino_core import core

    names = set()
    for step in bundle.plan.steps:
        for node in core().read_model(bundle.graph_file(step.name)).get_ops():
            if node.get_type_name() in ("Convolution", "GroupConvolution") and _is_quantized(node):
                name = node.get_friendly_name()
                if not name.startswith(_MODULE):
                    return None
                names.add(name.removeprefix(_MODULE).partition("/")[0])
    return frozenset(names)


def _is_quantized(node: Any) -> bool:
    return node.input_value(0).get_node().get_type_name() == "FakeQuantize"
