"""Packing the weights of a quantized experiment."""

from __future__ import annotations

from pathlib import Path

from mmengine.registry import DefaultScope
from torch import Tensor

from vsrq.apis.config import expect_checkpoint, load_config, require_file
from vsrq.models import load_weights
from vsrq.quant.packing import pack_weights
from vsrq.registry import MODELS


def packed_state(config: str | Path, checkpoint: str | Path, *, trust: bool = False) -> dict[str, Tensor]:
    """Return the network of a checkpoint with its weights as codes, see :func:`vsrq.quant.packing.pack_weights`.

    Args:
        config: Path of the config file of a quantized experiment.
        checkpoint: Its checkpoint.
        trust: As for :func:`vsrq.models.load_weights`.

    Raises:
        ConfigError: The experiment is not quantized.
        CheckpointError: The checkpoint cannot be used.
    """
    require_file(checkpoint)
    loaded = load_config(config)
    expect_checkpoint(loaded)
    with DefaultScope.overwrite_default_scope("vsrq"):
        net = MODELS.build(loaded.model).generator
    load_weights(net, checkpoint, trust=trust)
    return pack_weights(net)
