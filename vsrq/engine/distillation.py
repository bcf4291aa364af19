"""Hook: tell a student's distillation how far the training has come."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from vsrq.engine.calibration import quantized_model
from vsrq.errors import ConfigError
from vsrq.registry import HOOKS


@HOOKS.register_module()
class DistillationHook(Hook):
    """Set the progress that schedules of distillation losses follow; the iteration alone decides, also on a resume.

    Raises:
        ConfigError: The model has no ``distill``.
    """

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Set the progress."""
        distiller = quantized_model(runner.model, "DistillationHook").distiller
        if distiller is None:
            raise ConfigError("DistillationHook needs model.distill; set it or remove the hook.")
        distiller.progress = runner.iter / runner.max_iters
