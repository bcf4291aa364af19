from types import SimpleNamespace

import torch

from vsrq.engine import ChannelsLastHook
from vsrq.models import BasicVSRNet


def test_layout_changes_and_numbers_do_not():
    net = BasicVSRNet(mid_channels=4, num_blocks=1).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    clip = torch.rand(1, 2, 3, 16, 16)
    with torch.no_grad():
        expected = net.upscale(clip)
        ChannelsLastHook().before_run(SimpleNamespace(model=net))
        torch.testing.assert_close(net.upscale(clip), expected, atol=1e-5, rtol=1e-5)
    assert net.conv_hr.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
