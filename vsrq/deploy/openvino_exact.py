"""Keeps results right on CPUs whose 8-bit kernels overflow.

Without VNNI (AVX2, older AVX-512) a kernel adds two products of unsigned and signed bytes in 16 bits and clips the sum:
a result may then be off by any amount, with no error and no warning. Weights of at most 7 bits cannot reach the limit.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from vsrq.deploy.openvino_core import core

_LARGEST_SUM = 2**15 - 1
_LARGEST_CODE = 255  # of an activation; signed ones are shifted by 128 for such kernels
_CHANNELS = 64


@lru_cache(maxsize=1)
def sums_overflow() -> bool:
    """Whether this machine's 8-bit kernels clip sums of two products, found by trying."""
    x = ops.parameter([1, _CHANNELS, 8, 8], ov.Type.f32)
    codes = ops.fake_quantize(x, *_scalars(0, _LARGEST_CODE), *_scalars(0, _LARGEST_CODE), 256)
    weight = ops.multiply(
        ops.convert(ops.constant(np.full((_CHANNELS, _CHANNELS, 1, 1), 127, np.int8)), np.float32),
        ops.constant(np.ones((_CHANNELS, 1, 1, 1), np.float32)),
    )
    model = ov.Model([_convolution(codes, weight)], [x])
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    largest = np.full((1, _CHANNELS, 8, 8), _LARGEST_CODE, np.float32)
    found = next(iter(core().compile_model(model, "CPU", options)(largest).values()))
    return not np.allclose(found, _CHANNELS * 127 * _LARGEST_CODE)


def multiply_floats(model: ov.Model) -> list[str]:
    """Give convolutions that may overflow float weights of the same values; what they multiply stays on its grid.

    The two largest weights that could meet in one sum decide, whatever order the kernel takes them in.

    Returns:
        Names of the convolutions.
    """
    changed = []
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        codes = _codes(node.input_value(1))
        if codes is None or _largest_pair(codes) * _LARGEST_CODE <= _LARGEST_SUM:
            continue
        node.input(1).replace_source_output(ops.constant(_evaluate(node.input_value(1))).output(0))
        changed.append(node.get_friendly_name())
    return changed


def _largest_pair(codes: np.ndarray) -> int:
    """Return the largest sum of two weights of one sign that one output adds at one tap; codes (..., in, h, w)."""
    wide = codes.astype(np.int32)
    sums = [np.sort(np.maximum(sign * wide, 0), axis=-3)[..., -2:, :, :].sum(axis=-3).max() for sign in (1, -1)]
    return int(max(sums))


def _codes(output: ov.Output) -> np.ndarray | None:
    """Return the stored bytes a weight is computed from, ``None`` for a float weight."""
    node = output.get_node()
    while node.get_input_size():
        node = node.input_value(0).get_node()
    quantized = node.get_type_name() == "Constant" and node.get_element_type() in (ov.Type.i8, ov.Type.u8)
    return node.get_data() if quantized and node is not output.get_node() else None


def _evaluate(output: ov.Output) -> np.ndarray:
    """Return the value of what depends on constants alone."""
    compiled = core().compile_model(ov.Model([output], []), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return next(iter(compiled([]).values())).copy()


def _convolution(x: ov.Node, weight: ov.Node) -> ov.Node:
    return ops.convolution(x, weight, [1, 1], [0, 0], [0, 0], [1, 1])


def _scalars(*values: float) -> list[ov.Node]:
    return [ops.constant(np.float32(value)) for value in values]
