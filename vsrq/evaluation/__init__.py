"""Scores of video super-resolution: PSNR and SSIM, as functions and as metrics of the Runner."""

from vsrq.evaluation.functional import psnr, rgb_to_y, ssim
from vsrq.evaluation.metrics import PSNR, SSIM

__all__ = ["PSNR", "SSIM", "psnr", "rgb_to_y", "ssim"]
