"""Packing the weights of a quantized experiment."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vsrq.apis.config import load_config
from vsrq.apis.exporting import build_model
from vsrq.quant.packing import pack_weights


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
    return pack_weights(build_model(load_config(config), checkpoint, trust_checkpoint=trust).generator)
