"""Rewrites of OpenVINO graphs around pixel shuffles: bytes are moved, and in long runs."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from vsrq.deploy.openvino_split import weight_rows

_ELEMENTWISE = ("Clamp", "LeakyRelu", "PRelu", "Relu")


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
        last = chain[-1]
        readers = list(last.output(0).get_target_inputs())
        chain[0].input(0).replace_source_output(shuffle.input(0).get_source_output())
        for node in chain:
            node.validate_and_infer_types()  # their shapes are those before the shuffle now
        attributes = shuffle.get_attributes()
        later = ops.depth_to_space(last.output(0), attributes["mode"], attributes["block_size"])
        later.set_friendly_name(shuffle.get_friendly_name())
        for reader in readers:
            reader.replace_source_output(later.output(0))
        moved += 1
    if moved:
        model.validate_nodes_and_infer_types()
    return moved


def _chain_to_quantizer(node: ov.Node) -> list[ov.Node] | None:
    """Return what follows in ``node -> elementwise... -> FakeQuantize``, if that is all there is."""
    chain: list[ov.Node] = []
    while True:
        readers = list(node.output(0).get_target_inputs())
        if len(readers) != 1 or readers[0].get_index() != 0:
            return None
        node = readers[0].get_node()
        chain.append(node)
        kind = node.get_type_name()
        scalars = all(_is_scalar(value.get_source_output()) for value in node.inputs()[1:])
        if not scalars or kind not in (*_ELEMENTWISE, "FakeQuantize"):
            return None
        if kind == "FakeQuantize":
            return chain


def _is_scalar(output: ov.Output) -> bool:
    shape = output.get_partial_shape()
    return shape.is_static and shape.get_min_shape() is not None and _size(shape) == 1


def _size(shape: ov.PartialShape) -> int:
    size = 1
    for dimension in shape:
        size *= dimension.get_length()
    return size


def shuffle_runs(model: ov.Model) -> int:
    """Let every pixel shuffle behind a convolution move runs of all channels of a pixel, not single values.

    Where channels lie innermost, the network's own order interleaves them. The convolution's outputs are put into
    another order for that; they are the same values.

    Returns:
        How many were changed.
    """
    changed = 0
    for shuffle in [node for node in model.get_ordered_ops() if node.get_type_name() == "DepthToSpace"]:
        attributes = shuffle.get_attributes()
        source = _convolution_before(shuffle)
        if source is None or attributes["mode"] != "depth_first":
            continue
        convolution, bias = source
        block = attributes["block_size"]
        order = np.arange(convolution.get_output_partial_shape(0)[1].get_length())
        order = order.reshape(-1, block * block).T.reshape(-1)
        weight = weight_rows(convolution.input_value(1), order)
        if weight is None:
            continue
        convolution.input(1).replace_source_output(weight)
        if bias is not None:
            constant = bias.get_source_output().get_node()
            bias.replace_source_output(ops.constant(constant.get_data()[:, order].copy()).output(0))
        later = ops.depth_to_space(shuffle.input_value(0), "blocks_first", block)
        later.set_friendly_name(shuffle.get_friendly_name())
        for reader in shuffle.output(0).get_target_inputs():
            reader.replace_source_output(later.output(0))
        changed += 1
    if changed:
        model.validate_nodes_and_infer_types()
    return changed


def _convolution_before(node: ov.Node) -> tuple[ov.Node, ov.Input | None] | None:
    """Return the convolution in ``convolution [-> + bias] -> elementwise... -> node``, and where its bias enters."""
    bias = None
    while True:
        node = node.input_value(0).get_node()
        kind = node.get_type_name()
        if len(node.output(0).get_target_inputs()) != 1:
            return None
        if kind == "Convolution":
            channels = node.get_output_partial_shape(0)[1]
            return (node, bias) if channels.is_static else None
        constants = [value.get_source_output() for value in node.inputs()[1:]]
        if kind == "Add" and bias is None and constants[0].get_node().get_type_name() == "Constant":
            shape = list(constants[0].get_shape())
            if not (len(shape) == 4 and shape[0] == shape[2] == shape[3] == 1):
                return None
            bias = node.input(1)
        elif kind not in (*_ELEMENTWISE, "FakeQuantize") or not all(map(_is_scalar, constants)):
            return None
