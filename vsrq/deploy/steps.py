"""The steps of each network as modules with named tensors in and out, ready to be traced.

A step has no branches in time: what a recurrent network does differently at the first frames of a clip is expressed
by memories of zeros and, where zeros would not do, by gates that are 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vsrq.deploy.plan import Plan, Port, StepSpec
from vsrq.errors import ConfigError
from vsrq.models.basicvsr import BasicVSRNet, PreviousFrame
from vsrq.models.basicvsr_plusplus import BasicVSRPlusPlusNet
from vsrq.models.edvr import EDVRNet, Pyramid

_FRAME, _NEIGHBOUR = Port("frame", 3), Port("neighbour", 3)


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
    """

    def __init__(self, net: nn.Module, spec: StepSpec, run: Callable[..., Any]):
        super().__init__()
        self.net = net
        self.spec = spec
        self._run = run

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the step."""
        return self._run(*inputs)


def cut(net: nn.Module) -> Steps:
    """Cut a network into steps.

    Args:
        net: A step-wise network of vsrq, float or quantized.

    Raises:
        ConfigError: There is no plan for its class, or for how it is configured.
    """
    for kind, plan in _CUTTERS.items():
        if isinstance(net, kind):
            return plan(net)
    allowed = ", ".join(kind.__name__ for kind in _CUTTERS)
    raise ConfigError(f"{type(net).__name__} cannot be exported; allowed: {allowed}.")


def _basicvsr(net: BasicVSRNet) -> Steps:
    c = net.mid_channels
    memory = (Port("feat_1", c), Port("flow_1", 2))
    steps = [Step(net, StepSpec("flow", (_FRAME, _NEIGHBOUR), (Port("flow", 2),)), net.flow)]
    for branch in net.branches:

        def propagate(frame: Tensor, feat: Tensor, flow: Tensor, branch: str = branch) -> Tensor:
            return net.propagate(branch, frame, PreviousFrame(feat, flow))

        spec = StepSpec(f"propagate_{branch}", (_FRAME, *memory), (Port(branch, c),))
        steps.append(Step(net, spec, propagate))
    feats = tuple(Port(branch, c) for branch in net.branches)
    spec = StepSpec("reconstruct", (*feats, _FRAME), (Port("hr", 3, "4"),))
    steps.append(Step(net, spec, lambda *x: net.reconstruct(x[:-1], x[-1])))
    return _steps(net, steps, kind="recurrent", branches=tuple(net.branches))


def _basicvsr_plusplus(net: BasicVSRPlusPlusNet) -> Steps:
    if not net.is_low_res_input:
        raise ConfigError("BasicVSRPlusPlusNet with is_low_res_input=False cannot be exported yet; only x4 can.")
    c = net.mid_channels
    memory = tuple(Port(f"{name}_{i}", size) for i in (1, 2) for name, size in (("feat", c), ("flow", 2)))
    gates = (Port("gate_1", 1, "0"), Port("gate_2", 1, "0"))
    steps = [
        Step(net, StepSpec("flow", (_FRAME, _NEIGHBOUR), (Port("flow", 2),)), net.flow),
        Step(net, StepSpec("encode", (_FRAME,), (Port("encoded", c),)), net.encode),
    ]
    feats = [Port("encoded", c)]
    for branch in net.branches:

        def propagate(*x: Tensor, branch: str = branch) -> Tensor:
            *feats, feat_1, flow_1, feat_2, flow_2, gate_1, gate_2 = x
            reach = net.chain_flows(flow_1, flow_2) * gate_2
            aligned = net.align(branch, feats[0], feat_1, flow_1, feat_2, reach) * gate_1
            return net.refine(branch, feats, aligned)

        spec = StepSpec(f"propagate_{branch}", (*feats, *memory, *gates), (Port(branch, c),))
        steps.append(Step(net, spec, propagate))
        feats.append(Port(branch, c))
    spec = StepSpec("reconstruct", (*feats, _FRAME), (Port("hr", 3, "4"),))
    steps.append(Step(net, spec, lambda *x: net.reconstruct(x[:-1], x[-1])))
    return _steps(net, steps, kind="recurrent", branches=tuple(net.branches), minimum=64)


def _edvr(net: EDVRNet) -> Steps:
    c = net.conv_first.out_channels
    levels = [("l1", "1"), ("l2", "1/2"), ("l3", "1/4")]
    pyramid = tuple(Port(name, c, size) for name, size in levels)
    both = tuple(Port(f"{who}_{name}", c, size) for who in ("neighbour", "reference") for name, size in levels)
    aligned = tuple(Port(f"aligned_{slot}", c) for slot in range(net.num_frames))
    frame = Port("frame", net.in_channels)
    steps = [
        Step(net, StepSpec("encode", (frame,), pyramid), net.encode),
        Step(
            net,
            StepSpec("align", both, (Port("aligned", c),)),
            lambda *x: net.align(Pyramid(*x[:3]), Pyramid(*x[3:])),
        ),
        Step(
            net,
            StepSpec("reconstruct", (*aligned, frame), (Port("hr", 3, "4"),)),
            lambda *x: net.reconstruct(net.fuse(x[:-1]), x[-1]),
        ),
    ]
    window = dict(num_frames=net.num_frames, centre=net.center_frame_idx)
    return _steps(net, steps, kind="window", multiple=4, **window)


def _steps(net: Any, steps: list[Step], *, kind: Any, multiple: int = 1, minimum: int = 1, **more: Any) -> Steps:
    plan = Plan(
        kind=kind,
        architecture=type(net).__name__,
        scale=net.scale,
        multiple=multiple,
        minimum=minimum,
        steps=tuple(step.spec for step in steps),
        **more,
    )
    return Steps(plan, {step.spec.name: step for step in steps})


_CUTTERS: dict[type[nn.Module], Callable[[Any], Steps]] = {
    BasicVSRNet: _basicvsr,
    BasicVSRPlusPlusNet: _basicvsr_plusplus,
    EDVRNet: _edvr,
}


def example_inputs(spec: StepSpec, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Return random tensors of the right shapes: frames in [0, 1], flows of about a pixel, gates of 1."""
    tensors = []
    for port in spec.inputs:
        shape = port.shape(height, width)
        if port.size == "0":
            tensors.append(torch.ones(shape))
        elif port.name in ("frame", "neighbour"):
            tensors.append(torch.rand(shape, generator=generator))
        else:
            scale = 1.0 if port.name.startswith("flow") else 0.1
            tensors.append(scale * torch.randn(shape, generator=generator))
    return tuple(tensors)
