"""Receptive fields hold what perturbations reach, and are not much larger."""

import pytest
import torch

from tests.deploy.nets import float_net
from vsrq.deploy.receptive import count_cost, receptive_fields
from vsrq.deploy.step import example_inputs
from vsrq.deploy.steps import cut

_SIZE = 64


def reach(step, port):
    """Return how far a change of the middle pixel of an input is seen, in pixels of the frame."""
    inputs = list(example_inputs(step.spec, _SIZE, _SIZE, torch.Generator().manual_seed(0)))
    inputs = [
        torch.zeros_like(x) if p.name.startswith("flow") else x for x, p in zip(inputs, step.spec.inputs, strict=True)
    ]
    index = [p.name for p in step.spec.inputs].index(port.name)
    middle = int(_SIZE // 2 * port.ratio)
    changed = [x.clone() for x in inputs]
    changed[index][..., middle, middle] += 5.0
    farthest = 0
    results = [step(*x) for x in (inputs, changed)]
    for before, after, output in zip(
        *([r] if isinstance(r, torch.Tensor) else r for r in results), step.spec.outputs, strict=True
    ):
        rows, columns = (before != after).any(1)[0].nonzero(as_tuple=True)
        for place in (rows, columns):
            if len(place):
                low, high = (int(v) / output.ratio for v in (place.min(), place.max()))
                farthest = max(farthest, _SIZE // 2 - low, high - _SIZE // 2)
    return float(farthest)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("basicvsr", "propagate_forward"),
        ("basicvsr", "reconstruct"),
        ("basicvsr_pp", "encode"),
        ("basicvsr_pp", "propagate_backward_1"),
        ("edvr", "encode"),
        ("edvr", "reference"),
        ("edvr", "reconstruct"),
    ],
)
@torch.no_grad()
def test_no_change_is_seen_beyond_the_receptive_field(name, step):
    module = cut(float_net(name)).modules[step]
    field = module.spec.receptive_field
    found = max(reach(module, port) for port in module.spec.inputs if port.ratio)
    assert found <= field
    assert found >= field / 4  # weights are small far out, and float32 loses what they let through


def test_what_may_see_everything_has_no_field():
    assert "flow" not in receptive_fields(float_net("basicvsr"))
    assert "align" not in receptive_fields(float_net("edvr"))


def test_multiplications_and_bit_operations_per_pixel():
    plan, modules = cut(float_net("basicvsr"))
    c = 4
    steps = count_cost(plan, modules).steps
    macs = {step.name: step.macs for step in steps}
    assert {step.name: step.bops for step in steps} == {name: 1024 * count for name, count in macs.items()}
    assert macs["propagate_forward"] == 9 * ((c + 3) * c + 2 * c * c)
    assert macs["reconstruct"] == 2 * c * c + 9 * (c * 4 * c + 4 * c * 256 + 16 * 64 * 64 + 16 * 64 * 3)
