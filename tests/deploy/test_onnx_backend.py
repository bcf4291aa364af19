import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
ort = pytest.importorskip("onnxruntime")

from vsrq.deploy.bundle import Bundle  # noqa: E402
from vsrq.deploy.export import export  # noqa: E402
from vsrq.deploy.onnx_backend import ONNXRuntimeBackend, check_options  # noqa: E402
from vsrq.deploy.plan import Port, StepSpec  # noqa: E402
from vsrq.deploy.step import Step  # noqa: E402
from vsrq.errors import CheckpointError, ConfigError  # noqa: E402
from vsrq.models import EDVRNet  # noqa: E402
from vsrq.ops import deform_conv_export  # noqa: E402
from vsrq.ops.warp import flow_warp  # noqa: E402
from vsrq.quant import calibrate, prepare  # noqa: E402

BACKEND = ONNXRuntimeBackend()


class Trunk(nn.Module):
    """A residual block and an upsampler, which show every rewrite."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, padding=1)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.Conv2d(8, 16, 3, padding=1)
        self.last = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        y = torch.nn.functional.leaky_relu(self.first(x), 0.1)
        y = y + self.conv2(torch.relu(self.conv1(y)))
        return self.last(torch.nn.functional.leaky_relu(nn.functional.pixel_shuffle(self.up(y), 2), 0.1))


def trunk(bits):
    net = Trunk().eval()
    x = torch.randn(1, 4, 12, 16)
    if bits < 32:
        prepare(net, weight=dict(bits=bits), act=dict(bits=bits))
        with torch.no_grad():
            calibrate(net, lambda: net(x))
    return net, x


Y = Port("y", 3, "2")


def spec(*inputs, out=Y):
    return StepSpec("encode", inputs, (out,))


def write(module, signature, path, *, dynamic=True, **options):
    BACKEND.export(Step(module, signature, module.forward), path, height=12, width=16, dynamic=dynamic, options=options)
    return onnx.load(path)


def load(path, signature, **options):
    return BACKEND.load(path, signature, height=12, width=16, options={"threads": 1, **options})


def db(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2) / np.abs(b).max() ** 2 + 1e-30)


@pytest.mark.parametrize("bits", [32, 8, 4, 3])
def test_graph_computes_the_network(tmp_path, bits):
    net, x = trunk(bits)
    signature = spec(Port("x", 4))
    write(net, signature, tmp_path / "a.onnx")
    for size in ((12, 16), (9, 7)):
        x = torch.randn(1, 4, *size)
        found = load(tmp_path / "a.onnx", signature)([x.numpy()])[0]
        with torch.no_grad():
            assert db(found, net(x).numpy()) > (100 if bits == 32 else 45)


@pytest.mark.parametrize(
    ("bits", "opset", "kind"),
    [(8, 21, "INT8"), (4, 21, "INT4"), (4, 19, "INT8"), (5, 21, "INT8")],
)
def test_weights_are_stored_as_integers(tmp_path, bits, opset, kind):
    net, _ = trunk(bits)
    model = write(net, spec(Port("x", 4)), tmp_path / "a.onnx", dynamic=False, opset_version=opset)
    assert {item.version for item in model.opset_import if item.domain == ""} == {opset}
    codes = [item for item in model.graph.initializer if len(item.dims) == 4]
    assert [onnx.TensorProto.DataType.Name(item.data_type) for item in codes] == [kind] * 5
    assert not any(node.domain for node in model.graph.node)


def test_pixel_shuffle_moves_bytes(tmp_path):
    model = write(trunk(8)[0], spec(Port("x", 4)), tmp_path / "a.onnx", dynamic=False)
    kinds = {name: node.op_type for node in model.graph.node for name in node.output}
    (shuffle,) = [node for node in model.graph.node if node.op_type == "DepthToSpace"]
    assert kinds[shuffle.input[0]] == "QuantizeLinear"


def test_kernels_tell_integers_from_floats(tmp_path):
    signature = spec(Port("x", 4))
    for bits, integer in ((8, True), (32, False)):
        net, x = trunk(bits)
        write(net, signature, tmp_path / "a.onnx", dynamic=False)
        graph = load(tmp_path / "a.onnx", signature, profile=True)
        graph([x.numpy()])
        kernels = graph.kernels()
        assert {kernel.node for kernel in kernels} == {"first", "conv1", "conv2", "up", "last"}
        assert [kernel.integer for kernel in kernels] == [integer] * 5
    assert load(tmp_path / "a.onnx", signature).kernels() == []


class Deform(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 4, 3, 3)), nn.Parameter(torch.randn(6))

    def forward(self, x, offset, mask):
        return deform_conv_export.deform_conv2d(x, offset, mask, self.weight, self.bias, 1, 1, 1, 2, 2)


@pytest.mark.parametrize("decompose", [False, True])
def test_deformable_convolution(tmp_path, decompose):
    signature = spec(Port("x", 8), Port("offset", 36), Port("mask", 18), out=Port("y", 6))
    module = Deform()
    model = write(module, signature, tmp_path / "a.onnx", decompose_deform_conv=decompose)
    kinds = {node.op_type for node in model.graph.node}
    assert ("DeformConv" in kinds, "GridSample" in kinds) == (not decompose, decompose)
    inputs = [torch.randn(1, 8, 9, 11), 4 * torch.randn(1, 36, 9, 11), torch.rand(1, 18, 9, 11)]
    found = load(tmp_path / "a.onnx", signature)([x.numpy() for x in inputs])[0]
    with torch.no_grad():
        np.testing.assert_allclose(found, module(*inputs).numpy(), atol=2e-4)


class Warp(nn.Module):
    def forward(self, x, flow):
        return flow_warp(x, flow)


@pytest.mark.parametrize("opset", [19, 20])
def test_flow_warp_keeps_its_size_open(tmp_path, opset):
    signature = spec(Port("x", 3), Port("flow", 2), out=Port("y", 3))
    write(Warp(), signature, tmp_path / "a.onnx", opset_version=opset)
    graph = load(tmp_path / "a.onnx", signature)
    for size in ((12, 16), (5, 1), (1, 7)):
        x, flow = torch.rand(1, 3, *size), torch.randn(1, 2, *size)
        found = graph([x.numpy(), flow.numpy()])[0]
        np.testing.assert_allclose(found, flow_warp(x, flow).numpy(), atol=1e-4)


def test_bundle_of_a_network(tmp_path):
    net = EDVRNet(3, 3, 8, 3, 2, 1, 1, 1).eval()
    clip = torch.rand(3, 3, 20, 24)
    prepare(net, weight=dict(bits=8), act=dict(bits=8))
    with torch.no_grad():
        calibrate(net, lambda: net.upscale(clip[None]))
    options = {"threads": 1}
    report = export(net, tmp_path / "b", clip, backend="onnxruntime", size=(20, 24), backend_config=options)
    assert report.parity.psnr >= 45
    assert {kernel.kernel for kernel in report.not_integer()} <= {"DeformConv"}
    bundle = Bundle(tmp_path / "b")
    assert set(bundle.load(20, 24)) == {"encode", "reference", "align", "reconstruct"}
    with pytest.raises(CheckpointError, match="fixed to frames of 20x24"):
        bundle.load(24, 24)
    file = tmp_path / "b" / "align.onnx"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="was changed or swapped"):
        Bundle(tmp_path / "b")


def test_options_are_checked():
    check_options({"opset_version": 21, "threads": 2, "decompose_deform_conv": True})
    with pytest.raises(ConfigError, match="did you mean 'opset_version'"):
        check_options({"opset_verson": 19})
    with pytest.raises(ConfigError, match=r"must be 19 to 23 .*got 17"):
        check_options({"opset_version": 17})
    with pytest.raises(ConfigError, match="decompose_deform_conv must be True or False, got 'yes'"):
        check_options({"decompose_deform_conv": "yes"})
    with pytest.raises(ConfigError, match="threads must be a positive number, got 0"):
        check_options({"threads": 0})


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match="cannot read it; export the bundle again"):
        load(tmp_path / "a.onnx", spec(Port("x", 4)))
