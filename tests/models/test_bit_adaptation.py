"""Bits that follow layers and clips, in whole networks."""

import pytest
import torch

from tests.models.test_quantized_vsr import architecture, clip
from vsrq.errors import CalibrationError, ConfigError
from vsrq.models import QuantizedVSR
from vsrq.models.bit_adaptation import BitAdaptation, flow_magnitude, gradient_magnitude
from vsrq.quant import calibrate
from vsrq.quant.adaptive import AdaptiveQuantizer

QUANT = dict(weight=dict(bits=4), act=dict(bits=4, adaptive=True), rules=[dict(pattern="spynet.*", quantize=False)])
FLAT, PLAIN, ROUGH = (0.05 * clip(3, size=32), 0.5 * clip(3, size=32), clip(3, size=32))


def build(name="basicvsr", **adaptive):
    torch.manual_seed(0)
    return QuantizedVSR(architecture(name), quant=QUANT, adaptive=adaptive).eval()


@pytest.fixture(scope="module")
def model():
    model = build(clips=0.25)
    calibrate(model, lambda: [model.upscale(0.4 * PLAIN), model.upscale(PLAIN), model.upscale(1.2 * PLAIN)])
    return model


def quantizers(model):
    return [m for m in model.modules() if isinstance(m, AdaptiveQuantizer)]


def average_act_bits(report):
    layers = [layer for layer in report.layers if not layer.name.startswith("spynet")]
    return sum(layer.bops for layer in layers) / sum(layer.macs for layer in layers) / 4


@torch.no_grad()
def test_gradients_and_flow_of_known_clips():
    ramp = (torch.arange(8.0) / 10).expand(1, 2, 3, 8, 8)
    assert gradient_magnitude(ramp).item() == pytest.approx(0.05)  # 0.1 across, 0 down
    asked = []

    def flow(frame, neighbour):
        asked.append((frame[0, 0, 0, 0].item(), neighbour[0, 0, 0, 0].item()))
        return torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)

    numbered = torch.arange(9.0).view(1, 9, 1, 1, 1).expand(1, 9, 3, 4, 4)
    assert flow_magnitude(numbered, flow, 3).item() == 5
    assert asked == [(0, 1), (4, 5), (7, 8)]
    assert flow_magnitude(numbered[:, :1], flow, 3).item() == 0


@torch.no_grad()
def test_layers_shift_in_balance_and_keep_it_in_a_checkpoint(model):
    shifts = [int(q.layer_shift) for q in quantizers(model)]
    assert shifts.count(1) == shifts.count(-1) == len(shifts) // 4
    ordered = sorted(quantizers(model), key=lambda q: int(q.layer_shift))
    assert ordered[0].spread.spatial < ordered[-1].spread.spatial
    other = build(clips=0.25)
    other.generator.load_state_dict(model.generator.state_dict())
    assert [q.bits for q in quantizers(other)] == [q.bits for q in quantizers(model)]
    assert torch.equal(other.upscale(ROUGH), model.upscale(ROUGH))


@torch.no_grad()
def test_easy_clips_get_fewer_bits_and_hard_ones_more(model):
    bits = [average_act_bits(model.cost(x)[0]) for x in (FLAT, PLAIN, ROUGH)]
    assert bits[1] - bits[0] == pytest.approx(1)
    assert bits[2] - bits[1] == pytest.approx(1)
    assert {q.clip_shift for q in quantizers(model)} == {0}  # nothing is left behind


@torch.no_grad()
def test_clips_of_a_batch_have_their_own_bits(model):
    together = model.upscale(torch.cat([FLAT, ROUGH]))
    assert torch.allclose(together, torch.cat([model.upscale(FLAT), model.upscale(ROUGH)]), atol=1e-6)


def test_training_runs_at_the_clips_bits(model):
    torch.manual_seed(0)
    output = model.forward_tensor(ROUGH)
    assert output.requires_grad
    with torch.no_grad():
        assert torch.allclose(output, model.upscale(ROUGH), atol=1e-4)


@torch.no_grad()
def test_shifts_can_be_switched_off():
    model = build(layers=0, clips=0)
    plain = QuantizedVSR(architecture("basicvsr"), quant={**QUANT, "act": dict(bits=4, per_part=False)}).eval()
    plain.generator.load_state_dict(model.generator.state_dict(), strict=False)
    for one in (model, plain):
        calibrate(one, lambda one=one: one.upscale(PLAIN))
    assert torch.equal(model.upscale(ROUGH), plain.upscale(ROUGH))


def test_bounds_need_two_clips():
    model = build()
    with pytest.raises(CalibrationError, match=r"bit_adaptation: saw 1 clips, bounds between clips need 2 or more"):
        calibrate(model, lambda: model.upscale(PLAIN))


@pytest.mark.parametrize(
    ("adaptive", "message"),
    [
        (dict(layers=0.7), r"adaptive\.layers must be a share from 0 to 0\.5, got 0\.7"),
        (dict(clips=-1), r"adaptive\.clips must be a share from 0 to 0\.5, got -1"),
        (dict(pairs=0), r"adaptive\.pairs must be an integer of 1 or more, got 0"),
        (dict(layer=0.1), "'layer' in adaptive; did you mean 'layers'"),
    ],
)
def test_bad_settings_are_refused(adaptive, message):
    with pytest.raises(ConfigError, match=message):
        build(**adaptive)


def test_combinations_that_make_no_sense_are_refused():
    net = architecture("basicvsr")
    with pytest.raises(ConfigError, match=r"needs quantizers that can shift; set quant\.act=dict\(adaptive=True"):
        QuantizedVSR(net, quant={**QUANT, "act": dict(bits=4)}, adaptive={})
    with pytest.raises(ConfigError, match=r"activations are adaptive .*but nothing shifts them"):
        QuantizedVSR(net, quant=QUANT)
    with pytest.raises(ConfigError, match="adaptive bits are for frame quantization"):
        QuantizedVSR(net, quant=QUANT, residual={}, adaptive={})
    with pytest.raises(ConfigError, match="EDVRNet computes no optical flow"):
        QuantizedVSR(architecture("edvr"), quant={**QUANT, "rules": []}, adaptive={})
    with pytest.raises(ConfigError, match="needs quantizers"):
        BitAdaptation({})
