"""Hook: cool the policy that chooses bits per frame."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from vsrq.engine.calibration import quantized_model
from vsrq.errors import ConfigError
from vsrq.registry import HOOKS


@HOOKS.register_module()
class PolicyHook(Hook):
    """Lower the temperature of a policy's softmax geometrically over the training.

    The iteration alone decides, so a resumed run continues at the right temperature.

    Args:
        start: Temperature of the first iteration.
        end: Temperature towards the last one.

    Raises:
        ConfigError: A temperature is not above 0, or the model has no ``policy``.
    """

    def __init__(self, *, start: float = 5.0, end: float = 0.5) -> None:
        for name, value in (("start", start), ("end", end)):
            if not isinstance(value, (int, float)) or not value > 0:
                raise ConfigError(f"PolicyHook: {name} must be a temperature above 0, got {value!r}.")
        self.start = start
        self.end = end

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Set the temperature."""
        policy = quantized_model(runner.model, "PolicyHook").policy
        if policy is None:
            raise ConfigError("PolicyHook needs a model with policy=dict(...); set it or remove the hook.")
        policy.temperature = self.start * (self.end / self.start) ** (runner.iter / runner.max_iters)
