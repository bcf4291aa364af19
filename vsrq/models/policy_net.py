"""The network that looks at the frames of a clip and says how many bits each of them needs."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.quant.quantizer import FLOAT_BITS
from vsrq.quant.recorder import Call, is_recording, record
from vsrq.registry import MODELS


@MODELS.register_module()
class FramePolicyNet(nn.Module):
    """Strided convolutions over a frame and its change, their mean over the frame, one logit per width.

    The first frame of a clip has no change. It runs frame by frame, so a cost report finds its share in each.

    Args:
        widths: How many widths there are to choose from.
        channels: Of every layer.
        layers: Number of convolutions, each of stride 2.
        recurrent: Put a GRU cell before the logits, which knows the frames before.

    Raises:
        ConfigError: A number is below 1.
    """

    def __init__(self, *, widths: int, channels: int = 8, layers: int = 3, recurrent: bool = False) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("layers", layers)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"FramePolicyNet: {name} must be an integer of 1 or more, got {value!r}.")
        sizes = [6, *[channels] * layers]  # a frame and its change
        convs = [nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(sizes)]
        self.features = nn.Sequential(*(module for conv in convs for module in (conv, nn.LeakyReLU(0.1))))
        self.memory = nn.GRUCell(channels, channels) if recurrent else None
        self.head = nn.Linear(channels, widths)

    def forward(self, clip: Tensor) -> Tensor:
        """Return logits (n, t, widths) of a clip (n, t, 3, h, w) in [0, 1]."""
        frames = clip.unbind(1)
        state: Tensor | None = None
        logits = []
        for before, frame in zip((frames[0], *frames[:-1]), frames, strict=True):
            seen = self.features(torch.cat([frame, (frame - before).abs()], dim=1)).mean((-2, -1))
            if self.memory is not None:
                _record(self.memory, len(seen))
                seen = state = self.memory(seen, state)
            logits.append(self.head(seen))
        return torch.stack(logits, dim=1)


def _record(cell: nn.GRUCell, samples: int) -> None:
    """Count a cell's call, which is no layer that reports by itself."""
    if is_recording():
        record(Call(cell, "float", samples * (cell.weight_ih.numel() + cell.weight_hh.numel()), FLOAT_BITS, FLOAT_BITS))
