import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vsrq.errors import ConfigError, DataError
from vsrq.evaluation.functional import psnr, rgb_to_y, ssim


def pair(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    gt = torch.randint(0, 256, shape, generator=generator).float()
    return (gt + 20 * torch.randn(shape, generator=generator)), gt


def to_hwc(image, rounding):
    image = image.double()
    return (image.clamp(0, 255).round() if rounding else image).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("rounding", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_psnr_and_ssim_equal_skimage(seed, rounding):
    pred, gt = pair(3, 37, 50, seed=seed)
    ours = psnr(pred, gt, rounding=rounding), ssim(pred, gt, rounding=rounding)
    a, b = to_hwc(pred, rounding), to_hwc(gt, rounding)
    assert ours[0].item() == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), abs=1e-9)
    _, full = structural_similarity(
        a, b, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert ours[1].item() == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-9)


@pytest.mark.parametrize("border", [0, 4])
def test_luma_and_crop_equal_skimage_on_luma_images(border):
    pred, gt = pair(3, 40, 44)
    cut = slice(border, -border or None)
    a, b = (rgb_to_y(image.double().clamp(0, 255).round())[0, cut, cut].numpy() for image in (pred, gt))
    kwargs = dict(convert_to="Y", crop_border=border)
    assert psnr(pred, gt, **kwargs).item() == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), abs=1e-9)
    _, full = structural_similarity(
        a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert ssim(pred, gt, **kwargs).item() == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-9)


@given(difference=st.integers(1, 255))
@settings(deadline=None, max_examples=20)
def test_psnr_of_a_constant_difference_is_the_closed_form(difference):
    gt = torch.zeros(3, 5, 6)
    assert psnr(gt + difference, gt).item() == pytest.approx(20 * math.log10(255 / difference))


@given(a=st.integers(0, 255), b=st.integers(0, 255))
@settings(deadline=None, max_examples=20)
def test_ssim_of_constant_images_is_the_luminance_term(a, b):
    c1 = (0.01 * 255) ** 2
    expected = (2 * a * b + c1) / (a**2 + b**2 + c1)
    value = ssim(torch.full((3, 12, 13), float(a)), torch.full((3, 12, 13), float(b))).item()
    assert value == pytest.approx(expected, abs=1e-6)


def test_luma_of_the_corner_colours_is_the_standard_s():
    colours = torch.tensor([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]).double()
    luma = rgb_to_y(colours[:, :, None, None])[:, 0, 0, 0]
    assert np.allclose(luma, [16, 235, 81.481, 144.553, 40.966])


def test_equal_images_and_rounding():
    gt = torch.randint(0, 256, (3, 16, 16)).float()
    assert psnr(gt, gt).item() == math.inf
    assert ssim(gt, gt).item() == pytest.approx(1)
    assert psnr(gt + 0.4, gt).item() == math.inf
    assert psnr(gt + 0.4, gt, rounding=False).item() == pytest.approx(20 * math.log10(255 / 0.4), abs=1e-4)
    bright = torch.full((3, 16, 16), 255.0)
    assert psnr(bright + 30, bright).item() == math.inf


def test_every_image_of_a_batch_gets_its_own_score():
    pred, gt = pair(2, 4, 3, 20, 24)
    for score in (psnr, ssim):
        scores = score(pred, gt)
        assert scores.shape == (2, 4)
        assert scores[1, 2].item() == pytest.approx(score(pred[1, 2], gt[1, 2]).item(), abs=1e-12)


def test_not_a_number_is_not_hidden():
    gt = torch.zeros(3, 16, 16)
    pred = gt.clone()
    pred[0, 3, 3] = math.nan
    assert psnr(pred, gt).isnan()


@pytest.mark.parametrize("score", [psnr, ssim])
def test_bad_arguments_are_named(score):
    image = torch.zeros(3, 16, 16)
    with pytest.raises(ConfigError, match="unknown convert_to 'y'; allowed are None"):
        score(image, image, convert_to="y")
    with pytest.raises(ConfigError, match="crop_border must be a whole number of at least 0, got -1"):
        score(image, image, crop_border=-1)
    with pytest.raises(DataError, match="differ in shape"):
        score(image, image[:, :8])
    with pytest.raises(DataError, match="nothing is left"):
        score(image, image, crop_border=8)
    with pytest.raises(DataError, match=r"images must be \(\.\.\., c, h, w\)"):
        score(image[0], image[0])
    with pytest.raises(DataError, match="luma needs RGB"):
        score(image[:1], image[:1], convert_to="Y")


def test_ssim_needs_room_for_its_window():
    image = torch.zeros(3, 16, 16)
    with pytest.raises(DataError, match="at least 11x11 pixels, got 10x10 after cropping 3"):
        ssim(image, image, crop_border=3)
