"""How far each step of a network sees, and what it costs: what skipping has to know of a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vsrq.deploy.plan import Plan, StepSpec
from vsrq.deploy.step import Step, Steps, example_inputs
from vsrq.models.basicvsr import BasicVSRNet
from vsrq.models.basicvsr_plusplus import BasicVSRPlusPlusNet
from vsrq.models.edvr import EDVRNet
from vsrq.quant import cost

_WARP = 1  # bilinear sampling
_TAIL = 3  # convolutions at 1, 2, 4 and 4 times the size, and the bilinearly enlarged frame
_SIZE = (72, 88)  # of the frames on which operations are counted


def receptive_fields(net: nn.Module) -> dict[str, int]:
    """Return how many low-resolution pixels each step sees in every direction, besides what flows add.

    Steps that may see the whole frame are left out: flows come from a pyramid, and EDVR's alignment has offsets
    without a bound.

    Args:
        net: A network that :func:`vsrq.deploy.steps.cut` takes.
    """
    for kind, fields in _FIELDS.items():
        if isinstance(net, kind):
            return fields(net)
    return {}


def with_fields(net: nn.Module, steps: Steps) -> Steps:
    """Return the steps with the receptive fields in their signatures."""
    fields = receptive_fields(net)

    def known(spec: StepSpec) -> StepSpec:
        return replace(spec, receptive_field=fields.get(spec.name.partition("@")[0]))

    for step in steps.modules.values():
        step.spec = known(step.spec)
    return Steps(replace(steps.plan, steps=tuple(map(known, steps.plan.steps))), steps.modules)


@torch.no_grad()
def count_cost(plan: Plan, modules: dict[str, Step]) -> Plan:
    """Return the plan with multiplications and bit operations of each step per pixel; runs every step once."""
    specs = []
    for spec in plan.steps:
        step = modules[spec.name]
        device = next(step.net.parameters()).device
        inputs = [x.to(device) for x in example_inputs(spec, *_SIZE, torch.Generator().manual_seed(0))]
        report = cost.measure(step, torch.empty(1, 1, 3, *_SIZE), run=lambda _: step(*inputs))  # noqa: B023
        pixels = _SIZE[0] * _SIZE[1]
        specs.append(replace(spec, macs=report.macs() / pixels, bops=report.bops() / pixels))
    return replace(plan, steps=tuple(specs))


def _basicvsr(net: BasicVSRNet) -> dict[str, int]:
    trunks = {"backward": net.backward_resblocks, "forward": net.forward_resblocks}
    fields = {f"propagate_{branch}": _WARP + _convolutions(trunk) for branch, trunk in trunks.items()}
    return {**fields, "reconstruct": _TAIL}


def _basicvsr_plusplus(net: BasicVSRPlusPlusNet) -> dict[str, int]:
    # offsets see flows that are themselves warped; samples lie the largest residue and a tap away
    sampled = int(net.max_residue_magnitude) + 1 + _WARP
    fields = {"encode": _convolutions(net.feat_extract)}
    for branch in net.branches:
        offsets = 2 * _WARP + _convolutions(net.deform_align[branch].conv_offset)
        fields[f"propagate_{branch}"] = max(sampled, offsets) + _convolutions(net.backbone[branch])
    return {**fields, "reconstruct": _convolutions(net.reconstruction) + _TAIL}


def _edvr(net: EDVRNet) -> dict[str, int]:
    # a convolution at a half counts twice, at a quarter four times
    levels = 1 + 2 + 2 + 4
    # temporal attention 1; poolings 1 and 2; two convolutions at a quarter 8; enlarging 4 and 2, a convolution 1
    fusion = 1 + (1 + 2) + 8 + (4 + 2 + 1) if net.with_tsa else 0
    return {
        "encode": 1 + _convolutions(net.feature_extraction) + levels,
        "reference": 4,
        "reconstruct": fusion + _convolutions(net.reconstruction) + _TAIL,
    }


def _convolutions(module: nn.Module) -> int:
    """Return how far a chain of convolutions of stride 1 sees."""
    weights: list[Any] = [getattr(layer, "weight", None) for layer in module.modules()]
    return sum((weight.shape[-1] - 1) // 2 for weight in weights if getattr(weight, "ndim", 0) == 4)


_FIELDS: dict[type[nn.Module], Callable[[Any], dict[str, int]]] = {
    BasicVSRNet: _basicvsr,
    BasicVSRPlusPlusNet: _basicvsr_plusplus,
    EDVRNet: _edvr,
}
