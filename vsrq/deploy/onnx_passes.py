"""Rewrites of ONNX graphs: quantizers become standard nodes, weights integers.

The file holds QuantizeLinear and DequantizeLinear, which every runtime reads. :func:`multiply_integers` is for
loading only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from vsrq.errors import ConfigError

_ELEMENTWISE = ("LeakyRelu", "Relu")
_BIAS_ROUNDING = 0.01  # of a step of the next quantizer, tolerated for a fused kernel
_PACKED = {True: ir.DataType.INT4, False: ir.DataType.UINT4}


def standard_quantizers(model: ir.Model, *, pack: bool) -> None:
    """Replace ``vsrq::FakeQuantize``: weights become stored integers, activations are quantized and dequantized.

    A pixel shuffle before an activation's quantizer moves behind the rounding: it then moves bytes.

    Args:
        model: Changed in place.
        pack: Store codes of 4 bits or less in 4 bits.
    """
    graph = model.graph
    for node in list(graph):
        if node.op_type == "Slice":
            _slice_before_quantizer(graph, node)
    for node in list(graph):
        if node.op_type != "FakeQuantize":
            continue
        if constant(node.inputs[0]) is None:
            _expand_activation(graph, node)
        else:
            _expand_weight(graph, node, pack=pack)
    model.opset_imports.pop("vsrq", None)
    _drop_unused(graph)


def set_opset(model: ir.Model, written: int, opset: int) -> None:
    """Declare another operator set; of the nodes used here only GridSample differs between 19 and 23.

    Args:
        model: Changed in place.
        written: Version its nodes are of, 20 or later.
        opset: Version wanted, 19 or later.
    """
    model.opset_imports[""] = opset
    if opset >= 20 or written < 20:
        return
    former = {"linear": "bilinear", "cubic": "bicubic"}
    for node in model.graph:
        if node.op_type == "GridSample":
            mode = node.attributes["mode"].as_string()
            node.attributes["mode"] = ir.AttrString("mode", former.get(mode, mode))


def name_nodes(model: ir.Model) -> None:
    """Call every node and its results by the layer it belongs to, so that a profile can be read.

    An activation is called by the convolution before it, with which the backend may join it under its own name.
    """
    seen: dict[str, int] = {}
    for node in model.graph:
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes", "")
        layers = [scope for scope in scopes.strip("[]").replace("'", "").split(", ") if scope.startswith("net.")]
        layer = layers[-1].removeprefix("net.") if layers else "step"
        before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        if node.op_type in _ELEMENTWISE and before is not None and before.op_type in ("Conv", "DeformConv"):
            layer = str(before.name).split("/")[0]
        name = f"{layer}/{node.op_type}"
        seen[name] = seen.get(name, -1) + 1
        node.name = f"{name}_{seen[name]}" if seen[name] else name
        for position, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = f"{node.name}:{position}"
        node.metadata_props.clear()  # the exporter's stack traces, which name the files of the machine


def unpack_weights(model: ir.Model) -> None:
    """Store the codes of 4-bit weights in bytes again, which is what kernels multiply."""
    for value in model.graph.initializers.values():
        if value.dtype in _PACKED.values():
            array = constant(value)
            assert array is not None
            wide = np.int8 if value.dtype == ir.DataType.INT4 else np.uint8
            value.const_value = ir.tensor(array.astype(wide), name=value.name)
            value.dtype = value.const_value.dtype


def multiply_integers(model: ir.Model) -> int:
    """Let convolutions of dequantized inputs and weights multiply the integers themselves.

    The result is that of the float convolution but for its rounding: integer sums are exact.

    Returns:
        How many were changed.
    """
    graph = model.graph
    changed = 0
    for node in list(graph):
        if node.op_type == "Conv" and not _fuses(node) and _to_conv_integer(graph, node):
            changed += 1
    _drop_unused(graph)
    return changed


def constant(value: ir.Value | None) -> np.ndarray | None:
    """Return the array of an initializer or a constant node, ``None`` for what is computed."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _required(node: ir.Node, index: int) -> np.ndarray:
    array = constant(node.inputs[index])
    if array is None:
        raise ConfigError(f"{node.name}: scale and zero point must be constants; dynamic ranges cannot be exported.")
    return array


