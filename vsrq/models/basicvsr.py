"""BasicVSR, one frame at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from mmagic.models.editors import BasicVSRNet as MMagicBasicVSRNet
from torch import Tensor

from vsrq.models.spynet import SPyNet
from vsrq.models.stepwise import StepwiseVSR, check_clip, clip_flows, is_mirror_extended
from vsrq.ops.warp import flow_warp
from vsrq.quant.grouped import declare_parts
from vsrq.registry import MODELS


class PreviousFrame(NamedTuple):
    """What a branch remembers of its previous call.

    Attributes:
        feat: The feature it returned, (n, c, h, w).
        flow: Flow from the current frame to that call's frame, (n, 2, h, w) in pixels.
    """

    feat: Tensor
    flow: Tensor


@MODELS.register_module()
class BasicVSRNet(StepwiseVSR, MMagicBasicVSRNet):
    """BasicVSR split into steps; parameters and arguments as in mmagic.

    Frames of any size are taken as they are: the flow network resizes what it needs.

    Reference: Chan et al., BasicVSR (CVPR 2021).
    """

    branches = ("backward", "forward")
    trunks = ("backward_resblocks.main.2", "forward_resblocks.main.2")
    roles: ClassVar[dict[str, str]] = {
        "spynet.*": "flow",
        "backward_resblocks.*": "trunk",
        "forward_resblocks.*": "trunk",
        "fusion": "fusion",
        "upsample[12].*": "tail",
        "conv_hr": "tail",
        "conv_last": "tail",
    }

    def __init__(self, mid_channels: int = 64, num_blocks: int = 30, spynet_pretrained: str | None = None):
        super().__init__(mid_channels, num_blocks)
        self.spynet = SPyNet(pretrained=spynet_pretrained)
        for blocks in (self.backward_resblocks, self.forward_resblocks):
            declare_parts(blocks.main[0], 3, mid_channels)  # a frame in [0, 1] and features

    def forward(self, clip: Tensor) -> Tensor:
        """Upscale every frame; see :meth:`StepwiseVSR.upscale`."""
        check_clip(clip)
        frames = clip.unbind(1)
        last = len(frames) - 1
        backward_flows, forward_flows = clip_flows(self.flow, frames, mirrored=is_mirror_extended(clip))

        backward = []
        memory = None
        for i in range(last, -1, -1):
            feat = self.propagate("backward", frames[i], memory)
            backward.append(feat)
            memory = PreviousFrame(feat, backward_flows[i - 1]) if i else None
        backward.reverse()

        outputs = []
        memory = None
        for i, frame in enumerate(frames):
            feat = self.propagate("forward", frame, memory)
            outputs.append(self.reconstruct((backward[i], feat), frame))
            memory = PreviousFrame(feat, forward_flows[i]) if i < last else None
        return torch.stack(outputs, dim=1)

    def upscale(self, clip: Tensor) -> Tensor:
        """Upscale every frame; the same as :meth:`forward`."""
        return self.forward(clip)

    def flow(self, frame: Tensor, neighbour: Tensor) -> Tensor:
        """Return the optical flow (n, 2, h, w) in pixels from ``frame`` to ``neighbour``, both (n, 3, h, w)."""
        return self.spynet(frame, neighbour)

    def propagate(self, branch: str, frame: Tensor, memory: PreviousFrame | None) -> Tensor:
        """Run one step of a branch.

        Args:
            branch: One of ``branches``.
            frame: (n, 3, h, w).
            memory: None at the first step of a clip.

        Returns:
            The feature (n, c, h, w).
        """
        if memory is None:
            n, _, h, w = frame.shape
            warped = frame.new_zeros(n, self.mid_channels, h, w)
        else:
            warped = flow_warp(memory.feat, memory.flow)
        blocks = self.backward_resblocks if branch == "backward" else self.forward_resblocks
        return blocks(torch.cat([frame, warped], dim=1))

    def reconstruct(self, feats: Sequence[Tensor], frame: Tensor) -> Tensor:
        """Turn the features of both branches and the frame (n, 3, h, w) into the frame (n, 3, 4h, 4w)."""
        out = self.lrelu(self.fusion(torch.cat(list(feats), dim=1)))
        out = self.lrelu(self.upsample1(out))
        out = self.lrelu(self.upsample2(out))
        out = self.lrelu(self.conv_hr(out))
        return self.conv_last(out) + self.img_upsample(frame)
