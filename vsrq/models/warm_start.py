"""Start a small BasicVSR++ or EDVR from official BasicVSR weights.

The tails of the three networks are alike: two pixel-shuffle convolutions and two convolutions. BasicVSR's tail takes
64 channels, of which a few principal directions carry nearly everything the output needs, so that a network of fewer
channels can have the same tail behind a change of basis. What remains to be learnt are features in that basis.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.models.basicvsr import BasicVSRNet
from vsrq.models.basicvsr_plusplus import BasicVSRPlusPlusNet
from vsrq.models.edvr import EDVRNet


@torch.no_grad()
def fused_features(teacher: BasicVSRNet, clip: Tensor) -> Tensor:
    """Return the features (n * t, c, h, w) that enter the tail of BasicVSR for a clip (n, t, 3, h, w)."""
    found: list[Tensor] = []
    handle = teacher.fusion.register_forward_hook(lambda module, args, out: found.append(teacher.lrelu(out.clone())))
    try:
        teacher.upscale(clip)
    finally:
        handle.remove()
    return torch.cat(found)


def principal_basis(features: Tensor, channels: int) -> Tensor:
    """Return the orthonormal directions (c, channels) that keep most of the energy of features (n, c, h, w).

    The mean is not removed, so that projecting and back is linear and zero padding stays zero.

    Raises:
        ConfigError: More directions than channels are asked for.
    """
    if channels > features.shape[1]:
        raise ConfigError(f"{channels} directions asked for, but features have only {features.shape[1]} channels")
    pixels = features.movedim(1, -1).flatten(0, -2).double()
    return torch.linalg.eigh(pixels.T @ pixels).eigenvectors.flip(1)[:, :channels].float()


@torch.no_grad()
def warm_start(net: BasicVSRPlusPlusNet | EDVRNet, teacher: BasicVSRNet, features: Tensor) -> None:
    """Copy what fits, and let the alignment begin at nothing (BasicVSR++) or as the identity (EDVR).

    In BasicVSR++ the aligned features are added to what a branch computes from the current frame: while they are zero a
    clip comes out as its single frames do, so that training on single frames first is not lost.

    Flow network and the last three convolutions are copied. The first pixel shuffle takes the principal directions of
    the teacher's features and puts out only as many channels as the network has; the second one is fitted to them by
    least squares.

    Args:
        net: The network to start.
        teacher: BasicVSR with trained weights.
        features: What enters the teacher's tail on some clips, (n, c, h, w).

    Raises:
        ConfigError: The network is wider than the teacher.

    Reference: He et al., Channel pruning for accelerating very deep neural networks (ICCV 2017).
    """
    channels = net.upsample1.upsample_conv.in_channels
    basis = principal_basis(features, channels)
    if isinstance(net, BasicVSRPlusPlusNet):
        net.spynet.load_state_dict(teacher.spynet.state_dict())
        for layer in net.deform_align.values():
            _scale_identity(layer, 0.0)
    else:
        _pass_frames_through(net)
    wide = teacher.lrelu(teacher.upsample1(features))
    source, target = teacher.upsample1.upsample_conv, teacher.upsample2.upsample_conv
    kept = _important_channels(wide, target, channels)
    rows = _shuffled_rows(kept)
    conv = net.upsample1.upsample_conv
    conv.weight.copy_(torch.einsum("oikl,ij->ojkl", source.weight[rows], basis))
    conv.bias.copy_(source.bias[rows])
    weight, bias = _least_squares(wide[:, kept], target(wide))
    net.upsample2.upsample_conv.weight.copy_(weight)
    net.upsample2.upsample_conv.bias.copy_(bias)
    for name in ("conv_hr", "conv_last"):
        net.get_submodule(name).load_state_dict(teacher.get_submodule(name).state_dict())


@torch.no_grad()
def fit_readout(net: EDVRNet, teacher: BasicVSRNet, frames: Tensor, features: Tensor) -> None:
    """Fit the first pixel shuffle to what the untrained features of a network can tell of the teacher's.

    Random features hold much of what is needed linearly. Without this the tail shows noise at first, and training
    begins by silencing the features instead of using them.

    Args:
        net: The network, after :func:`warm_start`.
        teacher: BasicVSR with trained weights.
        frames: (n, 3, h, w) in [0, 1].
        features: What enters the teacher's tail for them.
    """
    inputs: list[Tensor] = []
    handle = net.upsample1.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
    try:
        for frame in frames.split(1):
            net(frame[:, None].expand(-1, net.num_frames, -1, -1, -1))
    finally:
        handle.remove()
    source = teacher.upsample1.upsample_conv
    wide = teacher.lrelu(teacher.upsample1(features))
    kept = _important_channels(wide, teacher.upsample2.upsample_conv, net.upsample1.upsample_conv.in_channels)
    rows = _shuffled_rows(kept)
    weight, bias = _least_squares(torch.cat(inputs), source(features)[:, rows])
    net.upsample1.upsample_conv.weight.copy_(weight)
    net.upsample1.upsample_conv.bias.copy_(bias)


def inflate_windows(weights: Mapping[str, Tensor], net: EDVRNet) -> dict[str, Tensor]:
    """Turn the weights of an EDVR of one frame into those of a window, with the same output at first.

    Layers that see the whole window look at its centre frame alone; the neighbours' part is zero and learns.

    Args:
        weights: Of a network that differs from ``net`` in ``num_frames=1`` only.
        net: The network of a window.

    Raises:
        ConfigError: A tensor is missing or differs in another way.
    """
    inflated = {}
    for name, own in net.state_dict().items():
        given = weights.get(name)
        if given is not None and given.shape == own.shape:
            inflated[name] = given.to(own.dtype)
            continue
        channels = 0 if given is None else given.shape[1]
        if given is None or tuple(own.shape) != (given.shape[0], net.num_frames * channels, *given.shape[2:]):
            found = "missing" if given is None else f"of shape {tuple(given.shape)}"
            raise ConfigError(
                f"{name} is {found}, needed is {tuple(own.shape)} or that of one of {net.num_frames} frames; the two "
                "networks may differ in num_frames only"
            )
        inflated[name] = torch.zeros_like(own)
        first = net.center_frame_idx * channels
        inflated[name][:, first : first + channels] = given
    return inflated


def _pass_frames_through(net: EDVRNet) -> None:
    """Let the alignment pass the finest level on, and the fusion mainly the centre frame, with neutral attention.

    Attention that starts anywhere else learns first of all to shut off features that are not yet good for anything,
    and stays shut.
    """
    alignment = net.pcd_alignment
    for layer in (*alignment.dcn_pack.values(), alignment.cas_dcnpack):
        _scale_identity(layer, 2.0)  # the mask begins at sigmoid(0) = 1/2
    for block in alignment.feat_conv.values():
        _scale_identity(block.conv, 1.0)
    if net.with_tsa:
        for layer in (net.fusion.temporal_attn2, net.fusion.spatial_attn5, net.fusion.spatial_attn_add2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    fusion: nn.Module = net.fusion.feat_fusion.conv if net.with_tsa else net.fusion
    weight: Tensor = fusion.weight  # type: ignore[assignment]
    weight.mul_(0.1)
    channels = torch.arange(weight.shape[0])
    gain = 2.0 if net.with_tsa else 1.0  # neutral temporal attention weights every frame by 1/2
    weight[channels, net.center_frame_idx * len(channels) + channels, 0, 0] += gain


def _scale_identity(layer: nn.Module, gain: float) -> None:
    """Let a convolution, deformable or not, put out ``gain`` times its first input channels, at the centre tap."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    weight.zero_()
    channels, centre = torch.arange(weight.shape[0]), weight.shape[2] // 2
    weight[channels, channels, centre, centre] = gain
    if isinstance(layer.bias, Tensor):
        layer.bias.zero_()