def _slice_before_quantizer(graph: ir.Graph, node: ir.Node) -> None:
    """Turn a part of a quantized weight into the quantized part of the weight."""
    source = node.inputs[0].producer() if node.inputs[0] else None
    if source is None or source.op_type != "FakeQuantize" or constant(source.inputs[0]) is None:
        return
    starts, ends, axes, *steps = (_required(node, index).tolist() for index in range(1, len(node.inputs)))
    array = _required(source, 0)
    if source.attributes["axis"].as_int() in axes:
        return
    window = [slice(None)] * array.ndim
    for axis, start, stop, step in zip(axes, starts, ends, steps[0] if steps else [1] * len(axes), strict=True):
        window[axis] = slice(start, stop, step)
    part = _initializer(graph, f"{node.outputs[0].name}_part", array[tuple(window)])
    quantized = ir.Node("vsrq", "FakeQuantize", [part, *source.inputs[1:]], list(source.attributes.values()))
    quantized.metadata_props.update(source.metadata_props)
    _replace(graph, node, [quantized])


def _expand_weight(graph: ir.Graph, node: ir.Node, *, pack: bool) -> None:
    array, scale, zero_point = (_required(node, index) for index in range(3))
    qmin, qmax, axis = (node.attributes[name].as_int() for name in ("qmin", "qmax", "axis"))
    shape = [1] * array.ndim
    if axis >= 0:
        shape[axis] = -1
    codes = np.rint(array / scale.reshape(shape)) + zero_point.reshape(shape)
    codes = codes.clip(qmin, qmax).astype(np.int8 if qmin < 0 else np.uint8)
    packed = pack and qmax - qmin < 16
    name = _layer_name(node)

    def integers(suffix: str, values: np.ndarray) -> ir.Value:
        if not packed:
            return _initializer(graph, f"{name}_{suffix}", values)
        tensor = ir.tensor(values.astype(_PACKED[qmin < 0].numpy()), dtype=_PACKED[qmin < 0])
        return _initializer(graph, f"{name}_{suffix}", tensor)

    # a zero point of zeros could be left out, but ONNX Runtime's own rewrite for CPUs without VNNI then fails
    inputs = [
        integers("codes", codes),
        _initializer(graph, f"{name}_scale", _vector(scale, axis)),
        integers("zero", _vector(zero_point, axis).astype(codes.dtype)),
    ]
    attributes = [] if axis < 0 else [ir.AttrInt64("axis", axis)]
    _replace(graph, node, [ir.Node("", "DequantizeLinear", inputs, attributes)])


def _expand_activation(graph: ir.Graph, node: ir.Node) -> None:
    scale, zero_point = _required(node, 1), _required(node, 2)
    qmin, qmax, axis = (node.attributes[name].as_int() for name in ("qmin", "qmax", "axis"))
    dtype = np.int8 if qmin < 0 else np.uint8
    shuffle = _shuffle_before(node) if dtype == np.uint8 and axis < 0 else None
    name = _layer_name(node)
    grid = [
        _initializer(graph, f"{name}_scale", _vector(scale, axis)),
        _initializer(graph, f"{name}_zero", _vector(zero_point, axis).astype(dtype)),
    ]
    attributes = [] if axis < 0 else [ir.AttrInt64("axis", axis)]
    chain = [ir.Node("", "QuantizeLinear", [node.inputs[0], *grid], attributes)]
    if qmax - qmin < 255:
        ends = [_initializer(graph, f"{name}_{end}", np.array(q, dtype)) for end, q in (("min", qmin), ("max", qmax))]
        chain.append(ir.Node("", "Clip", [chain[-1].outputs[0], *ends]))
    if shuffle is not None:
        between = shuffle.outputs[0]
        while between is not node.inputs[0]:  # these values are still to be shuffled
            between = between.consumers()[0].outputs[0]
            between.shape = None
        source: ir.Value = shuffle.inputs[0]  # type: ignore[assignment]
        shuffle.outputs[0].replace_all_uses_with(source)
        chain.append(ir.Node("", "DepthToSpace", [chain[-1].outputs[0]], list(shuffle.attributes.values())))
        graph.remove(shuffle, safe=True)
    chain.append(ir.Node("", "DequantizeLinear", [chain[-1].outputs[0], *grid], attributes))
    _replace(graph, node, chain)


