"""Do the exported graphs compute what PyTorch computes?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vsrq.deploy.driver import StepGraph, make_driver
from vsrq.deploy.plan import Plan
from vsrq.models.padding import pad_clip

FLOAT_DB = 80.0
QUANTIZED_DB = 45.0
_SMALLEST = 1e-20  # mean squared error, 200 dB


@dataclass(frozen=True)
class Parity:
    """Agreement of the graphs with PyTorch on one clip.

    Attributes:
        psnr: dB between both outputs, clipped to [0, 1], of the worst frame.
        required: What it has to reach.
        frames: Length of the clip.
        size: Height and width of its frames.
    """

    psnr: float
    required: float
    frames: int
    size: tuple[int, int]

    @property
    def ok(self) -> bool:
        """Whether the graphs agree."""
        return self.psnr >= self.required


def run_graphs(plan: Plan, graphs: Mapping[str, StepGraph], clip: Tensor) -> Tensor:
    """Upscale a whole clip in one stretch.

    Args:
        plan: How the steps belong together.
        graphs: Loaded for the padded size of the clip.
        clip: (t, 3, h, w) in [0, 1].

    Returns:
        (t, 3, scale * h, scale * w), not clipped.
    """
    height, width = clip.shape[-2:]
    padded = pad_clip(clip[None], multiple=plan.multiple, minimum=plan.minimum)[0]
    driver = make_driver(plan, graphs, lookahead=0)
    outputs = list(driver.run([frame[None].numpy() for frame in padded], len(padded)))
    out = torch.from_numpy(np.concatenate(outputs))
    return out[..., : plan.scale * height, : plan.scale * width]


def worst_psnr(a: Tensor, b: Tensor) -> float:
    """Return the PSNR in dB of the worst frame of two clips (t, c, h, w), clipped to [0, 1].

    Equal clips give 200; what is not a number in either gives NaN, which reaches no threshold.
    """
    error = (a.clamp(0, 1) - b.clamp(0, 1)).double().square().flatten(1).mean(1).amax()
    return -10 * torch.log10(error.clamp(min=_SMALLEST)).item()


def required_db(net: nn.Module) -> float:
    """Return the agreement asked of a network: less where rounding to a grid can fall to either side."""
    from vsrq.quant import QuantLayer

    return QUANTIZED_DB if any(isinstance(m, QuantLayer) for m in net.modules()) else FLOAT_DB
