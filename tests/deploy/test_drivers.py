"""The drivers over steps in PyTorch: the same as the networks themselves, in stretches too."""

import numpy as np
import pytest
import torch

from tests.deploy.nets import NAMES, clip, float_net
from vsrq.deploy.driver import make_driver
from vsrq.deploy.parity import run_graphs
from vsrq.deploy.torch_backend import TorchSteps


@pytest.fixture(scope="module", params=NAMES)
def net(request):
    return float_net(request.param)


def moving(frames, height=64, width=64):
    return clip(frames, size=max(height, width))[0][..., :height, :width]


def drive(net, frames, stretch, lookahead, graphs=None):
    """Upscale frames (t, 3, h, w) in stretches of equal length."""
    steps = TorchSteps(net)
    height, width = frames.shape[-2:]
    driver = make_driver(steps.plan, graphs or steps.load(height, width), lookahead=lookahead)
    arrays, outputs = [frame[None].numpy() for frame in frames], []
    while arrays:
        more = len(arrays) > stretch + driver.lookahead
        count = stretch if more else len(arrays)
        seen = count + driver.lookahead if more else count
        outputs += driver.run(arrays[:seen], count)
        arrays = arrays[count:]
    return torch.from_numpy(np.concatenate(outputs))


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 64, 64), (2, 33, 50), (3, 70, 66), (7, 30, 65)])
def test_driven_steps_equal_the_network(net, frames, height, width):
    """Clips of one frame on, sizes below 64 and no multiple of 4; BasicVSR++ with its gates closed at first."""
    x = moving(frames, height, width)
    steps = TorchSteps(net)
    with torch.no_grad():
        expected = net.upscale(x[None])[0]
    actual = run_graphs(steps.plan, steps.load(*steps.plan.padded(height, width)), x)
    assert actual.shape == expected.shape == (frames, 3, 4 * height, 4 * width)
    assert (actual - expected).abs().max() <= 1e-5


def test_windows_in_stretches_equal_the_whole_clip_exactly():
    net, x = float_net("edvr"), moving(8)
    whole = drive(net, x, stretch=8, lookahead=0)
    for stretch in (1, 3, 5):
        assert torch.equal(drive(net, x, stretch=stretch, lookahead=0), whole)


@pytest.mark.parametrize("name", ["basicvsr", "basicvsr_pp"])
def test_forward_branches_see_the_whole_past(name):
    """With the rest of the clip ahead, a stretch ends where it may: nothing changes."""
    net, x = float_net(name), moving(6)
    whole = drive(net, x, stretch=6, lookahead=0)
    steps = TorchSteps(net)
    arrays = [frame[None].numpy() for frame in x]
    for borders in ([1, 6], [2, 3, 6], [4, 6]):
        driver = make_driver(steps.plan, steps.load(64, 64), lookahead=9)
        outputs, start = [], 0
        for stop in borders:
            outputs += driver.run(arrays[start:], stop - start)
            start = stop
        assert torch.equal(torch.from_numpy(np.concatenate(outputs)), whole)


def test_only_the_frames_before_a_border_are_touched_by_it():
    """BasicVSR: the backward branch starts anew beyond the lookahead; its error fades with the distance."""
    net, x = float_net("basicvsr"), moving(9)
    whole = drive(net, x, stretch=9, lookahead=0)
    parts = drive(net, x, stretch=4, lookahead=2)
    error = (parts - whole).abs().flatten(1).amax(1)
    assert error[3] > 0  # the border between frames 3 and 4 does cost something
    assert (error[4 + 4 :] == 0).all()  # the last frame is beyond any border
    nearer = (drive(net, x, stretch=4, lookahead=0) - whole).abs().flatten(1).amax(1)
    assert nearer[3] > error[3]


def test_reset_forgets_the_scene(net):
    a, b = moving(3), moving(3).flip(-1)
    steps = TorchSteps(net)
    driver = make_driver(steps.plan, steps.load(64, 64), lookahead=0)

    def run(x):
        return np.concatenate(list(driver.run([frame[None].numpy() for frame in x], len(x))))

    alone = run(b)
    driver.reset()
    run(a)
    driver.reset()
    np.testing.assert_array_equal(run(b), alone)


def test_each_flow_and_each_encoding_is_computed_once(net):
    steps, x = TorchSteps(net), moving(7)
    graphs, counts = steps.load(64, 64), {}

    def counted(name, graph):
        def call(inputs):
            counts[name] = counts.get(name, 0) + 1
            return graph(inputs)

        call.spec = graph.spec
        return call

    counting = {name: counted(name, graph) for name, graph in graphs.items()}
    drive(net, x, stretch=3, lookahead=2, graphs=counting)
    assert counts["reconstruct"] == 7
    assert counts.get("encode", 7) == 7
    assert counts.get("flow", 12) == 12  # six neighbours, both directions
