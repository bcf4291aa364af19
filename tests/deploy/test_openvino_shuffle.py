"""Pixel shuffles of OpenVINO graphs: moved, reordered, with the same result."""

import numpy as np
import pytest

ov = pytest.importorskip("openvino")

from openvino import opset13 as ops  # noqa: E402

from vsrq.deploy.openvino_core import core  # noqa: E402
from vsrq.deploy.openvino_shuffle import shuffle_codes, shuffle_runs  # noqa: E402

RNG = np.random.default_rng(0)


def scalars(*values):
    return [ops.constant(np.float32(value)) for value in values]


def graph(*, quantized=True, bias=True, mode="depth_first", read_twice=False):
    """Convolution to 12 channels, [bias], shuffle to 3 channels of twice the size, activation, [quantizer]."""
    x = ops.parameter([1, 4, 6, 5], ov.Type.f32)
    codes = RNG.integers(-7, 8, (12, 4, 3, 3)).astype(np.int8)
    scale = RNG.uniform(0.01, 0.1, (12, 1, 1, 1)).astype(np.float32)
    weight = ops.multiply(ops.convert(ops.constant(codes), np.float32), ops.constant(scale))
    y = ops.convolution(x, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    if bias:
        y = ops.add(y, ops.constant(RNG.normal(size=(1, 12, 1, 1)).astype(np.float32)))
    z = ops.depth_to_space(y, mode, 2)
    z = ops.prelu(z, *scalars(0.1))
    if quantized:
        ends = scalars(-0.5, 2.0)
        z = ops.fake_quantize(z, *ends, *ends, 256)
    results = [ops.relu(z), *([ops.abs(y)] if read_twice else [])]
    return ov.Model(results, [x])


def run(model):
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(np.random.default_rng(1).normal(size=(1, 4, 6, 5)).astype(np.float32))[0]


def shuffles(model):
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "DepthToSpace"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("quantized", [True, False])
def test_runs_change_the_order_of_channels_and_not_the_result(quantized, bias):
    model = graph(quantized=quantized, bias=bias)
    before = run(model)
    assert shuffle_codes(model) == int(quantized)
    assert shuffle_runs(model) == 1
    (shuffle,) = shuffles(model)
    assert shuffle.get_attributes()["mode"] == "blocks_first"
    np.testing.assert_allclose(run(model), before, atol=1e-5)


def test_codes_are_moved_behind_the_quantizer():
    model = graph()
    before = run(model)
    assert shuffle_codes(model) == 1
    (shuffle,) = shuffles(model)
    assert shuffle.input_value(0).get_node().get_type_name() == "FakeQuantize"
    np.testing.assert_allclose(run(model), before, atol=1e-5)


@pytest.mark.parametrize("settings", [dict(mode="blocks_first"), dict(read_twice=True)])
def test_what_cannot_be_reordered_stays(settings):
    model = graph(**settings)
    before = run(model)
    assert shuffle_runs(model) == 0
    np.testing.assert_allclose(run(model), before, atol=1e-5)
