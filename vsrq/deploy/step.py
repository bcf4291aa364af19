"""One step of a network as a module with named tensors in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vsrq.deploy.plan import Plan, StepSpec


class Steps(NamedTuple):
    """A network cut into steps.

    Attributes:
        plan: Their signatures.
        modules: One module per step; it takes and returns the tensors of its ports in order.
    """

    plan: Plan
    modules: dict[str, Step]


class Step(nn.Module):
    """One step of a network.

    Attributes:
        net: The network; all steps share it.
        spec: Signature.
        late: Patterns of the layers that the network itself does not run at the first call of the step.
    """

    def __init__(self, net: nn.Module, spec: StepSpec, run: Callable[..., Any], late: Sequence[str] = ()):
        super().__init__()
        self.net = net
        self.spec = spec
        self.late = tuple(late)
        self.run = run

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the step."""
        return self.run(*inputs)


def example_inputs(spec: StepSpec, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Return random tensors of the right shapes: frames in [0, 1], flows of about a pixel, gates of 1."""
    tensors = []
    for port in spec.inputs:
        shape = port.shape(height, width)
        if port.size == "0":
            tensors.append(torch.ones(shape))
        elif port.dtype == "uint8":
            tensors.append(torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8))
        elif port.name in ("frame", "neighbour"):
            tensors.append(torch.rand(shape, generator=generator))
        else:
            scale = 1.0 if port.name.startswith("flow") else 0.1
            values = scale * torch.randn(shape, generator=generator)
            tensors.append(values.to(getattr(torch, port.dtype)))
    return tuple(tensors)
