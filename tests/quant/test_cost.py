import pytest
import torch
from torch import nn

from vsrq.quant import calibrate, cost, prepare
from vsrq.residual import TemporalState, convert_residual, temporal

CLIP = torch.randn(1, 8, 3, 6, 10, generator=torch.Generator().manual_seed(0))
MACS = 60 * (3 * 4 * 9) + 60 * (4 * 2)  # per frame: a 3x3 and a 1x1 convolution on 60 pixels


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(3, 4, 3, padding=1)
        self.narrow = nn.Conv2d(4, 2, 1)

    def forward(self, clip):
        return [self.narrow(self.wide(frame)) for frame in clip.unbind(1)]


def run(model, state):
    def run_clip(clip):
        with temporal(model, state):
            model(clip)

    return run_clip


def residual_report(key_bits, residual_bits, **settings):
    model = Net()
    prepare(model, weight=dict(bits=key_bits[0]), act=dict(bits=key_bits[1]))
    convert_residual(model, weight=dict(bits=residual_bits[0]), act=dict(bits=residual_bits[1]), **settings)
    calibrate(model, lambda: run(model, TemporalState())(CLIP), passes=2)
    state = TemporalState()
    return cost.measure(model, CLIP, run=run(model, state), state_bytes=lambda: state.nbytes), state


def test_float_layers_count_32_by_32():
    report = cost.measure(Net(), CLIP)
    assert report.macs() == 8 * MACS
    assert report.bops_per_mac() == 1024
    assert report.equivalent_bits == 32
    assert report.state_bytes == 0


def test_frame_quantization_with_one_layer_left_float():
    model = Net()
    prepare(model, weight=dict(bits=4), act=dict(bits=6), rules=[dict(pattern="narrow", quantize=False)])
    calibrate(model, lambda: model(CLIP))
    report = cost.measure(model, CLIP, roles={"wide": "trunk", "n*": "tail"})
    wide, narrow = report.layers
    assert (wide.name, wide.role, wide.calls, wide.bops) == ("wide", "trunk", {"frame": 8}, 8 * 60 * 108 * 24)
    assert (narrow.role, narrow.calls, narrow.bops) == ("tail", {"float": 8}, 8 * 60 * 8 * 1024)
    assert report.bops_per_mac(exclude_roles=("tail",)) == 24
    assert report.average_bops == report.peak_bops == (wide.bops + narrow.bops) / 8


@pytest.mark.parametrize(
    ("key", "residual", "period", "amortized"),
    [((8, 8), (4, 4), 8, 22), ((8, 8), (8, 4), 8, 36), ((5, 5), (5, 5), None, 25), ((8, 8), (4, 4), 1, 64)],
)
def test_amortized_bops_per_mac(key, residual, period, amortized):
    """(bk_w bk_a + (T - 1) br_w br_a) / T with T = 8."""
    report, state = residual_report(key, residual, period=period)
    assert report.bops_per_mac() == amortized
    assert report.peak_bops == MACS * key[0] * key[1]
    assert report.peak_bops_per_mac() == key[0] * key[1]
    assert report.average_bops == MACS * amortized
    assert report.state_bytes == state.nbytes == (0 if period == 1 else (3 + 4 + 4 + 2) * 60 * 4)


def test_residual_calls_add_element_operations():
    report, _ = residual_report((8, 8), (4, 4), period=8)
    assert report.layers[0].calls == {"key": 1, "residual": 7}
    assert report.elementwise == 7 * 60 * (3 * 3 + 2 * 4 + 3 * 4 + 2 * 2)


def test_several_calls_per_frame_fall_together():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, clip):
            return [self.conv(self.conv(frame)) for frame in clip.unbind(1)]

    report = cost.measure(Twice(), CLIP)
    assert report.bops_per_frame == (2 * 60 * 9 * 1024,) * 8


def test_storage_counts_weights_scales_and_second_grids():
    float_bits = 32 * (108 + 4 + 8 + 2)
    assert cost.storage_bits(Net()) == float_bits
    model = Net()
    prepare(model, weight=dict(bits=4), act=dict(bits=8))
    quantized = float_bits - 28 * 116 + 32 * (4 + 2) + 2 * 40
    assert cost.storage_bits(model) == quantized
    convert_residual(model, weight=dict(bits=4), act=dict(bits=4))
    same_grid = quantized + 32 * (4 + 2) + 2 * 40
    assert cost.storage_bits(model) == same_grid
    model = Net()
    prepare(model, weight=dict(bits=4), act=dict(bits=8))
    convert_residual(model, weight=dict(bits=3), act=dict(bits=4))
    assert cost.storage_bits(model) == same_grid + 3 * 116
