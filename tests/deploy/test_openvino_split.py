import numpy as np
import pytest

ov = pytest.importorskip("openvino")

from openvino import opset8 as ops  # noqa: E402

from vsrq.deploy.openvino_core import core  # noqa: E402
from vsrq.deploy.openvino_split import split_sliced_convolutions  # noqa: E402

RNG = np.random.default_rng(0)


def constant(*shape):
    return ops.constant(RNG.standard_normal(shape).astype(np.float32))


def float_weight():
    return constant(9, 4, 3, 3)


def fake_quantized_weight():
    low, high = (
        np.full((9, 1, 1, 1), value, np.float32) * np.arange(1, 10).reshape(9, 1, 1, 1) for value in (-0.2, 0.2)
    )
    bounds = [ops.constant(bound.astype(np.float32)) for bound in (low, high, low, high)]
    return ops.fake_quantize(constant(9, 4, 3, 3), *bounds, 255)


def stored_weight(kind):
    low, high = (0, 16) if kind == ov.Type.u4 else (-8, 8)
    codes = ops.constant(RNG.integers(low, high, (9, 4, 3, 3)).astype(np.int8), dtype=kind)
    shifted = ops.subtract(ops.convert(codes, "f32"), ops.constant(np.float32(2)))
    return ops.multiply(shifted, constant(9, 1, 1, 1))


WEIGHTS = {
    "float": float_weight,
    "fake quantized": fake_quantized_weight,
    "int8": lambda: stored_weight(ov.Type.i8),
    "int4": lambda: stored_weight(ov.Type.i4),
    "uint4": lambda: stored_weight(ov.Type.u4),
}


def part(node, start, stop):
    indices = [ops.constant(np.array([value], np.int64)) for value in (start, stop, 1, 1)]
    return ops.slice(node, *indices)


def network(weight, ranges, *, bias=True, also_whole=False):
    x = ops.parameter([1, 4, -1, -1], np.float32)
    out = ops.convolution(x, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    if bias:
        out = ops.add(out, constant(1, 9, 1, 1))
    results = [ops.tanh(part(out, *limits)) for limits in ranges]
    return ov.Model([*results, *([ops.relu(out)] if also_whole else [])], [x], "network")


def run(model):
    x = np.random.default_rng(1).standard_normal((1, 4, 6, 5)).astype(np.float32)
    return list(core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x).values())


def convolutions(model):
    return [node for node in model.get_ops() if node.get_type_name() == "Convolution"]


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("bias", [True, False])
def test_split_results_are_the_same(name, bias):
    model = network(WEIGHTS[name](), [(0, 6), (6, 2**63 - 1)], bias=bias)
    before = run(model)
    assert split_sliced_convolutions(model) == 1
    assert sorted(node.get_output_partial_shape(0)[1].get_length() for node in convolutions(model)) == [3, 6]
    for expected, actual in zip(before, run(model), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_stored_integers_stay_integers():
    model = network(stored_weight(ov.Type.i4), [(0, 6), (6, 9)])
    split_sliced_convolutions(model)
    kinds = [node.get_element_type() for node in model.get_ops() if node.get_type_name() == "Constant"]
    assert kinds.count(ov.Type.i4) == 2


def test_channels_nobody_reads_are_not_computed():
    model = network(float_weight(), [(1, 3), (-2, 9)])
    before = run(model)
    assert split_sliced_convolutions(model) == 1
    assert [node.get_output_partial_shape(0)[1].get_length() for node in convolutions(model)] == [2, 2]
    for expected, actual in zip(before, run(model), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("ranges", "also_whole"), [([(0, 6), (5, 9)], False), ([(0, 6), (6, 9)], True), ([(0, 6)], False)]
)
def test_left_alone(ranges, also_whole):
    model = network(float_weight(), ranges, also_whole=also_whole)
    assert split_sliced_convolutions(model) == 0
    assert len(convolutions(model)) == 1
