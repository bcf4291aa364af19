"""PSNR and SSIM as metrics of the Runner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from mmagic.evaluation.metrics.base_sample_wise_metric import BaseSampleWiseMetric
from torch import Tensor

from vsrq.datasets.frames import clip_of
from vsrq.errors import ConfigError, DataError
from vsrq.evaluation.functional import psnr, ssim
from vsrq.registry import METRICS


class ClipMetric(BaseSampleWiseMetric):
    """A score per frame, averaged over the frames of a clip, then over clips.

    Consumes what mmagic's metrics consume: per sample a dict with ``gt_img`` and ``output.pred_img``, ``(t, 3, h, w)``
    or ``(3, h, w)`` in [0, 255]. Samples whose ``gt_path`` lies in one folder or video are frames of one clip; a
    sample without ``gt_path`` is a clip of its own. One result is kept per sample, so that padding samples of a
    distributed sampler are dropped when MMEngine collects the ranks' results.

    Args:
        convert_to: ``None`` scores RGB, ``'Y'`` the luma.
        crop_border: Pixels left out at each side.
        rounding: Score 8-bit frames, as published; ``False`` scores unrounded floats, as mmagic 1.x does.
        channel_order: Of the images that arrive here: mmagic's data preprocessor hands over ``'BGR'``.
        per_clip: Also report ``PSNR/<clip>`` for every clip.
        gt_key: Key of the ground truth.
        pred_key: Key of the prediction in ``output``.
        prefix: Put before the name, as in ``VID4-BIx4-Y/PSNR``.
        collect_device: ``'cpu'`` or ``'gpu'``.

    Raises:
        ConfigError: A value is not allowed.
        DataError: When called: prediction and ground truth differ in shape, or there was nothing to score.
    """

    def __init__(
        self,
        convert_to: str | None = None,
        crop_border: int = 0,
        rounding: bool = True,
        channel_order: str = "BGR",
        per_clip: bool = False,
        gt_key: str = "gt_img",
        pred_key: str = "pred_img",
        prefix: str | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(gt_key=gt_key, pred_key=pred_key, collect_device=collect_device, prefix=prefix)
        if convert_to not in (None, "Y"):
            raise ConfigError(f"{self.metric}: unknown convert_to {convert_to!r}; allowed are None (RGB) and 'Y'")
        if not isinstance(crop_border, int) or crop_border < 0:
            raise ConfigError(f"{self.metric}: crop_border must be a whole number of at least 0, got {crop_border!r}")
        if channel_order not in ("BGR", "RGB"):
            raise ConfigError(f"{self.metric}: channel_order must be 'BGR' or 'RGB', got {channel_order!r}")
        self.convert_to = convert_to
        self.crop_border = crop_border
        self.rounding = rounding
        self.channel_order = channel_order
        self.per_clip = per_clip

    def score(self, pred: Tensor, gt: Tensor) -> Tensor:
        """Return one score per frame of ``(t, 3, h, w)`` RGB in [0, 255]."""
        raise NotImplementedError

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Score the frames of every sample and keep their sum."""
        for sample in data_samples:
            pred, gt = sample["output"][self.pred_key], sample[self.gt_key]
            if pred.shape != gt.shape:
                raise DataError(
                    f"{self.metric}: {self.pred_key} {tuple(pred.shape)} and {self.gt_key} {tuple(gt.shape)} differ in "
                    f"shape for {_clip_name(sample) or 'a sample'}; check the scale and the ground truth"
                )
            # One frame at a time: a 720p clip in double precision would not fit beside the network.
            frames = zip(self._to_frames(pred), self._to_frames(gt), strict=True)
            scores = [float(self.score(p[None], g[None])) for p, g in frames]
            self.results.append(dict(clip=_clip_name(sample), total=sum(scores), frames=len(scores)))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average the collected results over frames, then over clips."""
        if not results:
            raise DataError(f"{self.metric}: no sample was scored; the data set or the loader is empty")
        totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for number, result in enumerate(results):
            total = totals[result["clip"] or f"sample {number}"]
            total[0] += result["total"]
            total[1] += result["frames"]
        clips = {name: total / frames for name, (total, frames) in totals.items()}
        scores = {self.metric: sum(clips.values()) / len(clips)}
        if self.per_clip:
            scores.update({f"{self.metric}/{name}": value for name, value in _shorten(clips).items()})
        return scores

    def evaluate(self, size: int | None = None) -> dict:
        """Collect the ranks' results and compute the scores.

        Args:
            size: Number of samples; MMEngine's loops pass it, mmagic's have called ``prepare`` instead.
        """
        if size is not None:
            self.size = size
        return super().evaluate()

    def _to_frames(self, images: Tensor) -> Tensor:
        frames = torch.as_tensor(images).detach()
        frames = frames[None] if frames.ndim == 3 else frames
        return frames.flip(-3) if self.channel_order == "BGR" else frames


@METRICS.register_module()
class PSNR(ClipMetric):
    """Peak signal-to-noise ratio in dB (:func:`vsrq.evaluation.functional.psnr`); arguments of :class:`ClipMetric`."""

    metric = "PSNR"

    def score(self, pred: Tensor, gt: Tensor) -> Tensor:
        """Return one score per frame of ``(t, 3, h, w)`` RGB in [0, 255]."""
        return psnr(pred, gt, convert_to=self.convert_to, crop_border=self.crop_border, rounding=self.rounding)


@METRICS.register_module()
class SSIM(ClipMetric):
    """Structural similarity (:func:`vsrq.evaluation.functional.ssim`); arguments of :class:`ClipMetric`."""

    metric = "SSIM"

    def score(self, pred: Tensor, gt: Tensor) -> Tensor:
        """Return one score per frame of ``(t, 3, h, w)`` RGB in [0, 255]."""
        return ssim(pred, gt, convert_to=self.convert_to, crop_border=self.crop_border, rounding=self.rounding)


def _clip_name(sample: dict) -> str | None:
    path = sample.get("gt_path")
    if isinstance(path, (list, tuple)):
        path = path[0] if path else None
    return clip_of(str(path)) if path else None


def _shorten(clips: dict[str, float]) -> dict[str, float]:
    """Name clips by the last part of their path where that is unambiguous."""
    short = {name.replace("\\", "/").rsplit("/", 1)[-1]: value for name, value in clips.items()}
    return short if len(short) == len(clips) else clips
