"""Hook: train only a part of the network during some iterations."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from vsrq.engine.unwrap import unwrap
from vsrq.errors import ConfigError, did_you_mean
from vsrq.registry import HOOKS


@HOOKS.register_module()
class FreezeHook(Hook):
    """Freeze parameters for ``iters`` iterations from ``begin`` on; train everything before and after.

    Replaces the step counters of mmagic's BasicVSR (``fix_iter``: SPyNet rests) and EDVR (``tsa_iter``: only
    the TSA fusion trains). The iteration is the runner's, so a resumed run is in the right phase.

    Args:
        iters: Number of iterations the freezing lasts; ``None`` for the rest of the training.
        freeze: Glob patterns over parameter names; what matches is frozen.
        train_only: Glob patterns over parameter names; everything else is frozen.
        begin: First iteration of the freezing; above 0 for what is to settle at the end, such as the steps of
            quantizers (``'*quantizer*.factor'``).

    Raises:
        ConfigError: Unless exactly one of ``freeze`` and ``train_only`` is given, ``iters`` is positive, ``begin`` is
            not negative and every pattern matches a parameter.
    """

    # Parameters must be (un)frozen before anything else looks at them in an iteration.
    priority = "VERY_HIGH"

    def __init__(
        self,
        *,
        iters: int | None,
        freeze: Sequence[str] | None = None,
        train_only: Sequence[str] | None = None,
        begin: int = 0,
    ) -> None:
        if bool(freeze) == bool(train_only):
            raise ConfigError(
                f"FreezeHook takes either freeze or train_only, got freeze={freeze!r}, train_only={train_only!r}."
            )
        if iters is not None and (not isinstance(iters, int) or iters < 1):
            raise ConfigError(f"FreezeHook: iters={iters!r}, allowed are integers from 1 on, and None.")
        if not isinstance(begin, int) or begin < 0:
            raise ConfigError(f"FreezeHook: begin={begin!r}, allowed are integers from 0 on.")
        patterns = freeze or train_only or ()
        self.patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        self.invert = bool(train_only)
        self.begin = begin
        self.end = float("inf") if iters is None else begin + iters
        self._frozen: dict[str, nn.Parameter] = {}

    def before_train(self, runner: Runner) -> None:
        """Check the patterns, and that distributed training tolerates parameters without gradient."""
        self._select(runner.model)
        if is_model_wrapper(runner.model) and not getattr(runner.model, "find_unused_parameters", True):
            raise ConfigError(
                "FreezeHook needs find_unused_parameters=True in the config for distributed training, because "
                "frozen parameters get no gradient."
            )

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Enter or leave the frozen phase."""
        frozen = self.begin <= runner.iter < self.end
        if frozen and not self._frozen:
            self._frozen = {n: p for n, p in self._select(runner.model).items() if p.requires_grad}
            for parameter in self._frozen.values():
                parameter.requires_grad_(False)
            runner.logger.info(f"{len(self._frozen)} parameters are frozen until iteration {self.end:g}.")
        elif not frozen and self._frozen:
            for parameter in self._frozen.values():
                parameter.requires_grad_(True)
            runner.logger.info(f"{len(self._frozen)} parameters train from iteration {runner.iter} on.")
            self._frozen = {}

    def _select(self, model: nn.Module) -> dict[str, nn.Parameter]:
        named = dict(unwrap(model).named_parameters())
        for pattern in self.patterns:
            if not any(fnmatchcase(name, pattern) for name in named):
                hint = did_you_mean(pattern.strip("*."), {part for name in named for part in name.split(".")})
                raise ConfigError(f"FreezeHook: the pattern {pattern!r} matches no parameter{hint or '.'}")
        return {
            name: parameter
            for name, parameter in named.items()
            if any(fnmatchcase(name, pattern) for pattern in self.patterns) != self.invert
        }
