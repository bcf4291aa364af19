import pytest
import torch
from torch import nn

from tests.ops.test_deform_conv import GEOMETRIES, arguments
from vsrq.ops.deform_conv import deform_conv2d_plain
from vsrq.ops.deform_conv_export import deform_conv2d, openvino_extension

SINGLE_GROUP = [geometry for geometry in GEOMETRIES if geometry[6] == 1]


class Layer(nn.Module):
    def __init__(self, options, weight, bias):
        super().__init__()
        self.options = options
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x, offset, mask):
        return deform_conv2d(x, offset, mask, self.weight, self.bias, *self.options)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_operator_computes_the_same(geometry):
    tensors, options = arguments(geometry)
    assert torch.equal(deform_conv2d(*tensors, *options), deform_conv2d_plain(*tensors, *options))


def test_without_mask_and_bias():
    (x, offset, _, weight, _), options = arguments(GEOMETRIES[0])
    expected = deform_conv2d_plain(x, offset, None, weight, None, *options)
    torch.testing.assert_close(deform_conv2d(x, offset, None, weight, None, *options), expected)


def test_fake_tensors_and_schema():
    tensors, (stride, padding, dilation, groups, deform_groups) = arguments(GEOMETRIES[1])
    values = (*tensors, list(stride), list(padding), list(dilation), groups, deform_groups)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.vsrq.deform_conv2d.default, values, test_utils=tests)


def test_torch_export_keeps_it_whole():
    (x, offset, mask, weight, bias), options = arguments(GEOMETRIES[0], torch.float32)
    exported = torch.export.export(Layer(options, weight, bias), (x, offset, mask))
    targets = [node.target for node in exported.graph.nodes]
    assert targets.count(torch.ops.vsrq.deform_conv2d.default) == 1
    assert torch.equal(exported.module()(x, offset, mask), Layer(options, weight, bias)(x, offset, mask))


@pytest.mark.parametrize("geometry", SINGLE_GROUP)
def test_openvino_runs_the_converted_operator(geometry):
    ov = pytest.importorskip("openvino")
    from vsrq.deploy.openvino_core import core

    (x, offset, mask, weight, bias), options = arguments(geometry, torch.float32)
    layer = Layer(options, weight, bias)
    model = ov.convert_model(layer, example_input=(x, offset, mask), extension=openvino_extension())
    assert [op.get_type_name() for op in model.get_ops()].count("DeformableConvolution") == 1
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    actual = torch.from_numpy(compiled([x.numpy(), offset.numpy(), mask.numpy()])[0])
    torch.testing.assert_close(actual, layer(x, offset, mask), rtol=0, atol=2e-5)
