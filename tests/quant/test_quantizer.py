import copy

import pytest
import torch

from vsrq.errors import CalibrationError, ConfigError
from vsrq.quant import UniformQuantizer
from vsrq.quant.calibrate import observing
from vsrq.quant.quantizer import WeightQuantizer


def calibrated(x, **config):
    quantizer = UniformQuantizer(**config)
    with observing(quantizer):
        quantizer(x)
    return quantizer


def test_32_bits_return_the_input_itself():
    x = torch.randn(5)
    quantizer = UniformQuantizer(bits=32)
    assert quantizer(x) is x
    assert quantizer.initialized
    with pytest.raises(ConfigError, match="no grid"):
        quantizer.qparams()


def test_uncalibrated_use_raises_and_names_the_quantizer():
    quantizer = UniformQuantizer(bits=4)
    quantizer.name = "trunk.3.act_quantizer"
    assert not quantizer.initialized
    with pytest.raises(CalibrationError, match=r"trunk\.3\.act_quantizer is not calibrated"):
        quantizer(torch.randn(3))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [True, False])
def test_forward_is_the_grid_of_qparams(bits, symmetric):
    x = torch.randn(2, 3, 20) + 0.5
    quantizer = calibrated(x, bits=bits, symmetric=symmetric)
    scale, zero_point, qmin, qmax = quantizer.qparams()
    codes = (torch.round(x / scale) + zero_point).clamp(qmin, qmax)
    assert torch.allclose(quantizer(x), (codes - zero_point) * scale, atol=1e-6)
    assert qmax - qmin == 2**bits - 1


@pytest.mark.parametrize(
    ("signed", "data", "limits"),
    [
        ("auto", [0.0, 3.0], (0, 15)),
        ("auto", [-1e-6, 3.0], (0, 15)),  # below the tolerance: still unsigned
        ("auto", [-1.0, 3.0], (-8, 7)),
        (True, [0.0, 3.0], (-8, 7)),
        (False, [-1.0, 3.0], (0, 15)),
    ],
)
def test_sign_of_symmetric_grids(signed, data, limits):
    quantizer = calibrated(torch.tensor(data), bits=4, symmetric=True, signed=signed)
    assert quantizer.qparams()[2:] == limits
    assert quantizer.qparams().zero_point.item() == 0


def test_unsigned_after_relu_halves_the_step():
    x = torch.rand(2000)
    auto = calibrated(x, bits=4, signed="auto", observer=dict(type="MinMax"))
    signed = calibrated(x, bits=4, signed=True, observer=dict(type="MinMax"))
    assert signed.scale / auto.scale == pytest.approx(15 / 7)


def test_state_dict_carries_range_sign_and_initialization():
    x = torch.rand(100)
    source = calibrated(x, bits=3, signed="auto")
    target = UniformQuantizer(bits=3, signed="auto")
    target.load_state_dict(source.state_dict())
    assert target.initialized
    assert torch.equal(target(x), source(x))
    assert target.qparams()[2:] == (0, 7)
    blank = UniformQuantizer(bits=3)
    target.load_state_dict(blank.state_dict())
    assert not target.initialized


def test_deepcopy_keeps_the_range():
    x = torch.randn(50)
    quantizer = calibrated(x, bits=5)
    assert torch.equal(copy.deepcopy(quantizer)(x), quantizer(x))


def test_a_new_calibration_forgets_the_old_one():
    quantizer = calibrated(torch.randn(100) * 100, bits=8, observer=dict(type="MinMax"))
    with observing(quantizer):
        quantizer(torch.tensor([-1.0, 1.0]))
    assert quantizer.scale.item() == pytest.approx(1 / 127)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_constant_data_are_refused(value):
    with pytest.raises(CalibrationError, match=f"constant value {value:g}"):
        calibrated(torch.full((9,), value), bits=8)


def test_no_data_are_refused():
    with pytest.raises(CalibrationError, match="saw no data"), observing(UniformQuantizer(bits=8)):
        pass


def test_nan_names_the_quantizer():
    quantizer = UniformQuantizer(bits=8)
    quantizer.name = "conv_last.act_quantizer"
    with pytest.raises(CalibrationError, match=r"conv_last\.act_quantizer: .*NaN"), observing(quantizer):
        quantizer(torch.tensor([float("nan"), 1.0]))


def test_weights_are_observed_once_per_pass():
    quantizer = WeightQuantizer(bits=8, observer=dict(type="MinMax"))
    with observing(quantizer):
        quantizer(torch.tensor([-1.0, 1.0]))
        quantizer(torch.tensor([-9.0, 9.0]))
    assert quantizer.scale.item() == pytest.approx(1 / 127)


def test_zero_weights_are_exact_and_can_still_be_trained():
    quantizer = WeightQuantizer(bits=4, axis=0, num_channels=2)
    weight = torch.tensor([[0.0, 0.0], [0.5, -1.0]], requires_grad=True)
    with observing(quantizer):
        y = quantizer(weight)
    assert torch.equal(y[0], torch.zeros(2))
    y.sum().backward()
    assert torch.equal(weight.grad[0], torch.ones(2))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(bits=1), "bits must be one of 2, 3, 4, 5, 6, 7, 8, 32, got 1"),
        (dict(bits=9), "got 9"),
        (dict(bits=True), "got True"),
        (dict(signed="yes"), "signed must be True, False or 'auto', got 'yes'"),
        (dict(axis=0), "go together"),
        (dict(observer=dict(type="mse")), "did you mean 'MSE'|unknown observer"),
    ],
)
def test_wrong_values_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        UniformQuantizer(**config)


def test_repr_is_the_recipe():
    text = repr(UniformQuantizer(bits=4, symmetric=False))
    assert "bits=4, affine" in text
    assert "MSE, not calibrated" in text
