"""Merging the low-rank changes of a fine-tuned network into its weights."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import torch
from mmengine.registry import DefaultScope

from vsrq.apis.config import expect_checkpoint, load_config, require_file
from vsrq.errors import ConfigError, OutputError
from vsrq.models import QuantizedVSR, load_weights
from vsrq.quant import merge_lora
from vsrq.registry import MODELS


def merge(config: str | Path, checkpoint: str | Path, out: str | Path, *, trust_checkpoint: bool = False) -> str:
    """Write the checkpoint of the network without LoRA; return a line that says what it is.

    Args:
        config: Config of the experiment, with ``lora=dict(...)`` or ``nf4=dict(...)``.
        checkpoint: Its weights.
        out: A ``.pth`` file; it appears when it is complete. On a uniform grid it belongs to the same config with
            ``model.lora=None``, from NF4 to the float config.
        trust_checkpoint: Allow a checkpoint that executes pickled code.

    Raises:
        ConfigError: The config has nothing to merge, or ``out`` ends otherwise.
        CheckpointError: The checkpoint is missing, broken, untrusted or does not fit.
        OutputError: ``out`` cannot be written.
    """
    path = Path(out)
    if path.suffix != ".pth":
        raise ConfigError(f"the merged network is saved as .pth, got {str(out)!r}.")
    require_file(checkpoint)
    loaded = load_config(config)
    expect_checkpoint(loaded)
    with DefaultScope.overwrite_default_scope("vsrq"):
        model = MODELS.build(loaded.model)
    if not isinstance(model, QuantizedVSR):
        raise ConfigError(f"{config} is no quantized experiment; it has nothing to merge.")
    load_weights(model.generator, checkpoint, trust=trust_checkpoint)
    kinds = Counter(merge_lora(model.generator).values())
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"state_dict": {f"generator.{k}": v for k, v in model.generator.state_dict().items()}}, unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written ({error.strerror or error}).") from error
    use = "the same config with model.lora=None" if kinds["quantized"] else "the float config of the architecture"
    layers = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{path}: {layers} layers; load it with {use}."
