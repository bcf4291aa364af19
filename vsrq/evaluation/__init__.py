"""Scores of video super-resolution: PSNR and SSIM, as functions and as metrics of the Runner."""

from vsrq.compat import ensure_mmagic

ensure_mmagic()

from vsrq.evaluation.functional import psnr, rgb_to_y, ssim  # noqa: E402
from vsrq.evaluation.metrics import PSNR, SSIM  # noqa: E402

__all__ = ["PSNR", "SSIM", "psnr", "rgb_to_y", "ssim"]
