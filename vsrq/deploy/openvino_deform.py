"""Fast deformable convolutions in an OpenVINO model that is in memory.

OpenVINO's own operator takes half of a BasicVSR++ step. :func:`accelerate` puts a Python operator in its place that
runs :class:`vsrq.ops.deform_conv_kernel.DeformConvKernel` on the plugin's memory, and lets it do the arithmetic of
the offsets on the way. The operator cannot be saved: bundles keep the standard one, and OpenVINO's model cache must
be off for an accelerated model.
"""

from __future__ import annotations

import functools
import logging
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from mmengine import print_log
from openvino import opset8 as ops

from vsrq.deploy.openvino_core import core
from vsrq.deploy.openvino_split import constant_bias, split_sliced_convolutions
from vsrq.ops import deform_conv_kernel
from vsrq.ops.deform_conv_kernel import DeformConvKernel


class Positions(NamedTuple):
    """Where a deformable convolution samples: ``scale * offset + flow`` pixels from its taps.

    Attributes:
        offset: (n, 2 * points, h, w), y before x.
        scale: Factor of ``offset``.
        flows: Of the first and of the second half of the points, each (n, 2, h, w), y before x; or nothing.
    """

    offset: ov.Output
    scale: float = 1.0
    flows: tuple[ov.Output, ...] = ()


class FastDeformConv(ov.Op):
    """Runs a kernel on x, offset, mask and perhaps two flows; all but the flows channels-last."""

    def __init__(self, inputs: list[ov.Output], kernel: DeformConvKernel):
        super().__init__(self)
        self.kernel = kernel
        self.set_arguments(inputs)
        self.constructor_validate_and_infer_types()

    def validate_and_infer_types(self) -> None:
        """Give the output its shape (n, h_out, w_out, c_out)."""
        shape = self.get_input_partial_shape(1)
        shape[3] = ov.Dimension(self.kernel.c_out)
        self.set_output_type(0, self.get_input_element_type(0), shape)

    def clone_with_new_inputs(self, new_inputs: list[ov.Output]) -> FastDeformConv:
        """Return the same operator on other inputs."""
        return FastDeformConv(new_inputs, self.kernel)

    def has_evaluate(self) -> bool:
        """Say that the operator can be run."""
        return True

    def evaluate(self, outputs: Any, inputs: Any) -> bool:
        """Run the kernel on the memory of the plugin."""
        x, offset, mask, *flows = (tensor.data for tensor in inputs)
        self.kernel(x, offset, mask, (flows[0], flows[1]) if flows else None, out=outputs[0].data)
        return True


def accelerate(model: ov.Model, threads: int | None = None) -> int:
    """Replace the deformable convolutions of ``model`` in place and return how many were replaced.

    Without numba nothing is replaced and the log says so, once. Operators that the kernel does not cover (groups,
    no mask, a weight that is computed) stay.

    Args:
        model: In float32; results stay equal within the rounding of float32.
        threads: Of the kernel; by default one per core that the process may use.
    """
    split_sliced_convolutions(model)
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == "DeformableConvolution"]
    if not nodes:
        return 0
    if not deform_conv_kernel.is_available():
        _report_missing_numba()
        return 0
    replaced = sum(_replace(node, threads) for node in nodes)
    if replaced:
        model.validate_nodes_and_infer_types()
    return replaced


@functools.cache
def _report_missing_numba() -> None:
    print_log(
        "numba is not installed, so deformable convolutions run in OpenVINO's slower kernel; pip install numba.",
        logger="current",
        level=logging.WARNING,
    )


def _replace(node: ov.Node, threads: int | None) -> bool:
    settings = node.get_attributes()
    if (
        node.get_input_size() != 4
        or settings["group"] != 1
        or not settings["bilinear_interpolation_pad"]
        or settings["auto_pad"] != "explicit"
        or node.get_output_element_type(0) != ov.Type.f32
    ):
        return False
    weight = _constant_value(node.input_value(2))
    if weight is None:
        return False
    last, bias = constant_bias(node)
    points = settings["deformable_group"] * weight.shape[2] * weight.shape[3]
    positions = _around_flows(node, points) or Positions(node.input_value(1))
    kernel = DeformConvKernel(
        weight,
        bias,
        stride=tuple(settings["strides"]),
        padding=tuple(settings["pads_begin"]),
        dilation=tuple(settings["dilations"]),
        deform_groups=settings["deformable_group"],
        offset_scale=positions.scale,
        threads=threads,
    )
    kernel.compile()
    arrays = (node.input_value(0), positions.offset, node.input_value(3))
    fast = FastDeformConv([*(_transposed(array, (0, 2, 3, 1)) for array in arrays), *positions.flows], kernel)
    fast.set_friendly_name(node.get_friendly_name())
    result = _transposed(fast.output(0), (0, 3, 1, 2))
    result.add_names(last.output(0).get_names())
    for reader in last.output(0).get_target_inputs():
        reader.replace_source_output(result)
    return True


def _around_flows(node: ov.Node, points: int) -> Positions | None:
    """Recognise the positions that :func:`vsrq.models.deform.second_order_offsets` computes."""
    total = _producer(node, 1)
    if total.get_type_name() != "Add":
        return None
    residues, flows = _in_order(total, "Multiply", "Concat")
    if residues is None or flows is None or flows.get_input_size() != 2 or points % 2:
        return None
    offset, factor = _in_order(residues, "Tanh", "Constant")
    if offset is None or factor is None or factor.get_data().size != 1:
        return None
    halves = [_producer(flows, i) for i in range(2)]
    if not all(_repeats_flow(half, points // 2) for half in halves):
        return None
    scale = float(factor.get_data().reshape(-1)[0])
    return Positions(offset.output(0), scale, tuple(half.input_value(0) for half in halves))


def _repeats_flow(tile: ov.Node, times: int) -> bool:
    """Return whether the node repeats two channels ``times`` times."""
    if tile.get_type_name() != "Tile" or tile.get_input_partial_shape(0)[1] != 2:
        return False
    repeats = _constant_value(tile.input_value(1))
    return repeats is not None and repeats.tolist() == [1, times, 1, 1]


def _constant_value(output: ov.Output) -> np.ndarray | None:
    """Return the value of what depends on constants only, such as a weight that is stored in 8 bits."""
    node = output.get_node()
    if node.get_type_name() == "Constant":
        return node.get_data()
    pending, seen = [node], set()
    while pending:
        node = pending.pop()
        if node.get_type_name() in ("Parameter", "ReadValue"):
            return None
        for value in node.input_values():
            if value.get_node().get_friendly_name() not in seen:
                seen.add(value.get_node().get_friendly_name())
                pending.append(value.get_node())
    compiled = core().compile_model(ov.Model([output], []), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([])[0]


def _transposed(output: ov.Output, order: tuple[int, ...]) -> ov.Output:
    return ops.transpose(output, ops.constant(np.array(order, np.int64))).output(0)


def _producer(node: ov.Node, index: int) -> ov.Node:
    return node.input_value(index).get_node()


def _in_order(node: ov.Node, first: str, second: str) -> tuple[ov.Node, ov.Node] | tuple[None, None]:
    """Return the two producers of a commutative node by their types."""
    a, b = _producer(node, 0), _producer(node, 1)
    for one, other in ((a, b), (b, a)):
        if one.get_type_name() == first and other.get_type_name() == second:
            return one, other
    return None, None
