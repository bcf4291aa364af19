"""Splits convolutions whose output is only ever read in slices."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from openvino import opset8 as ops


class ChannelSlice(NamedTuple):
    """The channels ``start`` to ``stop`` of ``source``."""

    source: ov.Output
    start: int
    stop: int


def split_sliced_convolutions(model: ov.Model) -> int:
    """Give every slice of a convolution's channels a convolution of its own, and return how many were split.

    The sums are the same, in 8 bits too. A network that computes offsets and mask by one convolution thus gets one for
    each, and OpenVINO makes the activation functions that follow a part of them instead of copying the slices.
    """
    split = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution" and _split(node):
            split += 1
    if split:
        model.validate_nodes_and_infer_types()
    return split


def channel_slice(node: ov.Node) -> ChannelSlice | None:
    """Return what a Slice takes out of the channels, or None for any other node."""
    if node.get_type_name() != "Slice" or node.get_input_size() != 5:
        return None
    source = node.input_value(0)
    values = [node.input_value(i).get_node() for i in range(1, 5)]
    if any(value.get_type_name() != "Constant" or value.get_data().size != 1 for value in values):
        return None
    shape = source.get_partial_shape()
    start, stop, step, axis = (int(value.get_data().reshape(-1)[0]) for value in values)
    if (axis, step) != (1, 1) or shape.rank.is_dynamic or shape[1].is_dynamic:
        return None
    start, stop, _ = slice(start, stop).indices(shape[1].get_length())
    return ChannelSlice(source, start, stop) if start < stop else None


def constant_bias(node: ov.Node) -> tuple[ov.Node, np.ndarray | None]:
    """Return the addition of a constant per channel that alone follows ``node``, and the constant (c,).

    Where there is none: ``node`` itself and None.
    """
    readers = list(node.output(0).get_target_inputs())
    if len(readers) == 1 and readers[0].get_node().get_type_name() == "Add":
        add = readers[0].get_node()
        other = add.input_value(1 - readers[0].get_index()).get_node()
        channels = node.get_output_partial_shape(0)[1]
        if other.get_type_name() == "Constant" and channels.is_static:
            value = other.get_data()
            if value.shape == (1, channels.get_length(), 1, 1):
                return add, value.reshape(-1)
    return node, None


def _split(convolution: ov.Node) -> bool:
    last, bias = constant_bias(convolution)
    readers = [reader.get_node() for reader in last.output(0).get_target_inputs()]
    slices = [channel_slice(reader) for reader in readers]
    if len(slices) < 2 or any(part is None for part in slices):
        return False
    parts = sorted((part.start, part.stop, i) for i, part in enumerate(slices) if part is not None)
    if any(before[1] > after[0] for before, after in itertools.pairwise(parts)):
        return False  # channels that are read twice would be computed twice
    weights = [weight_rows(convolution.input_value(1), np.arange(start, stop)) for start, stop, _ in parts]
    if any(weight is None for weight in weights):
        return False
    settings = convolution.get_attributes()
    for (start, stop, i), weight in zip(parts, weights, strict=True):
        part = ops.convolution(
            convolution.input_value(0),
            weight,
            settings["strides"],
            settings["pads_begin"],
            settings["pads_end"],
            settings["dilations"],
            settings["auto_pad"],
        )
        part.set_friendly_name(f"{convolution.get_friendly_name()}/{start}_{stop}")
        if bias is not None:
            part = ops.add(part, ops.constant(bias[start:stop].reshape(1, -1, 1, 1).copy()))
        for reader in readers[i].output(0).get_target_inputs():
            reader.replace_source_output(part.output(0))
    return True


def weight_rows(output: ov.Output, rows: np.ndarray) -> ov.Output | None:
    """Return the same computation for some output channels of a weight only, in the given order.

    None where a weight is computed otherwise than by dequantizing or fake quantizing a constant.
    """
    node = output.get_node()
    kind = node.get_type_name()
    if kind == "Constant":
        return _constant_rows(node, rows)
    if kind not in ("Convert", "Subtract", "Multiply", "FakeQuantize"):
        return None
    inputs: list[Any] = [weight_rows(value, rows) for value in node.input_values()]
    if any(value is None for value in inputs):
        return None
    if kind == "Convert":
        return ops.convert(inputs[0], node.get_output_element_type(0).get_type_name()).output(0)
    if kind == "Subtract":
        return ops.subtract(*inputs).output(0)
    if kind == "Multiply":
        return ops.multiply(*inputs).output(0)
    return ops.fake_quantize(*inputs, node.get_attributes()["levels"]).output(0)


def _constant_rows(node: ov.Node, rows: np.ndarray) -> ov.Output:
    shape = node.get_output_shape(0)
    if len(shape) == 0 or shape[0] == 1:
        return node.output(0)
    kind = node.get_element_type()
    values = node.get_data(dtype=np.int32 if kind in (ov.Type.i4, ov.Type.u4) else None)
    return ops.constant(values[rows].copy(), dtype=kind).output(0)
