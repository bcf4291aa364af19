"""Hook: the second stage of depth-dynamic training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from vsrq.engine.calibration import quantized_model
from vsrq.errors import ConfigError
from vsrq.models.depth import STANDARD_DEPTHS, DynamicDepth
from vsrq.registry import HOOKS


@HOOKS.register_module()
class DepthHook(Hook):
    """Train all blocks first; then rank them by their shortcuts and train several depths jointly, weights shared.

    The iteration alone decides and the ranks are part of checkpoints, so a resumed run is in the right stage.

    Args:
        begin: First iteration of the joint training; 0 for a network whose first stage was another training.
        depths: Names of the depths, of which each iteration trains all.

    Raises:
        ConfigError: A value is wrong, the model has no ``depth`` or not these depths.
    """

    # the depths must be set before anything else looks at an iteration
    priority = "VERY_HIGH"

    def __init__(self, *, begin: int, depths: Sequence[str] = tuple(STANDARD_DEPTHS)) -> None:
        if not isinstance(begin, int) or begin < 0:
            raise ConfigError(f"DepthHook: begin={begin!r}, allowed are integers from 0 on.")
        if isinstance(depths, str) or not depths or len(set(depths)) < len(depths):
            raise ConfigError(f"DepthHook: depths must be a list of different names, got {depths!r}.")
        self.begin = begin
        self.depths = tuple(depths)

    def before_train(self, runner: Runner) -> None:
        """Check the names."""
        _depth_of(runner).check(self.depths)

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Enter the joint training when it is due."""
        depth = _depth_of(runner)
        depth.trained = self.depths if runner.iter >= self.begin else ()
        if runner.iter != self.begin:
            return
        depth.rank()
        runner.logger.info(f"Training {len(self.depths)} depths jointly: {', '.join(self.depths)}.")
        for name in self.depths:
            kept = "; ".join(f"{trunk}: {blocks}" for trunk, blocks in depth.kept(name).items())
            runner.logger.info(f"Blocks at depth {name}: {kept}")

    def after_train(self, runner: Runner) -> None:
        """Leave the joint training."""
        _depth_of(runner).trained = ()


def _depth_of(runner: Runner) -> DynamicDepth:
    depth = quantized_model(runner.model, "DepthHook").depth
    if depth is None:
        raise ConfigError("DepthHook needs a model with depth=dict(...); set it or remove the hook.")
    return depth
