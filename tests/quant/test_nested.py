"""Weights of lower widths as the high bits of one stored copy: the maths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrq.errors import ConfigError
from vsrq.quant.functional import fake_quantize, grid_limits
from vsrq.quant.nested import centre, high_bits, nested

WIDTHS = st.tuples(st.integers(2, 8), st.integers(2, 8)).map(sorted)  # narrow, wide


def all_codes(bits, *, signed=True):
    low, high = grid_limits(bits, signed=signed)
    return torch.arange(low, high + 1, dtype=torch.int32)


def pattern(code, bits):
    """Two's complement as text, highest bit first."""
    return format(int(code) & (2**bits - 1), f"0{bits}b")


@given(WIDTHS)
@settings(deadline=None)
def test_codes_of_a_lower_width_are_the_high_bits_of_the_stored_ones(widths):
    to, bits = widths
    codes = all_codes(bits)
    kept = high_bits(codes, bits - to)
    assert [pattern(c, to) for c in kept] == [pattern(c, bits)[:to] for c in codes]
    assert kept.unique().tolist() == all_codes(to).tolist()  # the whole grid of that width, and nothing else


@given(WIDTHS, st.integers(0, 3), st.booleans())
@settings(deadline=None)
def test_dropping_bits_twice_is_dropping_them_at_once(widths, more, signed):
    to, bits = widths
    codes = all_codes(bits, signed=signed)
    assert torch.equal(high_bits(high_bits(codes, bits - to), more), high_bits(codes, bits - to + more))


@given(WIDTHS, st.booleans())
@settings(deadline=None)
def test_a_coarse_weight_is_the_mean_of_the_fine_ones_it_stands_for(widths, signed):
    to, bits = widths
    drop = bits - to
    codes = all_codes(bits, signed=signed)
    coarse = centre(high_bits(codes, drop), drop)
    for value in coarse.unique():
        assert codes[coarse == value].float().mean() == value
    assert (coarse - codes).abs().max() == (2**drop - 1) / 2
    assert coarse.diff().min() >= 0


@given(WIDTHS)
@settings(deadline=None)
def test_signed_grids_are_symmetric_about_the_middle_of_the_stored_one(widths):
    to, bits = widths
    levels = centre(high_bits(all_codes(bits), bits - to), bits - to).unique()
    assert torch.equal(levels + 0.5, -(levels + 0.5).flip(0))
    assert torch.equal(levels.diff(), torch.full((2**to - 1,), 2.0 ** (bits - to)))


@given(widths=WIDTHS, seed=st.integers(0, 99))
@settings(deadline=None)
def test_weights_at_a_width_per_channel(widths, seed):
    to, bits = widths
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    scale = torch.tensor([0.01, 0.5, 0.03, 1e-6])
    limits = grid_limits(bits, signed=True)
    stored = fake_quantize(weight, scale, torch.zeros(4, dtype=torch.int32), *limits, axis=0)
    along = scale.view(-1, 1, 1, 1)
    value = nested(stored, along, bits, to)
    if to == bits:
        assert value is stored
    steps = value / along
    codes = (stored / along).round().int()
    assert torch.allclose(steps, centre(high_bits(codes, bits - to), bits - to), atol=1e-4)
    assert torch.allclose(nested(stored, along, bits, to), value)


def test_gradients_pass_straight_through():
    stored = (torch.arange(-8.0, 8) * 0.1).requires_grad_()
    g = torch.randn(16)
    nested(stored, torch.tensor(0.1), 4, 2).backward(g)
    assert torch.equal(stored.grad, g)


@pytest.mark.parametrize("to", [1, 7, 0])
def test_other_widths_are_refused(to):
    with pytest.raises(ConfigError, match=f"the high bits of a 6-bit weight give 2 to 6 bits, not {to}"):
        nested(torch.zeros(2), torch.ones(()), 6, to)
