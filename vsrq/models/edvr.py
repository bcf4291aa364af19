"""EDVR, one frame and one neighbour at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from mmagic.models.editors import EDVRNet as MMagicEDVRNet
from mmagic.models.editors.edvr import edvr_net
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from vsrq.errors import ConfigError, DataError
from vsrq.models.deform import DeformConv2d, split_offsets
from vsrq.models.padding import pad_clip
from vsrq.models.stepwise import StepwiseVSR, check_clip
from vsrq.ops.partial_conv import PartialConv2d
from vsrq.registry import MODELS
from vsrq.residual.call_site import call_site
from vsrq.windows import window_indices


class Pyramid(NamedTuple):
    """Features of a frame at its size, half and a quarter of it; each (n, c, ...)."""

    l1: Tensor
    l2: Tensor
    l3: Tensor


class ReferenceOffsets(NamedTuple):
    """What the convolutions that see a neighbour and the reference make of the reference; each (n, c, ...)."""

    l1: Tensor
    l2: Tensor
    l3: Tensor
    cascade: Tensor


@MODELS.register_module()
class EDVRNet(StepwiseVSR, MMagicEDVRNet):
    """EDVR split into steps; parameters and arguments as in mmagic.

    ``forward`` upscales the centre frame of a window. ``upscale`` slides the window over a clip and computes the
    features of each frame once. Frames are padded to a multiple of 4.

    Reference: Wang et al., EDVR (CVPRW 2019).
    """

    trunks = ("reconstruction",)
    roles: ClassVar[dict[str, str]] = {
        "conv_first": "encoder",
        "feature_extraction.*": "encoder",
        "feat_l[23]_conv[12].*": "encoder",
        "pcd_alignment.*conv_offset": "offset",
        "pcd_alignment.*offset_conv*": "offset",
        "pcd_alignment.*dcn*pack*": "deform",
        "pcd_alignment.feat_conv.*": "fusion",
        "fusion.*attn*": "attention",
        "fusion*": "fusion",
        "reconstruction.*": "trunk",
        "upsample[12].*": "tail",
        "conv_hr": "tail",
        "conv_last": "tail",
    }

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        mid_channels: int = 64,
        num_frames: int = 5,
        deform_groups: int = 8,
        num_blocks_extraction: int = 5,
        num_blocks_reconstruction: int = 10,
        center_frame_idx: int = 2,
        with_tsa: bool = True,
        init_cfg: dict | None = None,
    ):
        if not 0 <= center_frame_idx < num_frames:
            raise ConfigError(
                f"center_frame_idx={center_frame_idx} lies outside of num_frames={num_frames}; "
                f"allowed: 0 to {num_frames - 1}."
            )
        super().__init__(
            in_channels,
            out_channels,
            mid_channels,
            num_frames,
            deform_groups,
            num_blocks_extraction,
            num_blocks_reconstruction,
            center_frame_idx,
            with_tsa,
            init_cfg,
        )
        self.in_channels = in_channels
        self.num_frames = num_frames
        self.pcd_alignment = PCDAlignment(mid_channels, deform_groups)
        if with_tsa:
            self.fusion = TSAFusion(mid_channels, num_frames, center_frame_idx)

    def forward(self, window: Tensor) -> Tensor:
        """Upscale the centre frame of a window.

        Args:
            window: (n, num_frames, c, h, w) in [0, 1].

        Returns:
            (n, c, 4h, 4w).

        Raises:
            DataError: The window has another shape.
        """
        check_clip(window, self.in_channels)
        if window.shape[1] != self.num_frames:
            raise DataError(
                f"a window of shape {tuple(window.shape)} has {window.shape[1]} frames, the network takes "
                f"{self.num_frames}; use upscale() for clips of any length."
            )
        height, width = window.shape[-2:]
        frames = pad_clip(window, multiple=4).unbind(1)
        hr = self._upscale_centre([self.encode(frame) for frame in frames], frames[self.center_frame_idx])
        return hr[..., : 4 * height, : 4 * width]

    def upscale(self, clip: Tensor) -> Tensor:
        """Upscale every frame; see :meth:`StepwiseVSR.upscale`.

        Windows that reach beyond the clip are filled as :func:`window_indices` says. At most ``num_frames``
        encoded frames are held at a time.
        """
        check_clip(clip, self.in_channels)
        height, width = clip.shape[-2:]
        frames = pad_clip(clip, multiple=4).unbind(1)
        count = len(frames)
        encoded: dict[int, Pyramid] = {}
        outputs = []
        for i, frame in enumerate(frames):
            # no later window needs an earlier frame: those at the end of the clip reach back to the last num_frames
            oldest = min(i - self.center_frame_idx, count - self.num_frames)
            encoded = {index: feats for index, feats in encoded.items() if index >= oldest}
            window = window_indices(i, count, self.num_frames, self.center_frame_idx)
            for index in sorted(set(window) - set(encoded)):
                encoded[index] = self.encode(frames[index])
            hr = self._upscale_centre([encoded[index] for index in window], frame)
            outputs.append(hr[..., : 4 * height, : 4 * width])
        return torch.stack(outputs, dim=1)

    def encode(self, frame: Tensor) -> Pyramid:
        """Return the feature pyramid of a frame (n, c, h, w), ``h`` and ``w`` multiples of 4."""
        l1 = self.feature_extraction(self.lrelu(self.conv_first(frame)))
        l2 = self.feat_l2_conv2(self.feat_l2_conv1(l1))
        return Pyramid(l1, l2, self.feat_l3_conv2(self.feat_l3_conv1(l2)))

    def reference_offsets(self, reference: Pyramid) -> ReferenceOffsets:
        """Return what :meth:`align` computes of the reference alone, the same for all neighbours of a window."""
        return self.pcd_alignment.reference_offsets(reference)

    def align(self, neighbour: Pyramid, reference: Pyramid, offsets: ReferenceOffsets | None = None) -> Tensor:
        """Return the features (n, c, h, w) of a neighbour, moved to where the reference has them.

        Args:
            neighbour: Features of the neighbour.
            reference: Features of the centre frame.
            offsets: What :meth:`reference_offsets` returned for it; ``None`` computes it anew.
        """
        return self.pcd_alignment(neighbour, reference, offsets)

    def fuse(self, aligned: Sequence[Tensor]) -> Tensor:
        """Merge the aligned features of ``num_frames`` neighbours into one (n, c, h, w)."""
        return self.fusion(aligned if self.with_tsa else torch.cat(list(aligned), dim=1))

    def reconstruct(self, feat: Tensor, frame: Tensor) -> Tensor:
        """Turn the fused feature and the centre frame (n, c, h, w) into the frame (n, c, 4h, 4w)."""
        out = self.reconstruction(feat)
        out = self.lrelu(self.upsample1(out))
        out = self.lrelu(self.upsample2(out))
        out = self.lrelu(self.conv_hr(out))
        return self.conv_last(out) + self.img_upsample(frame)

    def _upscale_centre(self, window: Sequence[Pyramid], frame: Tensor) -> Tensor:
        reference = window[self.center_frame_idx]
        offsets = self.reference_offsets(reference)
        aligned = []
        for slot, neighbour in enumerate(window):
            with call_site(slot):
                aligned.append(self.align(neighbour, reference, offsets))
        return self.reconstruct(self.fuse(aligned), frame)


class PCDAlignment(edvr_net.PCDAlignment):
    """Pyramid, cascading and deformable alignment whose deformable layers are given their offsets."""

    def __init__(self, mid_channels: int, deform_groups: int):
        super().__init__(mid_channels, deform_groups)
        for level in ("l3", "l2", "l1"):
            self.dcn_pack[level] = _deform_pack(mid_channels, deform_groups)
        for module in (*self.offset_conv1.values(), self.cas_offset_conv1):
            module.conv = PartialConv2d(2 * mid_channels, mid_channels, 3, padding=1)
            module.init_weights()
        self.cas_dcnpack = _deform_pack(mid_channels, deform_groups)

    def reference_offsets(self, reference: Pyramid) -> ReferenceOffsets:
        """Return the reference's half of the first offset convolution at each level and of the cascade."""
        with call_site("reference"):
            halves = {name: _half(self.offset_conv1[name], feat, 1) for name, feat in reference._asdict().items()}
            return ReferenceOffsets(**halves, cascade=_half(self.cas_offset_conv1, reference.l1, 1))

    def forward(self, neighbour: Pyramid, reference: Pyramid, offsets: ReferenceOffsets | None = None) -> Tensor:
        """Align ``neighbour`` to ``reference``, of which ``offsets`` may be known; returns (n, c, h, w)."""
        if offsets is None:
            offsets = self.reference_offsets(reference)
        first = {
            name: _joined(self.offset_conv1[name], feat, getattr(offsets, name))
            for name, feat in neighbour._asdict().items()
        }
        offset_feat = self.offset_conv2["l3"](first["l3"])
        feat = self.lrelu(_apply_pack(self.dcn_pack["l3"], neighbour.l3, offset_feat))
        for level, moving in (("l2", neighbour.l2), ("l1", neighbour.l1)):
            coarse = 2 * self.upsample(offset_feat)  # displacements double with the resolution
            offset_feat = self.offset_conv2[level](torch.cat([first[level], coarse], dim=1))
            offset_feat = self.offset_conv3[level](offset_feat)
            fine = _apply_pack(self.dcn_pack[level], moving, offset_feat)
            feat = self.feat_conv[level](torch.cat([fine, self.upsample(feat)], dim=1))
        offset_feat = self.cas_offset_conv2(_joined(self.cas_offset_conv1, feat, offsets.cascade))
        return self.lrelu(_apply_pack(self.cas_dcnpack, feat, offset_feat))