def _important_channels(wide: Tensor, target: nn.Conv2d, count: int) -> Tensor:
    """Return the sorted channels with most energy at the output of ``target``."""
    energy = wide.square().mean(dim=(0, 2, 3)) * target.weight.square().sum(dim=(0, 2, 3))
    return energy.topk(count).indices.sort().values


def _shuffled_rows(channels: Tensor) -> Tensor:
    """Return the outputs of a convolution of which a pixel shuffle by 2 makes some channels."""
    return (4 * channels[:, None] + torch.arange(4)).flatten()


def _least_squares(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a 3x3 convolution with bias to inputs (n, c, h, w) and outputs (n, o, h, w)."""
    channels = inputs.shape[1]
    gram = torch.zeros(9 * channels + 1, 9 * channels + 1, dtype=torch.float64)
    moment = torch.zeros(9 * channels + 1, outputs.shape[1], dtype=torch.float64)
    for x, y in zip(inputs, outputs, strict=True):
        columns = nn.functional.unfold(x[None], 3, padding=1)[0].double()
        columns = torch.cat([columns, torch.ones_like(columns[:1])])
        gram += columns @ columns.T
        moment += columns @ y.flatten(1).T.double()
    gram.diagonal().add_(1e-6 * gram.diagonal().mean())
    solution = torch.linalg.solve(gram, moment).float()
    return solution[:-1].T.reshape(-1, channels, 3, 3), solution[-1]
