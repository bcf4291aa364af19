"""NF4 storage: codebook, blocks, double quantization, packing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrq.errors import ConfigError
from vsrq.quant import nf4

SHAPES = [(64, 64, 3, 3), (48, 67, 3, 3), (7, 5), (1,), (256, 64, 3, 3)]


def weight(shape, seed=0):
    return 0.05 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def round_trip(w, **settings):
    quantized = nf4.quantize(w, **settings)
    return nf4.dequantize(quantized, w.shape, block=settings.get("block", 64))


def test_the_codebook_holds_quantiles_of_the_normal_distribution():
    """QLoRA's construction: eight and nine equal parts of the probability on either side, up to 0.9677."""
    normal = torch.distributions.Normal(0.0, 1.0)
    edge = 0.9677083
    right = normal.icdf(torch.linspace(0.5, edge, 9))
    left = -normal.icdf(torch.linspace(0.5, edge, 8))
    expected = torch.cat([left.flip(0)[:-1], right]) / right[-1]
    assert torch.allclose(torch.tensor(nf4.CODEBOOK), expected, atol=2e-5)


def test_the_dynamic_codebook_is_dense_near_zero_and_complete():
    codes = torch.tensor(nf4.dynamic_codebook())
    assert len(codes) == len(codes.unique()) == 256
    assert (codes.diff() > 0).all()
    positive = codes[codes > 0]
    assert positive[0].item() == pytest.approx(0.55e-6)
    for decade in range(7):
        inside = (positive > 10.0 ** (decade - 7)) & (positive < 10.0 ** (decade - 6))
        assert inside.sum() == 2**decade
    assert torch.equal(codes[codes < 0].flip(0).neg(), positive[:-1])  # only the 1 has no opposite


@given(count=st.integers(1, 700), seed=st.integers(0, 9), block=st.sampled_from([32, 64, 128]))
@settings(max_examples=40, deadline=None)
def test_no_value_of_the_codebook_is_nearer(count, seed, block):
    w = weight((count,), seed)
    restored = round_trip(w, block=block, double=False)
    scales = nf4.quantize(w, block=block, double=False).scales.repeat_interleave(block)[:count]
    candidates = torch.tensor(nf4.CODEBOOK)[:, None] * scales
    best = (candidates - w).abs().amin(0)
    assert torch.allclose((restored - w).abs(), best, atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_quantizing_again_changes_nothing(shape):
    once = round_trip(weight(shape), double=False)
    assert torch.equal(round_trip(once, double=False), once)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=50))
def test_packing_is_reversible_and_halves_the_size(codes):
    codes = torch.tensor(codes, dtype=torch.uint8)
    packed = nf4.pack(codes)
    assert len(packed) == (len(codes) + 1) // 2
    assert torch.equal(nf4.unpack(packed, len(codes)), codes)


def test_zeros_stay_zeros_and_the_largest_of_a_block_is_exact():
    w = weight((64, 64))
    w[::2, :32] = 0
    w[5] = 0  # a whole block
    for double in (False, True):
        assert (round_trip(w, double=double)[w == 0] == 0).all()
    restored = round_trip(w, double=False).view(-1, 64)
    largest = w.view(-1, 64).abs().argmax(1, keepdim=True)
    expected = w.view(-1, 64).gather(1, largest)
    positive = expected > 0
    assert torch.equal(restored.gather(1, largest)[positive], expected[positive])


def test_relative_error_on_a_gaussian():
    w = weight((2**20,))

    def relative(restored):
        return ((restored - w).square().mean() / w.square().mean()).item()

    assert relative(round_trip(w)) == pytest.approx(0.0085, rel=0.03)
    assert relative(round_trip(w)) == pytest.approx(relative(round_trip(w, double=False)), rel=0.02)


@pytest.mark.parametrize(("double", "bits"), [(True, 4 + 8 / 64 + 32 / (64 * 256)), (False, 4.5)])
def test_bits_per_parameter(double, bits):
    w = weight((256, 256, 8, 8))
    stored = nf4.storage_bits(nf4.quantize(w, double=double))
    assert stored / w.numel() == pytest.approx(bits, abs=1e-5)


def bitsandbytes():
    return pytest.importorskip("bitsandbytes.functional")


@pytest.mark.parametrize("block", [64, 128])
@pytest.mark.parametrize("shape", SHAPES)
def test_codes_and_values_are_those_of_bitsandbytes(shape, block):
    reference, w = bitsandbytes(), weight(shape)
    packed, state = reference.quantize_4bit(w, blocksize=block, quant_type="nf4")
    ours = nf4.quantize(w, block=block, double=False)
    count = w.numel()  # the spare half of a last byte is nobody's
    assert torch.equal(nf4.unpack(ours.packed, count), nf4.unpack(packed.flatten(), count))
    theirs = reference.dequantize_4bit(packed, state).view(w.shape)
    assert (nf4.dequantize(ours, w.shape, block=block) - theirs).abs().max() < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_double_quantization_is_that_of_bitsandbytes(shape):
    reference, w = bitsandbytes(), weight(shape)
    packed, state = reference.quantize_4bit(w, quant_type="nf4", compress_statistics=True)
    theirs = reference.dequantize_4bit(packed, state).view(w.shape)
    stored = nf4.NF4(packed.flatten(), state.absmax.flatten(), state.state2.absmax, state.offset.reshape(1))
    assert (nf4.dequantize(stored, w.shape) - theirs).abs().max() < 1e-6  # we read what it writes

    ours = nf4.quantize(w)
    assert torch.equal(ours.scale_mean, stored.scale_mean)
    assert torch.equal(ours.scale_absmax, stored.scale_absmax)
    # its CPU kernel finds 8-bit codes in a table of 2^16 bins and errs next to the middle between two codes
    differing = (ours.scales != stored.scales).nonzero().flatten()
    centred = nf4.quantize(w, double=False).scales - ours.scale_mean
    scaled = (centred / ours.scale_absmax.repeat_interleave(nf4.SCALE_BLOCK)[: len(centred)])[differing]
    codes = torch.tensor(nf4.dynamic_codebook())
    if len(centred) > 1:  # a single scale is its own mean
        assert len(differing) <= 0.01 * len(centred)
        near, far = ((codes[c[differing].long()] - scaled).abs() for c in (ours.scales, stored.scales))
        assert (near <= far).all()
        assert (far - near < 2**-14).all()
    same = (ours.scales == stored.scales).repeat_interleave(64)[: w.numel()]
    assert ((nf4.dequantize(ours, w.shape) - theirs).flatten()[same].abs() < 1e-6).all()


def test_the_dynamic_codebook_is_that_of_bitsandbytes():
    reference = bitsandbytes()
    assert torch.allclose(torch.tensor(nf4.dynamic_codebook()), reference.create_dynamic_map(), atol=1e-7)


@pytest.mark.parametrize("block", [0, 63, True, "64"])
def test_a_block_size_that_is_not_allowed_is_refused(block):
    with pytest.raises(ConfigError, match="block must be one of 32, 64, 128"):
        nf4.quantize(weight((8, 8)), block=block)


def test_weights_that_are_not_finite_are_refused():
    w = weight((8, 8))
    w[0, 0] = float("nan")
    with pytest.raises(ConfigError, match="1 of 64 weights are not finite"):
        nf4.quantize(w)
