"""Hook: end a training whose loss is no number."""

from __future__ import annotations

import math
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor

from vsrq.errors import TrainingError
from vsrq.registry import HOOKS


@HOOKS.register_module()
class StopAtNaNHook(Hook):
    """Raise at the first iteration whose loss is NaN or infinite, before a checkpoint can be written.

    Raises:
        TrainingError: Naming the iteration, the loss and the last good checkpoint.
    """

    # before the checkpoint hook, whose file would hold the damage
    priority = "VERY_HIGH"

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at the losses of this iteration."""
        for name, value in (outputs or {}).items():
            value = float(value.detach()) if isinstance(value, Tensor) else float(value)
            if not math.isfinite(value):
                last = find_latest_checkpoint(runner.work_dir)
                rest = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
                raise TrainingError(
                    f"{name} is {value} at iteration {runner.iter + 1}; {rest}. Lower the learning rate, clip "
                    "the gradients (optim_wrapper.clip_grad) or train in float32, then continue with --resume."
                )
