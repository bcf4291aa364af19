import copy

import pytest
import torch

from vsrq.errors import ConfigError
from vsrq.models import FloatVSR, QuantizedVSR
from vsrq.quant import QuantDeformConv2d, calibrate
from vsrq.residual import TemporalState, temporal

NETWORKS = {
    "basicvsr": dict(type="BasicVSRNet", mid_channels=4, num_blocks=1),
    "basicvsr_pp": dict(type="BasicVSRPlusPlusNet", mid_channels=16, num_blocks=1),
    "edvr": dict(
        type="EDVRNet",
        in_channels=3,
        out_channels=3,
        mid_channels=8,
        num_frames=3,
        deform_groups=2,
        num_blocks_extraction=1,
        num_blocks_reconstruction=1,
        center_frame_idx=1,
    ),
}
FLOAT = dict(weight=dict(bits=32), act=dict(bits=32))


def architecture(name):
    return dict(type="FloatVSR", generator=NETWORKS[name], pixel_loss=dict(type="CharbonnierLoss"))


def rules(name):
    return [] if name == "edvr" else [dict(pattern="spynet.*", quantize=False)]


def clip(frames=5, seed=0, size=64, batch=1):
    """A texture that moves by one pixel per frame."""
    generator = torch.Generator().manual_seed(seed)
    texture = torch.rand(batch, 3, size, size + frames, generator=generator)
    return torch.stack([texture[..., t : t + size] for t in range(frames)], dim=1)


def wake_offsets(model):
    """Offsets start at zero; give them something to do."""
    for name, parameter in model.named_parameters():
        if "conv_offset" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def quantized(name, float_model=None, **settings):
    model = QuantizedVSR(architecture(name), **settings)
    if float_model is not None:
        model.generator.load_state_dict(float_model.generator.state_dict(), strict=False)
    return wake_offsets(model).eval() if float_model is None else model.eval()


def float_model(name):
    model = architecture(name)
    del model["type"]
    return wake_offsets(FloatVSR(**model)).eval()


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_32_bits_equal_float_exactly(name):
    reference, x = float_model(name), clip(3)
    model = quantized(name, reference, quant=FLOAT)
    assert torch.equal(model.upscale(x), reference.upscale(x))


@pytest.mark.parametrize("period", [None, 2])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_32_bit_residuals_equal_float(name, period):
    """All sites: both directions, first calls (trap 4), neighbour slots of EDVR (trap 6), in-place activations."""
    reference, x = float_model(name), clip(5, batch=2)
    residual = dict(FLOAT, period=period, coefficient=0.9)
    model = quantized(name, reference, quant=FLOAT, residual=residual)
    assert (model.upscale(x) - reference.upscale(x)).abs().max() < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_period_1_equals_frame_quantization_bit_for_bit(name):
    x, quant = clip(3), dict(weight=dict(bits=4), act=dict(bits=4), rules=rules(name))
    frame = quantized(name, quant=quant)
    calibrate(frame, lambda: frame.upscale(x))
    residual = quantized(name, quant=quant, residual=dict(weight=dict(bits=3), act=dict(bits=3), period=1))
    residual.load_state_dict(frame.state_dict(), strict=False)
    assert torch.equal(residual.upscale(x), frame.upscale(x))


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_clips_do_not_remember_each_other(name):
    """Trap 7: a clip's result does not depend on what ran before it."""
    x, quant = clip(5), dict(weight=dict(bits=5), act=dict(bits=5), rules=rules(name))
    model = quantized(name, quant=quant, residual=dict(weight=dict(bits=4), act=dict(bits=4)))
    calibrate(model, lambda: model.upscale(x), passes=2)
    first = model.upscale(x)
    model.upscale(clip(4, seed=1, size=68))
    assert torch.equal(model.upscale(x), first)


@torch.no_grad()
def test_the_state_must_be_reset_between_clips():
    """The other half of trap 7: with a carried state the result does change, so the reset is not vacuous."""
    x, quant = clip(5), dict(weight=dict(bits=5), act=dict(bits=5), rules=rules("basicvsr"))
    model = quantized("basicvsr", quant=quant, residual=dict(weight=dict(bits=4), act=dict(bits=4)))
    calibrate(model, lambda: model.upscale(x), passes=2)
    state = TemporalState()
    with temporal(model.generator, state):
        first = model.generator.upscale(x)
        second = model.generator.upscale(x)
    assert not torch.equal(first, second)


