from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vsrq.datasets.bicubic import bicubic_matrix, matlab_resize
from vsrq.errors import ConfigError, DataError


def cubic(x):
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2 if x <= 2 else Fraction(0)


@pytest.mark.golden
def test_equals_matlab_bit_for_bit_on_all_frames_of_vid4(vid4):
    names = sorted(path.relative_to(vid4 / "GT") for path in (vid4 / "GT").rglob("*.png"))
    assert len(names) >= 62
    for name in names:
        image, reference = (np.array(Image.open(vid4 / half / name).convert("RGB")) for half in ("GT", "BIx4"))
        reduced = matlab_resize(torch.from_numpy(image).permute(2, 0, 1), 0.25).permute(1, 2, 0).numpy()
        assert np.array_equal(reduced, reference), name


def test_reducing_an_impulse_gives_the_kernel_in_exact_arithmetic():
    # Output i of x1/4 is centred at input 4 i + 3/2; taps are cubic(distance / 4) / 4 and sum to one.
    image = torch.zeros(32, 32, dtype=torch.float64)
    image[15, 18] = 1
    taps_y = [cubic(Fraction(4 * i + Fraction(3, 2) - 15) / 4) / 4 for i in range(8)]
    taps_x = [cubic(Fraction(4 * i + Fraction(3, 2) - 18) / 4) / 4 for i in range(8)]
    expected = torch.tensor([[float(y * x) for x in taps_x] for y in taps_y], dtype=torch.float64)
    assert torch.equal(matlab_resize(image, 0.25), expected)


def test_borders_mirror_with_the_edge_repeated():
    image = torch.rand(1, 24, dtype=torch.float64)
    mirrored = torch.cat([image.flip(1), image, image.flip(1)], dim=1)
    inner = matlab_resize(mirrored.expand(24, -1), 0.25)[:, 6:12]
    assert torch.allclose(matlab_resize(image.expand(24, -1), 0.25), inner, atol=1e-15)


def test_stored_values_of_a_small_picture():
    row = (torch.arange(16) * 37 % 251).to(torch.uint8)
    image = torch.stack([row.roll(shift) for shift in range(16)])
    assert matlab_resize(image, 0.25).tolist() == STORED


@pytest.mark.parametrize("scale", [0.25, 0.5, 4.0, 2.0, 1 / 3])
def test_agrees_with_torch_away_from_the_borders(scale):
    image = torch.rand(1, 2, 60, 72, dtype=torch.float64)
    size = [round(60 * scale), round(72 * scale)]
    reference = F.interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False)
    border = max(4, round(3 * scale) + 1) if scale > 1 else 3
    cut = (..., slice(border, -border), slice(border, -border))
    assert torch.allclose(matlab_resize(image, scale)[cut], reference[cut], atol=1e-6)


@given(length=st.integers(1, 60), scale=st.sampled_from([0.25, 0.5, 1 / 3, 1.5, 4.0]))
@settings(deadline=None, max_examples=40)
def test_constants_stay_constant_at_any_size(length, scale):
    rows = bicubic_matrix(length, scale).sum(dim=1)
    assert torch.allclose(rows, torch.ones_like(rows), atol=1e-12)
    grey = torch.full((2, length, 5), 77, dtype=torch.uint8)
    assert (matlab_resize(grey, scale) == 77).all()


def test_output_size_is_rounded_up_and_scale_one_is_the_identity():
    image = torch.randint(0, 256, (3, 13, 18), dtype=torch.uint8)
    assert matlab_resize(image, 0.25).shape == (3, 4, 5)
    assert torch.equal(matlab_resize(image, 1), image)


def test_eight_bit_results_are_rounded_half_up_and_clipped_but_floats_are_not():
    # Away from the borders, halving (0, 1, 0, 1, ..) gives exactly 1/2.
    assert (matlab_resize(torch.tensor([[0, 1] * 8] * 16, dtype=torch.uint8), 0.5)[:, 2:6] == 1).all()
    step = torch.cat([torch.zeros(16, 8), torch.full((16, 8), 255.0)], dim=1)
    enlarged = matlab_resize(step, 4)
    assert enlarged.min() < 0
    assert enlarged.max() > 255
    assert torch.equal(matlab_resize(step.to(torch.uint8), 4).float(), enlarged.clamp(0, 255).round())


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf"), "0.25"])
def test_refuses_bad_scales(scale):
    with pytest.raises(ConfigError, match="positive number"):
        matlab_resize(torch.zeros(8, 8), scale)


@pytest.mark.parametrize("image", [torch.zeros(8), torch.zeros(0, 8), torch.zeros(8, 8, dtype=torch.int32)])
def test_refuses_what_is_no_image(image):
    with pytest.raises(DataError, match="cannot resample"):
        matlab_resize(image, 0.25)


# As imresize computes them; made once with an independent double-precision implementation.
STORED = [[54, 124, 105, 137], [135, 60, 120, 105], [105, 131, 60, 124], [126, 105, 135, 54]]
