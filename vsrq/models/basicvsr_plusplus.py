"""BasicVSR++, one frame at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from mmagic.models.editors import BasicVSRPlusPlusNet as MMagicBasicVSRPlusPlusNet
from mmengine import print_log
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.models.deform import DeformConv2d, second_order_offsets
from vsrq.models.padding import pad_clip
from vsrq.models.spynet import SPyNet
from vsrq.models.stepwise import StepwiseVSR, check_clip, clip_flows, is_mirror_extended
from vsrq.ops.warp import flow_warp
from vsrq.quant.grouped import declare_parts
from vsrq.registry import MODELS

_MIN_FLOW_SIZE = 64  # the size the network is designed for; mmagic refuses less


class PreviousFrames(NamedTuple):
    """What a branch remembers of its previous two calls.

    Attributes:
        feat_1: The feature the previous call returned, (n, c, h, w).
        flow_1: Flow from the current frame to that call's frame, (n, 2, h, w) in pixels.
        feat_2: The feature of the call before it, None at the second step of a clip.
        flow_2: Flow from the previous call's frame to that of the call before it, None likewise.
    """

    feat_1: Tensor
    flow_1: Tensor
    feat_2: Tensor | None = None
    flow_2: Tensor | None = None


@MODELS.register_module()
class BasicVSRPlusPlusNet(StepwiseVSR, MMagicBasicVSRPlusPlusNet):
    """BasicVSR++ split into steps; parameters and arguments as in mmagic.

    Frames are padded to 64 pixels (with ``is_low_res_input=False`` to 256 and to a multiple of 4). Clips on a GPU
    longer than ``cpu_cache_length`` keep their features and output in the CPU's memory, and say so.

    Args:
        deform_groups: Groups of channels that share their sampling positions, an even number; mmagic's networks and
            all published weights have 16.

    Reference: Chan et al., BasicVSR++ (CVPR 2022).
    """

    branches = ("backward_1", "forward_1", "backward_2", "forward_2")
    trunks = ("backbone.*.main.2", "reconstruction.main.2")
    residual_warmup = 3  # the first- and second-order features are zero at calls 0 and 1
    roles: ClassVar[dict[str, str]] = {
        "spynet.*": "flow",
        "feat_extract.*": "encoder",
        "deform_align.*.conv_offset.*": "offset",
        "deform_align.*": "deform",
        "backbone.*": "trunk",
        "reconstruction.*": "fusion",
        "upsample[12].*": "tail",
        "conv_hr": "tail",
        "conv_last": "tail",
    }

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 7,
        max_residue_magnitude: float = 10,
        is_low_res_input: bool = True,
        spynet_pretrained: str | None = None,
        cpu_cache_length: int = 100,
        deform_groups: int = 16,
    ):
        if deform_groups < 2 or deform_groups % 2 or 2 * mid_channels % deform_groups:
            raise ConfigError(
                f"deform_groups={deform_groups}: allowed are even numbers that divide 2 * mid_channels="
                f"{2 * mid_channels}, one half for each of the two aligned features."
            )
        super().__init__(
            mid_channels,
            num_blocks,
            max_residue_magnitude,
            is_low_res_input,
            cpu_cache_length=cpu_cache_length,
        )
        self.spynet = SPyNet(pretrained=spynet_pretrained)
        self.scale = 4 if is_low_res_input else 1
        self.max_residue_magnitude = max_residue_magnitude
        for branch in self.branches:
            self.deform_align[branch] = _alignment(mid_channels, deform_groups)

    def forward(self, clip: Tensor) -> Tensor:
        """Upscale every frame; see :meth:`StepwiseVSR.upscale`."""
        check_clip(clip)
        height, width = clip.shape[-2:]
        step = 1 if self.is_low_res_input else 4
        clip = pad_clip(clip, multiple=step, minimum=step * _MIN_FLOW_SIZE)
        device, cache = clip.device, self._feature_device(clip)
        frames = clip.unbind(1)

        small = [self.flow_input(frame) for frame in frames]
        backward_flows, forward_flows = clip_flows(self.flow, small, mirrored=is_mirror_extended(clip))
        # frame by frame: the encoded frame, then what each branch made of it
        feats = [[self.encode(frame).to(cache)] for frame in frames]
        for branch in self.branches:
            backward = branch.startswith("backward")
            order = range(len(frames) - 1, -1, -1) if backward else range(len(frames))
            flows = backward_flows[::-1] if backward else forward_flows
            done: list[Tensor] = []
            for step_index, i in enumerate(order):
                memory = _memory(done, flows, step_index)
                feat = self.propagate(branch, [feat.to(device) for feat in feats[i]], memory)
                done = [*done[-1:], feat]
                feats[i].append(feat.to(cache))
        outputs = []
        for i, frame in enumerate(frames):
            hr = self.reconstruct([feat.to(device) for feat in feats[i]], frame)
            outputs.append(hr[..., : self.scale * height, : self.scale * width].to(cache))
            feats[i].clear()
        return torch.stack(outputs, dim=1)

    def upscale(self, clip: Tensor) -> Tensor:
        """Upscale every frame; the same as :meth:`forward`."""
        return self.forward(clip)

    def flow_input(self, frame: Tensor) -> Tensor:
        """Return the frame at the resolution of the features, on which the flow is computed."""
        return frame if self.is_low_res_input else F.interpolate(frame, scale_factor=0.25, mode="bicubic")

    def flow(self, frame: Tensor, neighbour: Tensor) -> Tensor:
        """Return the optical flow (n, 2, h, w) in pixels from ``frame`` to ``neighbour``, both (n, 3, h, w)."""
        return self.spynet(frame, neighbour)

    def encode(self, frame: Tensor) -> Tensor:
        """Return the features (n, c, h, w) of a frame; with ``is_low_res_input=False`` at a quarter of its size."""
        return self.feat_extract(frame)

    def propagate(self, branch: str, feats: Sequence[Tensor], memory: PreviousFrames | None) -> Tensor:
        """Run one step of a branch.

        Args:
            branch: One of ``branches``.
            feats: The encoded frame and the features earlier branches gave for it, each (n, c, h, w).
            memory: None at the first step of a clip.

        Returns:
            The feature (n, c, h, w).
        """
        if memory is None:
            return self.refine(branch, feats, torch.zeros_like(feats[0]))
        feat_1, flow_1, feat_2, flow_2 = memory
        if feat_2 is None or flow_2 is None:
            feat_2, reach = torch.zeros_like(feat_1), torch.zeros_like(flow_1)
        else:
            reach = self.chain_flows(flow_1, flow_2)
        return self.refine(branch, feats, self.align(branch, feats[0], feat_1, flow_1, feat_2, reach))

    def chain_flows(self, flow_1: Tensor, flow_2: Tensor) -> Tensor:
        """Return the flow (n, 2, h, w) over two frames from the flow of each; see :class:`PreviousFrames`."""
        return flow_1 + flow_warp(flow_2, flow_1)

    def align(
        self, branch: str, current: Tensor, feat_1: Tensor, flow_1: Tensor, feat_2: Tensor, reach: Tensor
    ) -> Tensor:
        """Move the last two features of a branch to where the current frame has them.

        Args:
            branch: One of ``branches``.
            current: The encoded frame, (n, c, h, w).
            feat_1: Feature of the previous call, same shape.
            flow_1: Flow to its frame, (n, 2, h, w) in pixels.
            feat_2: Feature of the call before.
            reach: Flow from the current frame to that call's frame.

        Returns:
            The aligned feature (n, c, h, w).
        """
        layer = self.deform_align[branch]
        features = [flow_warp(feat_1, flow_1), current, flow_warp(feat_2, reach), flow_1, reach]
        out = layer.conv_offset(torch.cat(features, dim=1))
        offset, mask = second_order_offsets(out, flow_1, reach, self.max_residue_magnitude)
        return layer(torch.cat([feat_1, feat_2], dim=1), offset, mask)

    def refine(self, branch: str, feats: Sequence[Tensor], aligned: Tensor) -> Tensor:
        """Run the residual blocks of a branch on all features of a frame; shapes as in :meth:`propagate`."""
        return aligned + self.backbone[branch](torch.cat([*feats, aligned], dim=1))

    def reconstruct(self, feats: Sequence[Tensor], frame: Tensor) -> Tensor:
        """Turn the encoded frame, the features of all branches and the frame into the upscaled frame."""
        out = self.reconstruction(torch.cat(list(feats), dim=1))
        out = self.lrelu(self.upsample1(out))
        out = self.lrelu(self.upsample2(out))
        out = self.lrelu(self.conv_hr(out))
        return self.conv_last(out) + (self.img_upsample(frame) if self.is_low_res_input else frame)

    def _feature_device(self, clip: Tensor) -> torch.device:
        if not clip.is_cuda or clip.shape[1] <= self.cpu_cache_length:
            return clip.device
        print_log(
            f"{clip.shape[1]} frames are more than cpu_cache_length={self.cpu_cache_length}: features and output "
            "are kept in the CPU's memory.",
            logger="current",
            level=logging.INFO,
        )
        return torch.device("cpu")


def _memory(done: list[Tensor], flows: list[Tensor], step: int) -> PreviousFrames | None:
    """Return what step ``step`` of a branch sees; ``done`` holds its last features, ``flows`` lie in its order."""
    if step == 0:
        return None
    if step == 1:
        return PreviousFrames(done[-1], flows[0])
    return PreviousFrames(done[-1], flows[step - 1], done[-2], flows[step - 2])


def _alignment(channels: int, groups: int) -> DeformConv2d:
    def conv(c_in: int, c_out: int) -> nn.Conv2d:
        return nn.Conv2d(c_in, c_out, 3, padding=1)

    hidden: list[Any] = []
    for c_in in (3 * channels + 4, channels, channels):  # two warped features, the current one, two flows
        hidden += [conv(c_in, channels), nn.LeakyReLU(0.1, inplace=True)]
    declare_parts(hidden[0], 3 * channels, 4)
    conv_offset = nn.Sequential(*hidden, conv(channels, 27 * groups))
    return DeformConv2d(2 * channels, channels, 3, padding=1, deform_groups=groups, conv_offset=conv_offset)
