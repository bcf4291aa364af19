"""PSNR and SSIM of images as published in video super-resolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vsrq.errors import ConfigError, DataError

_LUMA = (65.481, 128.553, 24.966)
_SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5


def rgb_to_y(image: Tensor) -> Tensor:
    """Convert RGB to the luma of BT.601 studio swing: ``16 + (65.481 R + 128.553 G + 24.966 B) / 255``.

    Args:
        image: ``(..., 3, h, w)`` in [0, 255].

    Returns:
        ``(..., 1, h, w)`` in [16, 235], not rounded.

    Raises:
        DataError: There are not three channels.
    """
    if image.ndim < 3 or image.shape[-3] != 3:
        raise DataError(f"luma needs RGB images (..., 3, h, w), got shape {tuple(image.shape)}")
    weights = torch.tensor(_LUMA, dtype=image.dtype, device=image.device)
    return (image * weights[:, None, None]).sum(dim=-3, keepdim=True) / 255 + 16


def psnr(
    pred: Tensor, gt: Tensor, *, convert_to: str | None = None, crop_border: int = 0, rounding: bool = True
) -> Tensor:
    """Return ``10 log10(255^2 / MSE)`` of every image, in dB; infinite for equal images.

    Args:
        pred: ``(..., 3, h, w)`` in [0, 255], RGB.
        gt: The same shape and range.
        convert_to: ``None`` scores RGB, ``'Y'`` the luma of BT.601.
        crop_border: Pixels left out at each side.
        rounding: Clip and round both to 8 bits first, as images written to files are.

    Returns:
        ``(...)``, double precision: one score per image.

    Raises:
        ConfigError: Unknown ``convert_to`` or negative ``crop_border``.
        DataError: Shapes differ or nothing is left after cropping.
    """
    pred, gt = _prepare(pred, gt, convert_to, crop_border, rounding)
    error = (pred - gt).square().mean(dim=(-3, -2, -1))
    return 10 * torch.log10(255.0**2 / error)


def ssim(
    pred: Tensor, gt: Tensor, *, convert_to: str | None = None, crop_border: int = 0, rounding: bool = True
) -> Tensor:
    """Return the structural similarity of every image [Wang 2004, eq. 13].

    Gaussian window 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, biased (co)variances, averaged over the region
    where the window fits and over channels: the values of the authors' MATLAB code.

    Args:
        pred: ``(..., 3, h, w)`` in [0, 255], RGB.
        gt: The same shape and range.
        convert_to: ``None`` scores RGB, ``'Y'`` the luma of BT.601.
        crop_border: Pixels left out at each side.
        rounding: Clip and round both to 8 bits first, as images written to files are.

    Returns:
        ``(...)``, double precision: one score per image.

    Raises:
        ConfigError: Unknown ``convert_to`` or negative ``crop_border``.
        DataError: Shapes differ or fewer than 11 x 11 pixels are left after cropping.
    """
    pred, gt = _prepare(pred, gt, convert_to, crop_border, rounding)
    if min(pred.shape[-2:]) < _SSIM_WINDOW:
        raise DataError(
            f"SSIM needs at least {_SSIM_WINDOW}x{_SSIM_WINDOW} pixels, got {pred.shape[-1]}x{pred.shape[-2]} "
            f"after cropping {crop_border} at each side"
        )
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_pred, mean_gt = _blur(pred), _blur(gt)
    var_pred = _blur(pred * pred) - mean_pred**2
    var_gt = _blur(gt * gt) - mean_gt**2
    covariance = _blur(pred * gt) - mean_pred * mean_gt
    luminance = (2 * mean_pred * mean_gt + c1) / (mean_pred**2 + mean_gt**2 + c1)
    structure = (2 * covariance + c2) / (var_pred + var_gt + c2)
    return (luminance * structure).mean(dim=(-3, -2, -1))


def _prepare(
    pred: Tensor, gt: Tensor, convert_to: str | None, crop_border: int, rounding: bool
) -> tuple[Tensor, Tensor]:
    if convert_to not in (None, "Y"):
        raise ConfigError(f"unknown convert_to {convert_to!r}; allowed are None (RGB) and 'Y'")
    if not isinstance(crop_border, int) or crop_border < 0:
        raise ConfigError(f"crop_border must be a whole number of at least 0, got {crop_border!r}")
    if pred.shape != gt.shape:
        raise DataError(f"prediction {tuple(pred.shape)} and ground truth {tuple(gt.shape)} differ in shape")
    if pred.ndim < 3:
        raise DataError(f"images must be (..., c, h, w), got shape {tuple(pred.shape)}")
    if 0 in pred.shape or min(pred.shape[-2:]) <= 2 * crop_border:
        raise DataError(f"nothing is left of shape {tuple(pred.shape)} after cropping {crop_border} at each side")
    height, width = pred.shape[-2:]
    pair = []
    for image in (pred, gt):
        image = image.double()
        if rounding:
            image = image.clamp(0, 255).round()
        if convert_to == "Y":
            image = rgb_to_y(image)
        pair.append(image[..., crop_border : height - crop_border, crop_border : width - crop_border])
    return pair[0], pair[1]


def _blur(image: Tensor) -> Tensor:
    """Filter ``(..., h, w)`` with the Gaussian window, keeping the region where it fits."""
    # Sums of shifted images: conv2d in double precision takes ten times as long on a CPU.
    for dim in (-2, -1):
        length = image.shape[dim] - _SSIM_WINDOW + 1
        first, *others = _ssim_weights()
        total = image.narrow(dim, 0, length) * first
        for shift, weight in enumerate(others, start=1):
            total.add_(image.narrow(dim, shift, length), alpha=weight)
        image = total
    return image


def _ssim_weights() -> list[float]:
    """Return the samples of the one-dimensional window; they sum to one."""
    weights = [math.exp(-((k - _SSIM_WINDOW // 2) ** 2) / (2 * _SSIM_SIGMA**2)) for k in range(_SSIM_WINDOW)]
    return [weight / sum(weights) for weight in weights]
