"""The highest rate of 8-bit multiplications that this machine reaches: the yardstick for integer kernels."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

_ROWS, _COLUMNS, _DEPTHS = 4096, 1024, (512, 1024, 2048)


def int8_peak(threads: int, *, repeats: int = 7) -> float:
    """Return the median rate of OpenVINO's best 8-bit matrix product, in multiply-accumulates per second.

    Codes go in and codes come out, as between the layers of a quantized network. The best of several shapes counts.
    """
    import openvino as ov
    from openvino import opset13 as ops

    from vsrq.deploy.openvino_core import core

    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    rng = np.random.default_rng(0)
    best = 0.0
    for depth in _DEPTHS:
        codes = ops.parameter([_ROWS, depth], np.uint8)
        weights = rng.integers(-127, 128, (depth, _COLUMNS)).astype(np.float32)
        left = _quantized(ops, ops.convert(codes, np.float32), 0, 255)
        right = _quantized(ops, ops.constant(weights), -128, 127)
        product = ops.matmul(left, right, False, False)
        result = ops.convert(_quantized(ops, product, 0, 2**20, 0, 255), np.uint8)
        request = core().compile_model(ov.Model([result], [codes], "peak"), "CPU", properties).create_infer_request()
        data = rng.integers(0, 256, (_ROWS, depth)).astype(np.uint8)
        seconds = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            request.infer([data])
            seconds.append(time.perf_counter() - start)
        best = max(best, _ROWS * _COLUMNS * depth / statistics.median(seconds[1:]))
    return best


def _quantized(
    ops: Any, values: Any, low: float, high: float, code_low: float | None = None, code_high: float | None = None
) -> Any:
    outputs = (low if code_low is None else code_low, high if code_high is None else code_high)
    return ops.fake_quantize(values, *(np.float32(x) for x in (low, high, *outputs)), 256)
