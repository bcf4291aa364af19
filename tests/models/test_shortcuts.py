"""Shortcuts of residual blocks in codes: what a block adds up, that nothing else changes, and where it is refused."""

import pytest
import torch

from tests.models.test_quantized_vsr import FLOAT, clip, quantized, rules
from vsrq.errors import ConfigError
from vsrq.models.shortcuts import CodedShortcutBlock, set_shortcuts
from vsrq.quant import calibrate

NAMES = ("basicvsr", "basicvsr_pp", "edvr")


def eight(name, **settings):
    model = quantized(name, quant=dict(weight=dict(bits=8), act=dict(bits=8), rules=rules(name)), **settings)
    with torch.no_grad():
        calibrate(model, lambda: model.upscale(clip(3)))
    return model


def coded_blocks(model):
    return [module for module in model.generator.modules() if isinstance(module, CodedShortcutBlock)]


def test_a_block_adds_to_the_codes_that_its_first_convolution_reads():
    (block, *_) = coded_blocks(eight("basicvsr", shortcuts="codes"))
    x = torch.randn(1, 4, 9, 11, generator=torch.Generator().manual_seed(0))
    codes = block.conv1.act_quantizer(x)
    assert (codes - x).abs().max() > 0
    assert torch.equal(block(x), codes + block.conv2(block.conv1(x).relu()))
    # on the grid already: the block of floats would have done the same
    assert torch.allclose(block(codes), codes + block.conv2(block.conv1(codes).relu()))


def test_a_learned_shift_is_taken_back():
    (block, *_) = coded_blocks(eight("basicvsr", shortcuts="codes"))
    quantizer, x = block.conv1.act_quantizer, torch.randn(1, 4, 9, 11)
    quantizer.shift = torch.nn.Parameter(torch.full((1, 4, 1, 1), 0.013))
    with torch.no_grad():
        shortcut = block(x) - block.conv2(block.conv1(x).relu())
    inside = (x + quantizer.shift - quantizer.quantize(x + quantizer.shift)).abs() < quantizer.qparams(x).scale
    assert ((shortcut - x).abs() < quantizer.qparams(x).scale)[inside].all()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_parameters_keep_their_names_and_the_picture_changes_by_rounding(name):
    """A checkpoint of the network with float shortcuts loads as it is."""
    floats, codes = eight(name), quantized(
        name, quant=dict(weight=dict(bits=8), act=dict(bits=8), rules=rules(name)), shortcuts="codes"
    )  # fmt: skip
    assert coded_blocks(codes)
    assert not coded_blocks(floats)
    codes.load_state_dict(floats.state_dict())
    x = clip(3, seed=1)
    a, b = floats.upscale(x), codes.upscale(x)
    assert 0 < (a - b).square().mean() < 1e-3


def test_gradients_pass_the_shortcut():
    (block, *_) = coded_blocks(eight("basicvsr", shortcuts="codes"))
    torch.nn.init.zeros_(block.conv2.weight)  # nothing comes through the convolutions
    quantizer = block.conv1.act_quantizer
    x = torch.randn(1, 4, 9, 11, requires_grad=True)
    block(x).sum().backward()
    scale, zero_point, qmin, qmax = quantizer.qparams()
    codes = x / scale + zero_point
    inside = (codes > qmin) & (codes < qmax)
    assert inside.any()
    assert (x.grad[inside] == 1).all()


@pytest.mark.parametrize(
    "settings",
    [
        dict(quant=FLOAT),
        dict(quant=dict(weight=dict(bits=8), act=dict(bits=8)), residual=dict(weight=dict(bits=8), act=dict(bits=8))),
        dict(quant=dict(weight=dict(bits=8), act=dict(bits=8)), depth={}),
    ],
    ids=["float", "residual", "depth"],
)
def test_without_codes_of_a_frame_it_is_refused(settings):
    with pytest.raises(ConfigError, match="shortcuts='codes': BasicVSRNet has no residual block whose first conv"):
        quantized("basicvsr", shortcuts="codes", **settings)


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="shortcuts must be one of 'float', 'codes', got 'int8'"):
        set_shortcuts(torch.nn.Sequential(), "int8")


@torch.no_grad()
def test_exported_graphs_agree(tmp_path):
    pytest.importorskip("openvino")
    from vsrq.deploy.bundle import Bundle
    from vsrq.deploy.export import export

    model = eight("basicvsr", shortcuts="codes")
    export(model.generator, tmp_path / "bundle", clip(3)[0][..., :32, :32], backend_config={"threads": 1})
    assert Bundle(tmp_path / "bundle").manifest.parity