def _shuffle_before(node: ir.Node) -> ir.Node | None:
    """Return the pixel shuffle before a quantizer if nothing but activations lie between."""
    value: Any = node.inputs[0]
    while value.producer() is not None and len(value.uses()) == 1 and not value.is_graph_output():
        before = value.producer()
        if before.op_type == "DepthToSpace":
            return before
        if before.op_type not in _ELEMENTWISE:
            return None
        value = before.inputs[0]
    return None


def _fuses(conv: ir.Node) -> bool:
    """Whether the backend may itself join a convolution with the quantizer that follows it.

    It then rounds the bias to multiples of the input's scale times the weight's, which may be coarse below 8 bit.
    """
    following = _quantizer_after(conv)
    sources = [value.producer() if value is not None else None for value in conv.inputs[:2]]
    if following is None or any(node is None or node.op_type != "DequantizeLinear" for node in sources):
        return False
    x_scale, weight_scale, step = (_required(node, 1) for node in (*sources, following) if node is not None)
    return bool(np.max(x_scale * weight_scale) / 2 <= _BIAS_ROUNDING * np.min(step))


def _quantizer_after(conv: ir.Node) -> ir.Node | None:
    """Return the only reader of a convolution, or of its ReLU, if it quantizes."""
    value = conv.outputs[0]
    for _ in range(2):
        readers = value.consumers()
        if len(readers) != 1:
            return None
        if readers[0].op_type == "QuantizeLinear":
            return readers[0]
        if readers[0].op_type != "Relu":
            return None
        value = readers[0].outputs[0]
    return None


def _to_conv_integer(graph: ir.Graph, conv: ir.Node) -> bool:
    x, weight = (value.producer() if value is not None else None for value in conv.inputs[:2])
    if x is None or weight is None or {x.op_type, weight.op_type} != {"DequantizeLinear"}:
        return False
    codes, x_scale, weight_scale = constant(weight.inputs[0]), constant(x.inputs[1]), constant(weight.inputs[1])
    if codes is None or x_scale is None or weight_scale is None or x_scale.ndim or _required(weight, 2).any():
        return False
    scale = _initializer(graph, f"{conv.name}_scale", (x_scale * weight_scale).reshape(-1, 1, 1).astype(np.float32))
    integer = ir.Node("", "ConvInteger", [x.inputs[0], weight.inputs[0], x.inputs[2]], list(conv.attributes.values()))
    integer.name = f"{conv.name}Integer"
    chain = [integer, ir.Node("", "Cast", integer.outputs, [ir.AttrInt64("to", int(ir.DataType.FLOAT))])]
    chain.append(ir.Node("", "Mul", [chain[-1].outputs[0], scale]))
    if len(conv.inputs) > 2 and conv.inputs[2] is not None:
        bias = constant(conv.inputs[2])
        if bias is None:
            return False
        chain.append(
            ir.Node("", "Add", [chain[-1].outputs[0], _initializer(graph, f"{conv.name}_bias", bias.reshape(-1, 1, 1))])
        )
    _replace(graph, conv, chain)
    return True


def _replace(graph: ir.Graph, old: ir.Node, chain: Sequence[ir.Node]) -> None:
    """Put a chain of nodes where one node was; the last one takes over its output."""
    for node in chain:
        if not node.metadata_props:
            node.metadata_props.update(old.metadata_props)
    result, former = chain[-1].outputs[0], old.outputs[0]
    result.name, result.shape, result.type = former.name, former.shape, former.type
    graph.insert_before(old, chain)
    former.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(old, safe=True)


def _initializer(graph: ir.Graph, name: str, values: np.ndarray | ir.TensorProtocol) -> ir.Value:
    """Add an initializer; a name that is taken gets a number."""
    unique, number = name, 0
    while unique in graph.initializers:
        number += 1
        unique = f"{name}_{number}"
    tensor = ir.tensor(values, name=unique)
    value = ir.Value(
        name=unique, const_value=tensor, shape=ir.Shape(tuple(np.shape(tensor))), type=ir.TensorType(tensor.dtype)
    )
    graph.register_initializer(value)
    return value


def _vector(values: np.ndarray, axis: int) -> np.ndarray:
    return values.reshape(()) if axis < 0 else values.reshape(-1)


def _layer_name(node: ir.Node) -> str:
    return str(node.outputs[0].name)


def _drop_unused(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name in [
        name for name, value in graph.initializers.items() if not value.uses() and not value.is_graph_output()
    ]:
        del graph.initializers[name]
