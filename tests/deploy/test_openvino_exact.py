import numpy as np
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as ops

from tests.deploy.nets import clip, quantized_net
from vsrq.deploy import openvino_backend, openvino_exact
from vsrq.deploy.export import export
from vsrq.deploy.openvino_core import core
from vsrq.deploy.openvino_exact import multiply_floats, sums_overflow


def convolution(codes, scale=0.01):
    """A model that multiplies 8-bit codes of its input by stored integers, as the backend loads it."""
    x = ops.parameter([1, codes.shape[1], 6, 6], ov.Type.f32)
    ends = [ops.constant(np.float32(end)) for end in (0, 255, 0, 255)]
    scales = ops.constant(np.full((codes.shape[0], 1, 1, 1), scale, np.float32))
    weight = ops.multiply(ops.convert(ops.constant(codes.astype(np.int8)), np.float32), scales)
    node = ops.convolution(ops.fake_quantize(x, *ends, 256), weight, [1, 1], [0, 0], [0, 0], [1, 1])
    node.set_friendly_name("layer")
    return ov.Model([node], [x])


def run(model, x):
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return next(iter(core().compile_model(model, "CPU", options)(x).values()))


def weights(*values):
    codes = np.zeros((4, 32, 1, 1), np.int64)
    codes[2, : len(values), 0, 0] = values
    return codes


@pytest.mark.parametrize(
    ("values", "changed"),
    [((127, 1), False), ((127, 2), True), ((-128, 127), False), ((-100, 0, 0, 5, -29), True), ((64, 64, 64), False)],
)
def test_what_may_overflow_gets_float_weights(values, changed):
    model = convolution(weights(*values))
    assert multiply_floats(model) == (["layer"] if changed else [])


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 7), st.integers(0, 2**16))
def test_weights_of_seven_bits_stay_integers(bits, seed):
    codes = np.random.default_rng(seed).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (4, 32, 3, 3))
    assert multiply_floats(convolution(codes)) == []


def test_results_are_exact_on_any_cpu():
    codes = np.random.default_rng(0).integers(60, 128, (16, 64, 3, 3))
    x = np.random.default_rng(1).integers(200, 256, (1, 64, 6, 6)).astype(np.float32)
    model = convolution(codes, scale=1.0)
    if sums_overflow():
        assert multiply_floats(model) == ["layer"]
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(1, 2))
    expected = np.einsum("cyxhw,ochw->oyx", windows, codes)
    np.testing.assert_allclose(run(model, x)[0], expected, rtol=1e-6)


def test_the_probe_agrees_with_a_layer_that_overflows():
    codes = np.full((16, 64, 1, 1), 127)
    x = np.full((1, 64, 6, 6), 255, np.float32)
    right = np.allclose(run(convolution(codes, scale=1.0), x), 64 * 127 * 255)
    assert sums_overflow() == (not right)


def test_float_weights_are_left_alone():
    x = ops.parameter([1, 32, 6, 6], ov.Type.f32)
    weight = ops.constant(np.full((4, 32, 1, 1), 127, np.float32))
    model = ov.Model([ops.convolution(x, weight, [1, 1], [0, 0], [0, 0], [1, 1])], [x])
    assert multiply_floats(model) == []
    assert openvino_exact._codes(ops.constant(np.ones(3, np.int8)).output(0)) is None


def test_parts_of_weights_are_found_for_cpus_that_overflow(tmp_path, monkeypatch):
    """EDVR convolves halves of its input channels; on any machine, their weights must not depend on the input."""
    changed = []

    def watched(model):
        changed.extend(multiply_floats(model))
        return changed

    monkeypatch.setattr(openvino_backend, "sums_overflow", lambda: True)
    monkeypatch.setattr(openvino_backend, "multiply_floats", watched)
    export(quantized_net("edvr", 8), tmp_path / "edvr", clip(2)[0][..., :32, :32], backend_config={"threads": 1})
    assert changed
