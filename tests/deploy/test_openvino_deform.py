import gc
import importlib.util
import logging

import numpy as np
import pytest
import torch
from torch import nn

ov = pytest.importorskip("openvino")

import vsrq.registry  # noqa: E402, F401
from vsrq.deploy import openvino_deform  # noqa: E402
from vsrq.deploy.openvino_core import core  # noqa: E402
from vsrq.deploy.openvino_deform import accelerate  # noqa: E402
from vsrq.models.basicvsr_plusplus import BasicVSRPlusPlusNet, PreviousFrames  # noqa: E402
from vsrq.models.edvr import PCDAlignment, Pyramid  # noqa: E402
from vsrq.ops.deform_conv_export import deform_conv2d, openvino_extension  # noqa: E402

F32 = {"INFERENCE_PRECISION_HINT": "f32"}
needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs numba")


class SecondOrderStep(nn.Module):
    """A propagation step of BasicVSR++; without second-order inputs where two inputs are given less."""

    def __init__(self):
        super().__init__()
        self.net = BasicVSRPlusPlusNet(mid_channels=16, num_blocks=1)

    def forward(self, encoded, feat_1, flow_1, feat_2=None, flow_2=None):
        return self.net.propagate("backward_1", [encoded], PreviousFrames(feat_1, flow_1, feat_2, flow_2))


class Alignment(nn.Module):
    """EDVR's alignment: deformable convolutions at three sizes, and a cascaded one."""

    def __init__(self):
        super().__init__()
        self.align = PCDAlignment(16, 4)

    def forward(self, *levels):
        return self.align(Pyramid(*levels[:3]), Pyramid(*levels[3:]))


def prepared(module):
    torch.manual_seed(0)
    for name, parameter in module.named_parameters():
        if "conv_offset" in name or "dcn" in name:
            nn.init.normal_(parameter, std=0.1)  # the offsets start at zero, which would test nothing
    for layer in module.modules():
        if hasattr(layer, "op"):
            layer.op = deform_conv2d
    return module.eval()


def converted(module, inputs):
    with torch.no_grad():
        shapes = [ov.PartialShape([*value.shape[:2], -1, -1]) for value in inputs]
        return ov.convert_model(module, example_input=inputs, input=shapes, extension=openvino_extension())


def kinds(model):
    return [node.get_type_name() for node in model.get_ops()]


def step_inputs(height, width, second_order=True):
    generator = torch.Generator().manual_seed(1)

    def normal(channels, scale=1.0):
        return scale * torch.randn(1, channels, height, width, generator=generator)

    second = (normal(16), normal(2, 3)) if second_order else ()
    return (normal(16), normal(16), normal(2, 3), *second)


def alignment_inputs(height, width):
    generator = torch.Generator().manual_seed(1)
    sizes = 2 * [(height, width), (height // 2, width // 2), (height // 4, width // 4)]
    return tuple(torch.randn(1, 16, *size, generator=generator) for size in sizes)


CASES = {
    "BasicVSR++": (SecondOrderStep, step_inputs, 1),
    "BasicVSR++, second call": (SecondOrderStep, lambda h, w: step_inputs(h, w, second_order=False), 1),
    "EDVR": (Alignment, alignment_inputs, 4),
}


@needs_numba
@pytest.mark.parametrize("name", CASES)
def test_accelerated_graph_equals_the_network(name):
    network, make_inputs, count = CASES[name]
    module, inputs = prepared(network()), make_inputs(20, 28)
    model = converted(module, inputs)
    assert accelerate(model, threads=2) == count
    assert "DeformableConvolution" not in kinds(model)
    gc.collect()  # the compiled graph must keep its Python operators alive
    request = core().compile_model(model, "CPU", F32).create_infer_request()
    for size in ((20, 28), (12, 44)):  # the graph is dynamic
        inputs = make_inputs(*size)
        with torch.no_grad():
            expected = module(*inputs).numpy()
        actual = request.infer([value.numpy() for value in inputs])[0]
        np.testing.assert_allclose(actual, expected, atol=2e-4 * np.abs(expected).max())


@needs_numba
def test_the_arithmetic_of_the_offsets_moves_into_the_kernel():
    model = converted(prepared(SecondOrderStep()), step_inputs(8, 8))
    assert kinds(model).count("Tile") == 2
    accelerate(model)
    assert "Tile" not in kinds(model)


@needs_numba
def test_what_the_kernel_does_not_cover_stays():
    class Grouped(nn.Module):
        def forward(self, x, offset, mask):
            return deform_conv2d(x, offset, mask, torch.ones(4, 2, 3, 3), None, 1, 1, 1, 2, 1)

    inputs = (torch.ones(1, 4, 5, 5), torch.zeros(1, 18, 5, 5), torch.ones(1, 9, 5, 5))
    model = converted(Grouped(), inputs)
    assert accelerate(model) == 0
    assert "DeformableConvolution" in kinds(model)


@needs_numba
def test_names_of_the_outputs_are_kept():
    class Bare(nn.Module):
        def forward(self, x, offset, mask):
            return deform_conv2d(x, offset, mask, torch.ones(4, 4, 3, 3), torch.ones(4), 1, 1)

    inputs = (torch.ones(1, 4, 5, 5), torch.zeros(1, 18, 5, 5), torch.ones(1, 9, 5, 5))
    model = converted(Bare(), inputs)
    model.output(0).set_names({"aligned"})
    assert accelerate(model) == 1
    out = core().compile_model(model, "CPU", F32)([value.numpy() for value in inputs])["aligned"]
    assert out[0, 0, 2, 2] == 37
    assert out[0, 0, 0, 0] == 17


def test_models_without_deformable_convolutions_need_no_numba(monkeypatch):
    monkeypatch.setattr("vsrq.ops.deform_conv_kernel.is_available", lambda: pytest.fail("asked for numba"))
    assert accelerate(converted(nn.Conv2d(3, 4, 3), (torch.ones(1, 3, 8, 8),))) == 0


def test_without_numba_the_graph_stays_and_the_log_says_so(monkeypatch):
    monkeypatch.setattr("vsrq.ops.deform_conv_kernel.is_available", lambda: False)
    lines = []
    monkeypatch.setattr("vsrq.deploy.openvino_deform.print_log", lambda text, **options: lines.append((text, options)))
    openvino_deform._report_missing_numba.cache_clear()  # which reports once per process
    model = converted(prepared(SecondOrderStep()), step_inputs(8, 8))
    assert accelerate(model) == 0
    assert accelerate(model) == 0
    assert "DeformableConvolution" in kinds(model)
    assert [options["level"] for _, options in lines] == [logging.WARNING]
    assert "pip install numba" in lines[0][0]