class TSAFusion(edvr_net.TSAFusion):
    """Temporal and spatial attention that takes one neighbour at a time."""

    def forward(self, aligned: Sequence[Tensor]) -> Tensor:
        """Fuse the aligned features, each (n, c, h, w), into one of the same shape."""
        reference = self.temporal_attn1(aligned[self.center_frame_idx])
        weighted = []
        for slot, feat in enumerate(aligned):
            with call_site(slot):
                similarity = (self.temporal_attn2(feat) * reference).sum(dim=1, keepdim=True)
            weighted.append(feat * torch.sigmoid(similarity))
        stacked = torch.cat(weighted, dim=1)
        attention = self._spatial_attention(stacked)
        shift = self.spatial_attn_add2(self.spatial_attn_add1(attention))
        # the factor 2 makes the initial gain about 1
        return self.feat_fusion(stacked) * torch.sigmoid(attention) * 2 + shift

    def _spatial_attention(self, stacked: Tensor) -> Tensor:
        half = self.spatial_attn2(self._pool(self.spatial_attn1(stacked)))
        quarter = self.spatial_attn_l2(self._pool(self.spatial_attn_l1(half)))
        coarse = self.upsample(self.spatial_attn_l3(quarter))
        attention = self.spatial_attn4(self.spatial_attn3(half) + coarse)
        return self.spatial_attn5(self.upsample(attention))

    def _pool(self, feat: Tensor) -> Tensor:
        return torch.cat([self.max_pool(feat), self.avg_pool(feat)], dim=1)


def _deform_pack(channels: int, deform_groups: int) -> DeformConv2d:
    conv_offset = nn.Conv2d(channels, 27 * deform_groups, 3, padding=1)
    return DeformConv2d(channels, channels, 3, padding=1, deform_groups=deform_groups, conv_offset=conv_offset)


def _half(module: ConvModule, feat: Tensor, half: int) -> Tensor:
    """Convolve the neighbour's (0) or the reference's (1) half of a module's input channels."""
    channels = module.in_channels // 2  # not that of ``feat``: in an exported graph it would depend on the input
    return module.conv(feat, slice(half * channels, (half + 1) * channels))


def _joined(module: ConvModule, feat: Tensor, reference: Tensor) -> Tensor:
    """Return the module's output for a neighbour, given the reference's half of the convolution."""
    return module.activate(_half(module, feat, 0) + reference)


def _apply_pack(pack: DeformConv2d, x: Tensor, offset_feat: Tensor) -> Tensor:
    offset, mask = split_offsets(pack.conv_offset(offset_feat))
    return pack(x, offset, mask)
