"""Steps that run in PyTorch: the reference the graphs are compared with, on any device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from vsrq.deploy.driver import StepGraph
from vsrq.deploy.plan import Plan, StepSpec
from vsrq.deploy.step import Step
from vsrq.deploy.steps import cut


class TorchSteps:
    """The steps of a network in memory, with the interface of a :class:`vsrq.deploy.bundle.Bundle`.

    Args:
        net: A step-wise network, float or quantized and calibrated; set to evaluation mode.
    """

    batches = True

    def __init__(self, net: nn.Module) -> None:
        self.plan: Plan
        self.plan, self._modules = cut(net.eval())

    def load(self, height: int, width: int, **options: object) -> dict[str, StepGraph]:
        """Return the steps; they take frames of any size."""
        return {name: TorchGraph(step) for name, step in self._modules.items()}

    def load_step(self, name: str, height: int, width: int, *, batch: int = 1, **options: object) -> StepGraph:
        """Return one step; it takes any number of frames of any size."""
        return TorchGraph(self._modules[name])


class TorchGraph:
    """One step; see :class:`vsrq.deploy.driver.StepGraph`."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.spec: StepSpec = step.spec
        self._device = next(step.net.parameters()).device

    @torch.no_grad()
    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the step."""
        outputs = self._step(*(torch.from_numpy(array).to(self._device) for array in inputs))
        tensors = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        # in-place activations may have left two results in one storage
        return [tensor.cpu().contiguous().numpy() for tensor in tensors]