def test_deformable_layers_stay_per_frame_and_first_calls_are_keys():
    model = quantized("basicvsr_pp", quant=FLOAT, residual=FLOAT)
    align = model.generator.deform_align["backward_1"]
    assert type(align) is QuantDeformConv2d
    assert align.conv_offset[0].schedule.warmup == 3
    assert not any("deform_align" in row.name and "conv_offset" not in row.name for row in model.residual_table)


def test_warmup_follows_the_network_unless_configured():
    assert quantized("basicvsr", quant=FLOAT, residual=FLOAT).generator.fusion.schedule.warmup == 1
    model = quantized("basicvsr_pp", quant=FLOAT, residual=dict(FLOAT, warmup=2))
    assert model.generator.conv_last.schedule.warmup == 2


@torch.no_grad()
def test_the_table_names_roles_and_bits():
    model = quantized("basicvsr", quant=dict(weight=dict(bits=4), act=dict(bits=6), rules=rules("basicvsr")))
    table = {row.name: row for row in model.layer_table}
    assert (table["conv_last"].role, table["conv_last"].weight_bits, table["conv_last"].act_bits) == ("tail", 4, 6)
    assert {row.weight_bits for row in model.layer_table if row.role == "flow"} == {32}


@torch.no_grad()
def test_cost_counts_every_layer_of_the_network():
    x = clip(3)
    model = quantized("basicvsr", quant=FLOAT)
    report, output = model.cost(x)
    assert torch.equal(output, model.upscale(x))
    pixels, c = 64 * 64, 4
    branch = 9 * ((c + 3) * c + 2 * c * c)  # input convolution and one residual block
    tail = 2 * c * c + 9 * (c * 4 * c + 4 * c * 256 + 16 * 64 * 64 + 16 * 64 * 3)
    assert report.macs(exclude_roles=("flow",)) == 3 * pixels * (2 * branch + tail)
    assert len(report.layers) == len(model.layer_table)
    assert report.frames == 3


def test_training_gradients_reach_all_weights():
    x = clip(3)
    quant = dict(weight=dict(bits=4), act=dict(bits=4), rules=rules("basicvsr"))
    model = quantized("basicvsr", quant=quant, residual=dict(weight=dict(bits=4), act=dict(bits=4)))
    with torch.no_grad():
        calibrate(model, lambda: model.upscale(x), passes=2)
    model.forward_tensor(x).square().mean().backward()
    without = [n for n, p in model.generator.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [n for n in without if not n.startswith("spynet")] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(quant=dict(weigth=dict(bits=4))), "'weigth' in quant; did you mean 'weight'"),
        (dict(quant=FLOAT, residual=dict(perod=3)), "'perod' in residual; did you mean 'period'"),
        (dict(quant=dict(rules=[dict(pattern="spinet.*", quantize=False)])), "rule 'spinet.*' has no effect"),
        (dict(quant=dict(act=dict(bits=16))), "bits must be one of"),
        (dict(quant=FLOAT, residual=dict(period=0)), "period must be an integer of 1 or more"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        quantized("basicvsr", **settings)


def test_an_architecture_of_another_type_is_refused():
    other = dict(copy.deepcopy(architecture("basicvsr")), type="BasicVSR")
    with pytest.raises(ConfigError, match="must be the config of a FloatVSR, got type 'BasicVSR'"):
        QuantizedVSR(other, quant=FLOAT)


@pytest.mark.parametrize("residual", [None, dict(weight=dict(bits=3), act=dict(bits=3))])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_calibration_on_float_signals_runs_the_float_network(name, residual):
    reference = float_model(name)
    model = quantized(name, reference, quant=dict(weight=dict(bits=2), act=dict(bits=2)), residual=residual)
    seen = []
    calibrate(model, lambda: seen.append(model.upscale(clip())), passes=2, signals="float")
    for output in seen:
        torch.testing.assert_close(output, reference.upscale(clip()), rtol=0, atol=1e-5)
    assert not torch.allclose(model.upscale(clip()), seen[0], atol=1e-3)  # quantized again


def test_unknown_signals_are_refused_and_ranges_kept():
    model = quantized("basicvsr", quant=dict(rules=rules("basicvsr")))
    calibrate(model, lambda: model.upscale(clip()))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError, match="quantized, float, got 'both'"):
        calibrate(model, lambda: model.upscale(clip()), signals="both")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
