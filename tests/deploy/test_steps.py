import pytest
import torch
from torch import nn

from tests.deploy.nets import NAMES, float_net
from vsrq.deploy.step import example_inputs
from vsrq.deploy.steps import cut
from vsrq.errors import ConfigError
from vsrq.models import BasicVSRPlusPlusNet


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_every_step_returns_what_its_signature_says(name):
    steps = cut(float_net(name))
    for spec in steps.plan.steps:
        outputs = steps.modules[spec.name](*example_inputs(spec, 64, 72, torch.Generator().manual_seed(0)))
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        assert [tuple(x.shape) for x in outputs] == [port.shape(64, 72) for port in spec.outputs]


def test_the_steps_of_each_network():
    names = {name: [step.name for step in cut(float_net(name)).plan.steps] for name in NAMES}
    assert names == {
        "basicvsr": ["flow", "propagate_backward", "propagate_forward", "reconstruct"],
        "basicvsr_pp": [
            "flow",
            "encode",
            "propagate_backward_1",
            "propagate_forward_1",
            "propagate_backward_2",
            "propagate_forward_2",
            "reconstruct",
        ],
        "edvr": ["encode", "reference", "align", "reconstruct"],
    }


@torch.no_grad()
def test_gates_close_what_lies_before_the_clip():
    """Gate 1 shuts out the alignment, whose biases would speak of frames that are not there; gate 2 the far flow."""
    net = float_net("basicvsr_pp")
    step = cut(net).modules["propagate_backward_1"]
    generator = torch.Generator().manual_seed(3)
    values = dict(zip([p.name for p in step.spec.inputs], example_inputs(step.spec, 64, 64, generator), strict=True))
    closed = torch.zeros(1, 1, 1, 1)
    alone = step(*{**values, "gate_1": closed}.values())
    assert torch.equal(alone, net.propagate("backward_1", [values["encoded"]], None))
    near = step(*{**values, "gate_2": closed, "feat_2": torch.zeros_like(values["feat_2"])}.values())
    from vsrq.models.basicvsr_plusplus import PreviousFrames

    expected = net.propagate("backward_1", [values["encoded"]], PreviousFrames(values["feat_1"], values["flow_1"]))
    assert (near - expected).abs().max() <= 1e-6
    assert not torch.equal(near, step(*values.values()))


def test_what_cannot_be_cut_is_named():
    with pytest.raises(ConfigError, match="Conv2d cannot be exported; allowed: BasicVSRNet, BasicVSRPlusPlusNet, EDV"):
        cut(nn.Conv2d(3, 3, 3))
    with pytest.raises(ConfigError, match="is_low_res_input=False cannot be exported yet; only x4 can"):
        cut(BasicVSRPlusPlusNet(mid_channels=16, num_blocks=1, is_low_res_input=False))
