import numpy as np
import torch

from tests.deploy.nets import float_net, quantized_net
from vsrq.deploy.step import example_inputs
from vsrq.deploy.torch_backend import TorchSteps


def test_a_graph_is_its_step():
    steps = TorchSteps(float_net("edvr"))
    graph = steps.load(64, 64)["encode"]
    inputs = example_inputs(graph.spec, 64, 64, torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = steps.load(8, 8)["encode"]([x.numpy() for x in inputs])
    for a, b in zip(graph([x.numpy() for x in inputs]), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_inputs_stay_and_results_belong_to_the_caller():
    """Networks activate in place: neither inputs nor earlier results may change by it."""
    steps = TorchSteps(quantized_net("edvr", 8))
    for graph in steps.load(64, 64).values():
        inputs = [x.numpy() for x in example_inputs(graph.spec, 64, 64, torch.Generator().manual_seed(0))]
        kept = [array.copy() for array in inputs]
        first = graph(inputs)
        copies = [array.copy() for array in first]
        graph([2 * array for array in inputs])
        for array, copy in zip([*inputs, *first], [*kept, *copies], strict=True):
            np.testing.assert_array_equal(array, copy)


def test_the_network_is_evaluated_and_not_trained():
    net = float_net("basicvsr").train()
    TorchSteps(net)
    assert not net.training
