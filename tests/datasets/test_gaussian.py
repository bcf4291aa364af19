import pytest
import torch
from scipy import ndimage

from vsrq.datasets.gaussian import gaussian_downsample
from vsrq.errors import ConfigError


def reference(image, scale, sigma):
    """SciPy's own blur, cut to 13 taps; its 'mirror' does not repeat the edge sample."""
    blurred = image.numpy()
    for axis in (-2, -1):
        blurred = ndimage.gaussian_filter1d(blurred, sigma, axis=axis, mode="mirror", radius=6)
    return torch.from_numpy(blurred[..., ::scale, ::scale].copy())


@pytest.mark.parametrize("size", [(32, 40), (33, 7), (3, 2), (1, 5)])
@pytest.mark.parametrize(("scale", "sigma"), [(4, 1.6), (2, 0.8)])
def test_equals_scipy_at_any_size(size, scale, sigma):
    image = torch.rand(3, *size, dtype=torch.float64) * 255
    assert torch.allclose(gaussian_downsample(image, scale, sigma), reference(image, scale, sigma), atol=1e-10)


def test_eight_bit_images_are_rounded_once():
    image = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
    expected = gaussian_downsample(image.double())
    assert torch.equal(gaussian_downsample(image), (expected + 0.5).floor().to(torch.uint8))


def test_first_output_pixel_is_centred_on_the_first_input_pixel():
    image = torch.zeros(16, 16, dtype=torch.float64)
    image[8, 4] = 1
    reduced = gaussian_downsample(image)
    assert torch.nonzero(reduced == reduced.max()).tolist() == [[2, 1]]


@pytest.mark.parametrize(("scale", "sigma"), [(0, 1.6), (2.5, 1.6), (4, 0), (4, float("nan"))])
def test_refuses_numbers_out_of_range(scale, sigma):
    with pytest.raises(ConfigError, match="must be a"):
        gaussian_downsample(torch.zeros(8, 8), scale, sigma)
