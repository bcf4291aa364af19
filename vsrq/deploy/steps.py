"""The steps of each network as modules with named tensors in and out, ready to be traced.

A step has no branches in time: what a recurrent network does differently at the first frames of a clip is expressed
by memories of zeros and, where zeros would not do, by gates that are 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from vsrq.deploy.plan import Plan, Port, StepSpec
from vsrq.deploy.receptive import with_fields
from vsrq.deploy.states import with_states
from vsrq.deploy.step import Step, Steps
from vsrq.errors import ConfigError
from vsrq.models.basicvsr import BasicVSRNet, PreviousFrame
from vsrq.models.basicvsr_plusplus import BasicVSRPlusPlusNet
from vsrq.models.edvr import EDVRNet, Pyramid, ReferenceOffsets

_FRAME, _NEIGHBOUR = Port("frame", 3), Port("neighbour", 3)
_FLOW = StepSpec("flow", (_FRAME, _NEIGHBOUR), (Port("flow", 2),), multiple=32)  # of SPyNet's pyramid


def cut(net: nn.Module) -> Steps:
    """Cut a network into steps.

    Args:
        net: A step-wise network of vsrq, float or quantized.

    Raises:
        ConfigError: There is no plan for its class, or for how it is configured.
        CalibrationError: It has residual layers that are not calibrated.
    """
    if getattr(net, "bit_policy", None) is not None:
        raise ConfigError(
            "a policy chooses the bits of every frame, which no graph can; export a network of fixed bits without "
            "policy=dict(...) and policy=True."
        )
    for kind, cutter in _CUTTERS.items():
        if isinstance(net, kind):
            return with_fields(net, with_states(cutter(net)))
    allowed = ", ".join(kind.__name__ for kind in _CUTTERS)
    raise ConfigError(f"{type(net).__name__} cannot be exported; allowed: {allowed}.")


def _basicvsr(net: BasicVSRNet) -> Steps:
    c = net.mid_channels
    memory = (Port("feat_1", c), Port("flow_1", 2))
    steps = [Step(net, _FLOW, net.flow)]
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
        Step(net, _FLOW, net.flow),
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
        steps.append(Step(net, spec, propagate, late=(f"deform_align.{branch}.*",)))
        feats.append(Port(branch, c))
    spec = StepSpec("reconstruct", (*feats, _FRAME), (Port("hr", 3, "4"),))
    steps.append(Step(net, spec, lambda *x: net.reconstruct(x[:-1], x[-1])))
    return _steps(net, steps, kind="recurrent", branches=tuple(net.branches), minimum=64)


def _edvr(net: EDVRNet) -> Steps:
    c = net.conv_first.out_channels
    levels = [("l1", "1"), ("l2", "1/2"), ("l3", "1/4")]
    pyramid = tuple(Port(name, c, size) for name, size in levels)
    offsets = tuple(Port(f"offsets_{name}", c, size) for name, size in (*levels, ("cascade", "1")))
    aligned = tuple(Port(f"aligned_{slot}", c) for slot in range(net.num_frames))
    frame = Port("frame", net.in_channels)

    def align(*x: Tensor) -> Tensor:
        neighbour = Pyramid(*x[:3])  # stands in for the reference, of which the offsets are known
        return net.align(neighbour, neighbour, ReferenceOffsets(*x[3:]))

    steps = [
        Step(net, StepSpec("encode", (frame,), pyramid), net.encode),
        Step(net, StepSpec("reference", pyramid, offsets), lambda *x: net.reference_offsets(Pyramid(*x))),
        Step(net, StepSpec("align", (*pyramid, *offsets), (Port("aligned", c),)), align),
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
