import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrq.quant.functional import affine_qparams, fake_quantize, grid_limits, mse_range, symmetric_qparams

BITS = st.integers(2, 8)
ENDS = st.tuples(st.floats(-100, 0, width=32), st.floats(2**-10, 100, width=32))


def quantize(x, low, high, bits, *, symmetric, signed):
    limits = grid_limits(bits, signed=signed)
    make = symmetric_qparams if symmetric else affine_qparams
    scale, zero_point = make(torch.tensor([low]), torch.tensor([high]), *limits)
    return fake_quantize(x, scale, zero_point, *limits), scale.item(), zero_point.item(), limits


@pytest.mark.parametrize(
    ("bits", "signed", "limits"), [(8, True, (-128, 127)), (8, False, (0, 255)), (2, True, (-2, 1)), (3, False, (0, 7))]
)
def test_grid_limits(bits, signed, limits):
    assert grid_limits(bits, signed=signed) == limits


@settings(deadline=None)
@given(BITS, ENDS, st.booleans())
def test_properties_of_the_grid(bits, ends, symmetric):
    low, high = ends
    x = torch.linspace(low, high, 501)
    y, scale, zero_point, (qmin, qmax) = quantize(x, low, high, bits, symmetric=symmetric, signed=symmetric)
    codes = y / scale + zero_point
    tolerance = scale * 1e-3 + 1e-5 * abs(high - low)
    assert torch.allclose(codes, codes.round(), atol=2e-3)  # on the grid
    assert codes.min() >= qmin - 2e-3
    assert codes.max() <= qmax + 2e-3
    assert (y.diff() >= 0).all()  # monotone
    again, *_ = quantize(y, low, high, bits, symmetric=symmetric, signed=symmetric)
    assert torch.equal(again, y)  # idempotent
    # Rounding error is half a step; the zero point, or the missing positive code, may cost half a step at the ends.
    assert (y - x).abs().max() <= scale + tolerance
    inner = (x >= (qmin - zero_point) * scale) & (x <= (qmax - zero_point) * scale)
    assert ((y - x).abs()[inner] <= scale / 2 + tolerance).all()


@settings(deadline=None)
@given(BITS, ENDS, st.booleans())
def test_zero_is_exact(bits, ends, symmetric):
    y, *_ = quantize(torch.zeros(3), *ends, bits, symmetric=symmetric, signed=symmetric)
    assert torch.equal(y, torch.zeros(3))


@settings(deadline=None)
@given(BITS, ENDS, st.sampled_from([None, 0, 1]), st.integers(0, 10**6))
def test_the_fast_path_equals_the_operator_bit_for_bit(bits, ends, axis, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 3, 40, generator=generator) * max(map(abs, ends)) / 2
    low, high = (end * torch.rand(1 if axis is None else 3, generator=generator) for end in ends)
    scale, zero_point = affine_qparams(low, high, *grid_limits(bits, signed=False))
    arguments = (scale, zero_point, *grid_limits(bits, signed=False), axis)
    fast = fake_quantize(x, *arguments)
    operator = fake_quantize(x.clone().requires_grad_(), *arguments)
    assert operator.grad_fn is not None
    assert torch.equal(fast, operator.detach())


def test_tracing_sees_the_operator():
    scale, zero_point = torch.tensor([0.1]), torch.tensor([3], dtype=torch.int32)
    traced = torch.jit.trace(lambda x: fake_quantize(x, scale, zero_point, 0, 15), torch.randn(4), check_trace=False)
    assert "fake_quantize_per_tensor_affine" in str(traced.graph)


def test_per_channel_equals_per_tensor_channel_by_channel():
    x = torch.randn(3, 50) * torch.tensor([[0.1], [1.0], [20.0]])
    scale, zero_point = affine_qparams(x.amin(1), x.amax(1), 0, 31)
    together = fake_quantize(x, scale, zero_point, 0, 31, axis=0)
    for c in range(3):
        alone = fake_quantize(x[c], scale[c : c + 1], zero_point[c : c + 1], 0, 31)
        assert torch.equal(together[c], alone)


def test_gradient_passes_straight_inside_and_stops_outside():
    x = torch.tensor([-0.4, 0.3, 7.0], requires_grad=True)
    fake_quantize(x, torch.tensor([0.1]), torch.tensor([0], dtype=torch.int32), -8, 7).sum().backward()
    assert torch.equal(x.grad, torch.tensor([1.0, 1.0, 0.0]))


def clipped_error(x, low, high, bits, symmetric, signed):
    y, *_ = quantize(x, low, high, bits, symmetric=symmetric, signed=signed)
    return (y - x).square().mean().item()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 6])
def test_mse_range_is_near_the_best_of_an_exhaustive_search(symmetric, bits):
    x = torch.distributions.Laplace(0.3, 1.0).sample((4000,))
    limits = grid_limits(bits, signed=symmetric)
    low, high = mse_range(x[None], torch.ones_like(x)[None], *limits, symmetric=symmetric)
    found = clipped_error(x, low.item(), high.item(), bits, symmetric, symmetric)
    factors = torch.linspace(0.02, 1, 50).tolist()
    ends = [(f * x.min().item(), g * x.max().item()) for f in factors for g in (factors if not symmetric else [f])]
    best = min(clipped_error(x, *pair, bits, symmetric, symmetric) for pair in ends)
    widest = clipped_error(x, x.min().item(), x.max().item(), bits, symmetric, symmetric)
    assert found <= 1.05 * best
    assert found < widest


def test_mse_range_counts_the_weights():
    values = torch.tensor([[0.5, 1.0, 50.0]])
    rare = mse_range(values, torch.tensor([[1e6, 1e6, 1.0]]), 0, 3, symmetric=True)[1]
    common = mse_range(values, torch.tensor([[1.0, 1.0, 1e6]]), 0, 3, symmetric=True)[1]
    assert rare.item() < 5 < common.item()
