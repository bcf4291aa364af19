"""The networks whose speed is compared, their weights, and the real frames they see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrq.apis.default_network import calibration_clips
from vsrq.datasets.clips import load_clip, to_uint8
from vsrq.demo.assets import ASSETS, fetch
from vsrq.demo.run import WEIGHTS
from vsrq.demo.settings import FLOW_RULES
from vsrq.models import FloatVSR, QuantizedVSR
from vsrq.models.checkpoint import load_weights
from vsrq.models.deform import DeformConv2d
from vsrq.quant import calibrate

GENERATORS: dict[str, dict[str, Any]] = {
    "basicvsr": dict(type="BasicVSRNet", mid_channels=64, num_blocks=30),
    "basicvsr_pp": dict(type="BasicVSRPlusPlusNet", mid_channels=64, num_blocks=7),
    "edvr": dict(type="EDVRNet", in_channels=3, out_channels=3, mid_channels=64, num_blocks_reconstruction=10),
}
_VIDEO, _FIRST, _LAST = "bikes.mp4", 146, 250  # a street scene without cuts
_OFFSET_STD = 0.02  # of the last weights that compute offsets: about a pixel


@dataclass(frozen=True)
class Subject:
    """Which network is measured, with which weights.

    Attributes:
        network: A key of ``GENERATORS``.
        channels: Instead of the network's own.
        blocks: Residual blocks (EDVR: of its reconstruction) instead of the network's own.
        checkpoint: Float weights; ``None`` takes official ones where there are any, else random ones.
        clip: Video or folder of low-resolution frames; ``None`` takes clips that are fetched once.
        data: Where weights and clips are fetched to.
    """

    network: str
    channels: int | None = None
    blocks: int | None = None
    checkpoint: str | None = None
    clip: str | None = None
    data: str = "data"

    @property
    def generator(self) -> dict[str, Any]:
        """Config of the network."""
        config = dict(GENERATORS[self.network])
        if self.channels is not None:
            config["mid_channels"] = self.channels
        if self.blocks is not None:
            config["num_blocks_reconstruction" if self.network == "edvr" else "num_blocks"] = self.blocks
        return config

    @property
    def full_size(self) -> bool:
        """Whether the network is the published one."""
        return self.channels is None and self.blocks is None

    @property
    def trained(self) -> bool:
        """Whether its scores mean anything."""
        return self.checkpoint is not None or (self.network == "basicvsr" and self.full_size)

    @property
    def weights(self) -> str:
        """What to say of the weights."""
        if self.checkpoint is not None:
            return Path(self.checkpoint).name
        if self.trained:
            return f"official {WEIGHTS}"
        flow = ", flow network of the official BasicVSR" if self._official_flow else ""
        return f"random (seeded){flow}; good for speed, not for scores"

    @property
    def _official_flow(self) -> bool:
        return self.network == "basicvsr_pp" and self.full_size


def float_net(subject: Subject) -> nn.Module:
    """Return the float network in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FloatVSR(generator=subject.generator, pixel_loss=dict(type="CharbonnierLoss"))
        net: Any = model.generator
        for layer in net.modules():
            if isinstance(layer, DeformConv2d):
                _move_offsets(layer)
    if subject.checkpoint is not None:
        load_weights(net, subject.checkpoint)
    elif subject.trained:
        load_weights(net, _official_weights(subject))
    elif subject._official_flow:
        teacher: Any = FloatVSR(generator=GENERATORS["basicvsr"], pixel_loss=dict(type="CharbonnierLoss")).generator
        load_weights(teacher, _official_weights(subject))
        net.spynet.load_state_dict(teacher.spynet.state_dict())
    return net.eval()


def quantized_net(subject: Subject, weights: Path, *, shortcuts: str = "float") -> nn.Module:
    """Return the network at 8 bit throughout, calibrated.

    Args:
        subject: Which network.
        weights: The float weights, as a state dict.
        shortcuts: As in :class:`vsrq.models.QuantizedVSR`.
    """
    rules = FLOW_RULES if subject.network != "edvr" else []
    quant = dict(weight=dict(bits=8), act=dict(bits=8), rules=rules)
    architecture = dict(type="FloatVSR", generator=subject.generator, pixel_loss=dict(type="CharbonnierLoss"))
    model = QuantizedVSR(architecture, quant, float_checkpoint=str(weights), shortcuts=shortcuts)
    model = model.to(memory_format=torch.channels_last)
    clips = calibration(subject)

    def run() -> None:
        for clip in clips:
            model.upscale(clip[None])

    calibrate(model, run)
    return model.eval().generator


def calibration(subject: Subject) -> list[Tensor]:
    """Return the clips (t, 3, h, w) in [0, 1] that ranges are taken from; the same for every kind of quantization."""
    if subject.clip is not None:
        return [load_clip(subject.clip)[:4]]
    return calibration_clips(Path(subject.data))


def source_clip(subject: Subject, height: int, width: int) -> np.ndarray:
    """Return real frames (t, height, width, 3), uint8: cropped, or enlarged first where they are too small."""
    if subject.clip is not None:
        clip = load_clip(subject.clip)
    else:
        clip = load_clip(_fetched(subject, _VIDEO), start=_FIRST, stop=_LAST)
    grow = max(height / clip.shape[-2], width / clip.shape[-1])
    if grow > 1:
        size = (max(height, round(grow * clip.shape[-2])), max(width, round(grow * clip.shape[-1])))
        clip = F.interpolate(clip, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
    top, left = (clip.shape[-2] - height) // 2, (clip.shape[-1] - width) // 2
    frames = to_uint8(clip[..., top : top + height, left : left + width])
    return np.ascontiguousarray(frames.permute(0, 2, 3, 1).numpy())


def looped(frames: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yield ``count`` frames, playing the clip forward and backward in turn: it never jumps."""
    period = max(2 * (len(frames) - 1), 1)
    for index in range(count):
        place = index % period
        yield frames[min(place, period - place) if len(frames) > 1 else 0]


def _move_offsets(layer: DeformConv2d) -> None:
    """Draw the weights of the offsets, which begin at zero: memory is not read in order then."""
    convs = [module for module in layer.conv_offset.modules() if isinstance(module, nn.Conv2d)]
    nn.init.normal_(convs[-1].weight, std=_OFFSET_STD)


def _official_weights(subject: Subject) -> Path:
    return _fetched(subject, WEIGHTS)


def _fetched(subject: Subject, name: str) -> Path:
    assets = tuple(asset for asset in ASSETS if asset.target.endswith(f"/{name}"))
    return fetch(Path(subject.data), assets)[name]
