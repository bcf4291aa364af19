"""The network that ``tools/upscale.py`` takes when none is named."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vsrq.datasets.clips import load_clip, make_pair
from vsrq.demo.assets import ASSETS, fetch
from vsrq.demo.run import ARCHITECTURE, WEIGHTS
from vsrq.demo.settings import FLOW_RULES
from vsrq.models import QuantizedVSR
from vsrq.quant import calibrate
from vsrq.quant.prepare import DEFAULT_ACT

# Real frames of three clips: a street scene, an animation and a talking head; low resolution as given, and reduced.
_CLIPS = (("bikes.mp4", 60, 4, True), ("bigbuckbunny.mp4", 20, 3, True), ("carphone_pristine.mp4", 30, 4, False))
_CROP = 512
CALIBRATION = repr((_CLIPS, _CROP, FLOW_RULES, DEFAULT_ACT))


def calibrated(data: Path) -> QuantizedVSR:
    """Return BasicVSR with its official REDS4 weights, 8 bit throughout, calibrated on real clips.

    Weights (Apache-2.0) and clips are fetched into ``data`` if they are not there.

    Args:
        data: The data folder.

    Raises:
        DataError: They cannot be fetched.
    """
    files = fetch(data)
    eight = dict(weight=dict(bits=8), act=dict(bits=8), rules=FLOW_RULES)
    model = QuantizedVSR(ARCHITECTURE, eight, float_checkpoint=str(files[WEIGHTS]))
    model.to(memory_format=torch.channels_last)
    clips = calibration_clips(data)

    def run() -> None:
        for clip in clips:
            model.upscale(clip[None])

    calibrate(model, run)
    return model.eval()


def calibration_clips(data: Path) -> list[Tensor]:
    """Return the clips (t, 3, h, w) in [0, 1] that ranges are taken from; fetched into ``data`` if needed.

    Raises:
        DataError: They cannot be fetched.
    """
    files = fetch(data, tuple(asset for asset in ASSETS if Path(asset.target).name in {name for name, *_ in _CLIPS}))
    clips = []
    for name, start, count, reduce in _CLIPS:
        clip = load_clip(files[name], start=start, stop=start + count)[..., :_CROP, :_CROP]
        clips.append(make_pair(clip)[0] if reduce else clip)
    return clips
