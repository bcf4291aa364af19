"""From a step to an ONNX model: PyTorch's exporter with the operators it does not know.

Quantizers arrive as nodes ``vsrq::FakeQuantize``, which :mod:`vsrq.deploy.onnx_passes` turns into standard ones.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
import torch.nn.functional as F
from onnx.defs import OpSchema
from onnxscript import opset20 as op
from onnxscript import values
from torch import Tensor
from torch.export import Dim

from vsrq.deploy.plan import StepSpec
from vsrq.deploy.step import Step
from vsrq.ops import deform_conv_export  # noqa: F401, declares the operator
from vsrq.quant import export_op  # noqa: F401, declares the operator

DOMAIN = "vsrq"
TRACED_OPSET = 20  # DeformConv came with 19, other names of GridSample's modes with 20
_FLOAT, _INT = ("T", ["tensor(float)"], ""), ("I", ["tensor(int32)"], "")
_SCHEMA = OpSchema(
    "FakeQuantize",
    DOMAIN,
    1,
    inputs=[OpSchema.FormalParameter(*port) for port in (("x", "T"), ("scale", "T"), ("zero_point", "I"))],
    outputs=[OpSchema.FormalParameter("y", "T")],
    type_constraints=[_FLOAT, _INT],
    attributes=[OpSchema.Attribute(name, OpSchema.AttrType.INT) for name in ("qmin", "qmax", "axis")],
)
_FAKE_QUANTIZE = values.Op(values.Opset(DOMAIN, 1), "FakeQuantize", _SCHEMA)


def translate(step: Step, inputs: Sequence[Tensor], *, dynamic: bool, decompose: bool) -> ir.Model:
    """Return the ONNX model of a step.

    Args:
        step: What to translate.
        inputs: Example inputs in the order of its ports.
        dynamic: Whether height and width stay open.
        decompose: Write deformable convolutions as GridSample and matrix products.
    """
    shapes = _open_sizes(step.spec) if dynamic else None
    with torch.no_grad(), _quiet():
        # PyTorch wants the sizes of `*inputs` as one tuple of its own
        program = torch.export.export(step, tuple(inputs), dynamic_shapes=None if shapes is None else (shapes,))
        if decompose:
            program = program.run_decompositions({torch.ops.vsrq.deform_conv2d.default: _sampled_convolution})
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=TRACED_OPSET,
            input_names=[port.name for port in step.spec.inputs],
            output_names=[port.name for port in step.spec.outputs],
            custom_translation_table=_table(),
            verbose=False,
        )
    assert exported is not None  # only the old exporter returns None
    return exported.model


def _open_sizes(spec: StepSpec) -> tuple[dict[int, Any], ...]:
    return tuple({} if port.size == "0" else {2: Dim.DYNAMIC, 3: Dim.DYNAMIC} for port in spec.inputs)


def _fake_quantize(x: Any, scale: Any, zero_point: Any, qmin: int, qmax: int, axis: int) -> Any:
    return _FAKE_QUANTIZE(x, scale, zero_point, qmin=qmin, qmax=qmax, axis=axis)


def _deform_conv(
    x: Any,
    offset: Any,
    mask: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    deform_groups: int,
) -> Any:
    return op.DeformConv(
        x,
        weight,
        offset,
        bias,
        mask,
        dilations=list(dilation),
        group=groups,
        offset_group=deform_groups,
        pads=[*padding, *padding],
        strides=list(stride),
    )


def _grid_sample(x: Any, grid: Any, interpolation: int, padding: int, align_corners: bool) -> Any:
    return op.GridSample(
        x,
        grid,
        align_corners=int(align_corners),
        mode=("linear", "nearest", "cubic")[interpolation],
        padding_mode=("zeros", "border", "reflection")[padding],
    )


def _pixel_shuffle(x: Any, factor: int) -> Any:
    """Translate the shuffle into its one node; the exporter's own translation is a chain of reshapes."""
    return op.DepthToSpace(x, blocksize=factor, mode="CRD")


def _table() -> dict[Callable[..., Any], Callable[..., Any]]:
    aten = torch.ops.aten
    return {
        torch.ops.vsrq.fake_quantize.default: _fake_quantize,
        torch.ops.vsrq.deform_conv2d.default: _deform_conv,
        aten.grid_sampler.default: _grid_sample,
        aten.grid_sampler_2d.default: _grid_sample,
        aten.pixel_shuffle.default: _pixel_shuffle,
    }


def _sampled_convolution(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    deform_groups: int,
) -> Tensor:
    """Compute the operator by ``grid_sample`` and a matrix product, for sizes that are not known yet."""
    n, channels, height, width = x.shape
    h_out, w_out = offset.shape[2:]
    kh, kw = weight.shape[2:]
    moves = offset.reshape(n * deform_groups, kh * kw, 2, h_out, w_out)

    def axis(count: int, step: int, start: int) -> Tensor:
        return torch.arange(count, dtype=x.dtype, device=x.device) * step + start

    tap_y = axis(kh, dilation[0], -padding[0])[:, None].expand(kh, kw).reshape(-1, 1, 1)
    tap_x = axis(kw, dilation[1], -padding[1]).expand(kh, kw).reshape(-1, 1, 1)
    ys = moves[:, :, 0] + tap_y + axis(h_out, stride[0], 0)[:, None]
    xs = moves[:, :, 1] + tap_x + axis(w_out, stride[1], 0)
    grid = torch.stack(((2 * xs + 1) / width - 1, (2 * ys + 1) / height - 1), dim=-1)
    samples = F.grid_sample(
        x.reshape(n * deform_groups, channels // deform_groups, height, width),
        grid.reshape(n * deform_groups, kh * kw * h_out, w_out, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    weighted = samples.reshape(n, deform_groups, channels // deform_groups, kh * kw, h_out * w_out)
    weighted = weighted * mask.reshape(n, deform_groups, 1, kh * kw, h_out * w_out)
    columns = weighted.reshape(n, groups, channels // groups * kh * kw, h_out * w_out)
    kernel = weight.reshape(groups, weight.shape[0] // groups, -1)
    return torch.matmul(kernel, columns).reshape(n, weight.shape[0], h_out, w_out) + bias.reshape(1, -1, 1, 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and the deprecations inside of it to itself; errors are raised anyway."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
