"""Hook: checkpoints that hold tensors and plain values only."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from vsrq.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Store the log histories of MMEngine's message hub as tensors, and restore them on loading.

    MMEngine pickles its ``HistoryBuffer`` objects together with their methods, which
    ``torch.load(weights_only=True)`` rightly refuses. Checkpoints without this conversion pass unchanged.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace each history by its values, counts and maximum length."""
        scalars = checkpoint["message_hub"]["log_scalars"]
        for name, history in scalars.items():
            values, counts = history.data
            scalars[name] = {
                "values": torch.from_numpy(values.copy()),
                "counts": torch.from_numpy(counts.copy()),
                "max_length": history.max_length,
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Build the histories the Runner expects."""
        scalars = checkpoint.get("message_hub", {}).get("log_scalars", {})
        for name, saved in scalars.items():
            if isinstance(saved, Mapping):
                values, counts = (saved[key].cpu().numpy() for key in ("values", "counts"))
                scalars[name] = HistoryBuffer(values.tolist(), counts.tolist(), saved["max_length"])
