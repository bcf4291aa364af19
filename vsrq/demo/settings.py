"""What the demo compares: clips and recipes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsrq.datasets.bicubic import matlab_resize
from vsrq.datasets.clips import load_clip, make_pair

FRAMES = 8
CALIBRATION_FRAMES = 4


@dataclass(frozen=True)
class DemoClip:
    """A stretch of a video to score, and one of the same shot, just before it, to calibrate on.

    Attributes:
        name: As it appears in the table.
        video: File name.
        start: First scored frame; the calibration frames end right before it.
        halve: Halve the size first, which hides compression artefacts of large videos.
        crop: Left, top, width and height of the ground truth in pixels, after halving.
    """

    name: str
    video: str
    start: int
    halve: bool
    crop: tuple[int, int, int, int]

    def load(self, files: dict[str, Path]) -> tuple[Tensor, Tensor, Tensor]:
        """Return calibration input ``(t, 3, h, w)``, input and ground truth ``(t, 3, 4h, 4w)``, in [0, 1]."""
        first, last = self.start - CALIBRATION_FRAMES, self.start + FRAMES
        clip = load_clip(files[self.video], start=first, stop=last)
        if self.halve:
            clip = matlab_resize(clip, 0.5).clamp(0, 1)
        left, top, width, height = self.crop
        low, high = make_pair(clip[..., top : top + height, left : left + width])
        return low[:CALIBRATION_FRAMES], low[CALIBRATION_FRAMES:], high[CALIBRATION_FRAMES:]


CLIPS = (
    # a car and a cyclist; about half of all pixels change from frame to frame
    DemoClip("bikes (moving)", "bikes.mp4", start=146, halve=False, crop=(160, 8, 320, 256)),
    # the camera stands still, the rabbit stretches
    DemoClip("bunny (static)", "bigbuckbunny.mp4", start=92, halve=True, crop=(32, 52, 320, 256)),
)

# The flow network is held at 8 bit in all rows: offsets turn error into sampling positions. Its two coarsest levels,
# 0.1 % of its work, stay float: on images of a few pixels whole layers are zero and show no range.
FLOW_RULES = [
    dict(pattern="spynet.basic_module.[01].*", quantize=False),
    dict(pattern="spynet.*", weight=dict(bits=8), act=dict(bits=8)),
]
# below 6 bit it pays to clip inside residual blocks, where an identity runs beside the layer, and nowhere else
CLIPPED_TRUNKS = dict(pattern="*_resblocks.main.2.*", act=dict(type="MSE"))


@dataclass(frozen=True)
class Recipe:
    """One row of the table.

    Attributes:
        name: As it appears in the table.
        bits: Of weights and activations of frames, or of key frames.
        residual: Arguments of :func:`vsrq.residual.convert_residual`, or ``None``.
    """

    name: str
    bits: int
    residual: dict[str, Any] | None = None

    def model_config(self) -> dict[str, Any]:
        """Return ``quant`` and ``residual`` of a :class:`vsrq.models.QuantizedVSR`."""
        rules = [*FLOW_RULES, *([CLIPPED_TRUNKS] if self.bits < 6 else [])]
        quant = dict(weight=dict(bits=self.bits), act=dict(bits=self.bits), rules=rules)
        if self.residual is None:
            return dict(quant=quant)
        return dict(quant=quant, residual={**self.residual, "rules": [dict(pattern="spynet.*", residual=False)]})


def _leaky(name: str, bits: int, residual_bits: int, period: int | None = None) -> Recipe:
    residual = dict(weight=dict(bits=residual_bits), act=dict(bits=residual_bits), period=period)
    return Recipe(name, bits, residual)


RECIPES = (
    Recipe("W8A8", 8),
    Recipe("W6A6", 6),
    Recipe("W5A5", 5),
    Recipe("W4A4", 4),
    _leaky("res W6A6", 6, 6),
    _leaky("res W5A5", 5, 5),
    _leaky("res W8A8 key, W4A4", 8, 4, period=8),
    _leaky("res W4A4", 4, 4),
)


def bicubic(low: Tensor) -> Tensor:
    """Upscale ``(t, 3, h, w)`` four times by MATLAB's bicubic."""
    return matlab_resize(low, 4).clamp(0, 1).to(torch.float32)
