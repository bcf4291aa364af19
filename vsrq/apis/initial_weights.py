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
from vsrq.models import BasicVSRNet, BasicVSRPlusPlusNet, EDVRNet, load_weights, save_weights
from vsrq.models.warm_start import fused_features
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
    features = []
    for position in range(clips):
        with rng.seeded(seed, position):
            features.append(fused_features(official, _clip(dataset, position * len(dataset) // clips))[::2])
    start_from(net, official, torch.cat(features))
    save_weights(net.state_dict(), out, dtype=torch.float32)


def _clip(dataset: torch.utils.data.Dataset, index: int) -> Tensor:
    return dataset[index]["inputs"][None].float() / 255
