"""Which toolkits there are, and what each is asked for; a toolkit is imported when it is used."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from vsrq.errors import MissingDependencyError

INSTALL = 'pip install "vsrq[baselines]"'


@dataclass(frozen=True)
class Quantized:
    """A network that a toolkit has quantized.

    Attributes:
        upscale: Takes frames (t, 3, h, w) in [0, 1] and returns (t, 3, scale * h, scale * w), not clipped.
        layers: Names of the layers of the network whose weights and inputs are quantized; ``None`` if unknown.
    """

    upscale: Callable[[Tensor], Tensor]
    layers: frozenset[str] | None


@dataclass(frozen=True)
class Toolkit:
    """A toolkit.

    Attributes:
        name: As users write it and tables show it.
        packages: What has to be installed, the toolkit itself first.
        module: In this package; its ``quantize(net, clips, folder)`` does what :meth:`quantize` says.
        recipe: How it is configured: weights, range of the activations, what stays float.
    """

    name: str
    packages: tuple[str, ...]
    module: str
    recipe: str

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [package for package in self.packages if importlib.util.find_spec(package) is None]

    def versions(self) -> dict[str, str]:
        """Return the version of each package."""
        return {package: importlib.metadata.version(package) for package in self.packages}

    def quantize(self, net: nn.Module, clips: list[Tensor], folder: Path) -> Quantized:
        """Quantize a network at 8 bit.

        Args:
            net: A float step-wise network in evaluation mode; it may be changed.
            clips: Clips (t, 3, h, w) in [0, 1] to calibrate on.
            folder: Where files may be left.

        Raises:
            MissingDependencyError: It is not installed.
            Exception: Whatever the toolkit raises for a network it cannot take.
        """
        missing = self.missing()
        if missing:
            raise MissingDependencyError(f"{self.name} needs {', '.join(missing)}, not installed: {INSTALL}")
        return importlib.import_module(f"{__package__}.{self.module}").quantize(net, clips, folder)


TOOLKITS = {
    toolkit.name: toolkit
    for toolkit in (
        Toolkit(
            "torchao",
            ("torchao",),
            "pt2e",
            "PT2E on the exported step graphs with X86InductorQuantizer at its defaults (the XNNPACK quantizer is no "
            "part of torchao). Convolutions: weights symmetric per channel, min-max; inputs affine per tensor, "
            "histogram observer. Float: what lies between convolutions, deformable convolutions",
        ),
        Toolkit(
            "Brevitas",
            ("brevitas",),
            "brevitas_layers",
            "each nn.Conv2d swapped for QuantConv2d. Weights symmetric per channel, largest value "
            "(Int8WeightPerChannelFloat); inputs affine per tensor, 99.999th percentile at each end "
            "(ShiftedUint8ActPerTensorFloat). Float: biases, deformable convolutions, EDVR's convolutions in parts",
        ),
        Toolkit(
            "NNCF",
            ("nncf", "openvino"),
            "nncf_graphs",
            "nncf.quantize at its defaults on the OpenVINO step graphs, which run in OpenVINO. Weights symmetric per "
            "channel, largest value; inputs symmetric per tensor, averaged extremes; fast bias correction. Quantizes "
            "some inputs of other operations too. Float: deformable convolutions",
        ),
    )
}
