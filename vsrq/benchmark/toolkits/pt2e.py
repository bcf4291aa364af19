"""torchao PT2E: every step is exported with open frame sizes, observed and converted; the driver runs the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vsrq.benchmark.bundles import record_inputs
from vsrq.benchmark.toolkits.toolkit import Quantized
from vsrq.deploy import parity
from vsrq.deploy.driver import StepGraph
from vsrq.deploy.export import exportable
from vsrq.deploy.plan import StepSpec
from vsrq.deploy.step import Step
from vsrq.deploy.steps import cut
from vsrq.deploy.torch_backend import TorchSteps


@torch.no_grad()
def quantize(net: nn.Module, clips: list[Tensor], folder: Path) -> Quantized:
    """Export, calibrate and convert the steps; see :meth:`vsrq.benchmark.toolkits.Toolkit.quantize`."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    recorded = record_inputs(TorchSteps(net), clips)
    plan, steps = cut(net)
    graphs: dict[str, StepGraph] = {}
    layers: set[str] = set()
    with exportable(net):
        for name, step in steps.items():
            samples = [tuple(map(torch.from_numpy, arrays)) for arrays in recorded[name]]
            quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
            observed = prepare_pt2e(_exported(step, samples[0]), quantizer)
            for inputs in samples:
                observed(*inputs)
            converted = convert_pt2e(observed)
            layers.update(_quantized_layers(converted))
            graphs[name] = _Graph(step.spec, converted)
    return Quantized(lambda clip: parity.run_graphs(plan, graphs, clip), frozenset(layers))


def _exported(step: Step, inputs: tuple[Tensor, ...]) -> nn.Module:
    """Return a step as a graph whose height and width are open: clips to calibrate on and to score differ in size."""
    dynamic = torch.export.Dim.DYNAMIC
    shapes: Any = tuple({} if port.size == "0" else {2: dynamic, 3: dynamic} for port in step.spec.inputs)
    # the step takes *inputs, one argument of which this is the only entry
    return torch.export.export(step, inputs, dynamic_shapes=(shapes,)).module()


def _quantized_layers(graph: Any) -> set[str]:
    """Return the names of the convolutions whose input and weight are dequantized right before."""
    names = set()
    for node in graph.graph.nodes:
        if "conv2d" in str(node.target) and all("dequantize" in str(arg.target) for arg in node.args[:2]):
            modules = list(node.meta.get("nn_module_stack", {}).values())
            names.add(modules[-1][0].removeprefix("net."))
    return names


class _Graph:
    """A converted step; see :class:`vsrq.deploy.driver.StepGraph`."""

    def __init__(self, spec: StepSpec, function: Callable[..., Any]) -> None:
        self.spec = spec
        self._function = function

    @torch.no_grad()
    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the step."""
        outputs = self._function(*map(torch.from_numpy, inputs))
        tensors = [outputs] if isinstance(outputs, Tensor) else outputs
        return [tensor.contiguous().numpy() for tensor in tensors]
