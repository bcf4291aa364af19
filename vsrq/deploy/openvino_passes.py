"""Rewrites of OpenVINO graphs that change no result and save time on a CPU."""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as ops

_ELEMENTWISE = ("LeakyRelu", "PRelu", "Relu")


def shuffle_codes(model: ov.Model) -> int:
    """Move every pixel shuffle behind the activation and the quantizer that follow it.

    All three treat each value alike, so their order does not matter, but 8-bit codes are four times smaller than
    floats. Quantizers per channel are left alone, for the shuffle changes what a channel is.

    Returns:
        How many were moved.
    """
    moved = 0
    for shuffle in [node for node in model.get_ordered_ops() if node.get_type_name() == "DepthToSpace"]:
        chain = _chain_to_quantizer(shuffle)
        if chain is None:
            continue
        first, last = chain
        readers = list(last.output(0).get_target_inputs())
        first.input(0).replace_source_output(shuffle.input(0).get_source_output())
        attributes = shuffle.get_attributes()
        later = ops.depth_to_space(last.output(0), attributes["mode"], attributes["block_size"])
        later.set_friendly_name(shuffle.get_friendly_name())
        for reader in readers:
            reader.replace_source_output(later.output(0))
        moved += 1
    if moved:
        model.validate_nodes_and_infer_types()
    return moved


def _chain_to_quantizer(node: ov.Node) -> tuple[ov.Node, ov.Node] | None:
    """Return the first and last node of ``node -> elementwise... -> FakeQuantize``, if that is all there is."""
    first: ov.Node | None = None
    while True:
        readers = list(node.output(0).get_target_inputs())
        if len(readers) != 1 or readers[0].get_index() != 0:
            return None
        node = readers[0].get_node()
        first = first or node
        kind = node.get_type_name()
        scalars = all(_is_scalar(value.get_source_output()) for value in node.inputs()[1:])
        if not scalars or kind not in (*_ELEMENTWISE, "FakeQuantize"):
            return None
        if kind == "FakeQuantize":
            return first, node


def _is_scalar(output: ov.Output) -> bool:
    shape = output.get_partial_shape()
    return shape.is_static and shape.get_min_shape() is not None and _size(shape) == 1


def _size(shape: ov.PartialShape) -> int:
    size = 1
    for dimension in shape:
        size *= dimension.get_length()
    return size
