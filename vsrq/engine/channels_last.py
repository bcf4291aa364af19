"""Hook: keep convolution weights in the memory layout in which they run fastest on CPUs."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from vsrq.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lay out four-dimensional parameters as ``torch.channels_last`` before training, validation and testing.

    Convolutions take over the layout of their weights. Values do not change, and checkpoints hold the same numbers.
    """

    def before_run(self, runner: Runner) -> None:
        """Convert the model."""
        runner.model.to(memory_format=torch.channels_last)
