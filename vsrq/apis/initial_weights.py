"""Making the weights a training starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.registry import DefaultScope
from mmengine.runner import set_random_seed
from torch import Tensor

from vsrq.apis import config as settings
from vsrq.engine import rng
from vsrq.errors import ConfigError
from vsrq.models import BasicVSRNet, BasicVSRPlusPlusNet, EDVRNet, load_weights, read_state_dict, save_weights
from vsrq.models.warm_start import fit_readout, fused_features, inflate_windows
from vsrq.models.warm_start import warm_start as start_from
from vsrq.registry import DATASETS, MODELS


def warm_start(config: str | Path, teacher: str | Path, out: str | Path, *, clips: int = 24, seed: int = 0) -> None:
    """Write the initial weights of the network of a config, taken from official BasicVSR as far as they fit.

    Args:
        config: Path of a config file; its ``train_dataloader`` supplies the clips the teacher is looked at on.
        teacher: Weights of BasicVSR with 64 channels and 30 blocks.
        out: The ``.safetensors`` file to write.
        clips: How many clips.
        seed: Decides the clips and what the networks do not share.

    Raises:
        ConfigError: The config's network is neither BasicVSR++ nor EDVR, or has no training data.
        CheckpointError: The teacher's weights cannot be used, or ``out`` cannot be written.
    """
    cfg = settings.load_config(config)
    if not cfg.get("train_dataloader"):
        raise ConfigError(f"{str(config)!r} has no train_dataloader; clips are needed to find the principal features")
    set_random_seed(seed)
    with DefaultScope.overwrite_default_scope("vsrq"):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        net = MODELS.build(cfg.model.generator)
    if not isinstance(net, (BasicVSRPlusPlusNet, EDVRNet)):
        raise ConfigError(f"no warm start for {type(net).__name__}; allowed are BasicVSRPlusPlusNet and EDVRNet")
    official = BasicVSRNet().eval()
    load_weights(official, teacher)
    frames, features = [], []
    for position in range(clips):
        with rng.seeded(seed, position):
            clip = _clip(dataset, position * len(dataset) // clips)
        frames.append(clip[0, ::2])
        features.append(fused_features(official, clip)[::2])
    start_from(net, official, torch.cat(features))
    if isinstance(net, EDVRNet):
        fit_readout(net, official, torch.cat(frames), torch.cat(features))
    save_weights(net.state_dict(), out, dtype=torch.float32)


def inflate(config: str | Path, checkpoint: str | Path, out: str | Path) -> None:
    """Write the initial weights of an EDVR from those of the same network trained on single frames.

    Args:
        config: Path of the config of the network of a window.
        checkpoint: Weights of the network with ``num_frames=1``, in any layout vsrq reads.
        out: The ``.safetensors`` file to write.

    Raises:
        ConfigError: The config's network is no EDVR, or differs in more than the number of frames.
        CheckpointError: The weights cannot be read, or ``out`` cannot be written.
    """
    cfg = settings.load_config(config)
    with DefaultScope.overwrite_default_scope("vsrq"):
        net = MODELS.build(cfg.model.generator)
    if not isinstance(net, EDVRNet):
        raise ConfigError(f"only EDVRNet sees windows, {str(config)!r} has a {type(net).__name__}")
    save_weights(inflate_windows(read_state_dict(checkpoint), net), out, dtype=torch.float32)


def _clip(dataset: torch.utils.data.Dataset, index: int) -> Tensor:
    return dataset[index]["inputs"][None].float() / 255
