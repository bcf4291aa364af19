"""Scores of video super-resolution: PSNR and SSIM, as functions and metrics of the Runner; consistency in time."""

from vsrq.compat import ensure_mmagic

ensure_mmagic()

from vsrq.evaluation.functional import psnr, rgb_to_y, ssim  # noqa: E402
from vsrq.evaluation.metrics import PSNR, SSIM  # noqa: E402
from vsrq.evaluation.temporal import clip_motion, flow_error, warping_error  # noqa: E402

__all__ = ["PSNR", "SSIM", "clip_motion", "flow_error", "psnr", "rgb_to_y", "ssim", "warping_error"]
