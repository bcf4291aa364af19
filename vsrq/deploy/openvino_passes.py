"""Rewrites of OpenVINO graphs that change no result and save time or space."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_BYTE_LEVELS = 256


def unpack_weights(model: ov.Model) -> int:
    """Turn weights of half a byte into bytes, on which alone the integer kernels work.

    The converter stores quantized weights in the smallest integers that hold them.

    Returns:
        How many were turned.
    """
    nibbles = [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Constant" and node.get_element_type() in (ov.Type.i4, ov.Type.u4)
    ]
    for node in nibbles:
        shape = list(node.get_output_shape(0))
        pairs = node.get_data().view(np.uint8).reshape(-1, 1) >> np.array([0, 4], np.uint8)  # the lower half first
        codes = (pairs & 15).reshape(-1)[: int(np.prod(shape))].reshape(shape)
        if node.get_element_type() == ov.Type.i4:
            codes = (codes ^ 8).astype(np.int8) - 8  # extends the sign
        _replace(node, ops.constant(codes))
    return len(nibbles)


def slice_codes(model: ov.Model) -> int:
    """Take parts of a quantized weight from its codes, so that what multiplies is still codes times scales.

    Returns:
        How many slices were moved.
    """
    moved = 0
    for part in [node for node in model.get_ordered_ops() if node.get_type_name() == "Slice"]:
        product = part.input_value(0).get_node()
        if product.get_type_name() != "Multiply":
            continue
        convert, scale = (product.input_value(i).get_node() for i in (0, 1))
        if convert.get_type_name() != "Convert" or _constant(convert, 0) is None or _constant(product, 1) is None:
            continue
        axes = _constant(part, 4)
        if axes is None or any(scale.get_output_shape(0)[axis] != 1 for axis in axes.reshape(-1)):
            continue
        codes = ops.slice(convert.input_value(0), *part.input_values()[1:])
        _replace(part, ops.multiply(ops.convert(codes, np.float32), scale))
        moved += 1
    return moved


def widen_grids(model: ov.Model) -> int:
    """Write the grids of activations below 8 bit as parts of 8-bit grids of the same step.

    OpenVINO multiplies integers only where a tensor has 256 levels. Clipping to the narrow range first leaves the
    codes, and the values, as they were.

    Returns:
        How many were widened.
    """
    widened = 0
    for node in _quantizers(model):
        low, high = (_constant(node, i) for i in (1, 2))
        levels = node.get_attributes()["levels"]
        if levels >= _BYTE_LEVELS - 1 or _constant(node, 0) is not None or low is None or high is None or low.size != 1:
            continue
        step = (high - low) / (levels - 1)
        clipped = ops.clamp(node.input_value(0), float(low.reshape(-1)[0]), float(high.reshape(-1)[0]))
        ends = [ops.constant(end.astype(np.float32)) for end in (low, low + (_BYTE_LEVELS - 1) * step)]
        _replace(node, ops.fake_quantize(clipped, *ends, *ends, _BYTE_LEVELS))
        widened += 1
    if widened:
        model.validate_nodes_and_infer_types()
    return widened


def _quantizers(model: ov.Model) -> list[ov.Node]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]


def _constant(node: ov.Node, index: int) -> np.ndarray | None:
    source = node.input_value(index).get_node()
    return source.get_data() if source.get_type_name() == "Constant" else None


def _replace(old: ov.Node, new: ov.Node) -> None:
    new.set_friendly_name(old.get_friendly_name())
    for reader in old.output(0).get_target_inputs():
        reader.replace_source_output(new.output(0))
