"""Hook: a learning-rate schedule changed in the config also changes when a run is resumed."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from vsrq.errors import ConfigError
from vsrq.registry import HOOKS

# What a scheduler has reached; everything else in its state comes from the config.
_PROGRESS = {"last_step", "_global_step", "_last_value", "verbose"}


@HOOKS.register_module()
class ScheduleGuardHook(Hook):
    """Keep the learning rate alive when a run is resumed with other ``max_iters``.

    MMEngine restores a scheduler's whole state, its ``end`` and periods included, so that with larger
    ``max_iters`` the rate silently stays at its last value. Where config and checkpoint disagree this hook
    lets the config win, sets the rate to what the new schedule has at the resumed iteration, and says so.
    Where they agree nothing is touched.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Rewrite the schedulers' part of the checkpoint before MMEngine reads it."""
        saved, fresh = checkpoint.get("param_schedulers"), runner.param_schedulers
        if not runner._resume or not isinstance(saved, list) or not isinstance(fresh, list):
            return
        if len(saved) != len(fresh):
            raise ConfigError(
                f"the checkpoint has {len(saved)} parameter scheduler(s), the config {len(fresh)}: such a run cannot "
                "be resumed. Start a new one from its weights with load_from."
            )
        changes = [_changes(old, new) for old, new in zip(saved, fresh, strict=True)]
        if not any(changes):
            return
        steps = saved[0]["_global_step"]
        replayed, groups = _replay(fresh, steps)
        checkpoint["param_schedulers"] = replayed
        optimizer = checkpoint["optimizer"]
        # With several groups MMEngine schedules one more, which only serves to log the base rate.
        base = optimizer.get("base_param_settings")
        for target, source in zip([*optimizer["param_groups"], *([base] if base else [])], groups, strict=True):
            target.update(source)
        for scheduler, changed in zip(fresh, changes, strict=True):
            if changed:
                listed = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in changed.items())
                runner.logger.warning(
                    f"{type(scheduler).__name__} differs from the checkpoint's ({listed}). The config's is used: "
                    f"{scheduler.param_name} continues at {groups[-1][scheduler.param_name]:.4g} (step {steps})."
                )

    def before_train(self, runner: Runner) -> None:
        """Warn where a schedule ends before the training does."""
        schedulers = runner.param_schedulers
        for scheduler in schedulers if isinstance(schedulers, list) else []:
            if scheduler.by_epoch:
                continue
            end = min([scheduler.end, *getattr(scheduler, "cumulative_periods", [])[-1:]])
            if end < runner.max_iters and scheduler is schedulers[-1]:
                runner.logger.warning(
                    f"{type(scheduler).__name__} ends at iteration {end}, training at {runner.max_iters}: "
                    f"{scheduler.param_name} stays at its last value in between. Extend param_scheduler to match."
                )


def _changes(saved: dict[str, Any], fresh: Any) -> dict[str, tuple[Any, Any]]:
    wanted = {key: value for key, value in fresh.state_dict().items() if key not in _PROGRESS}
    return {
        key: (_short(saved.get(key)), _short(value))
        for key, value in wanted.items()
        if _plain(saved.get(key)) != _plain(value)
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _short(value: Any) -> Any:
    # One base value per parameter group, and one group per parameter: name the distinct ones.
    return sorted(set(value)) if isinstance(value, list | tuple) else value


def _replay(schedulers: list, steps: int) -> tuple[list[dict], list[dict]]:
    """Step freshly built schedulers ``steps`` times; return their states and the scheduled values per group.

    Most of MMEngine's schedules are recursive, so there is no shortcut. Groups with equal settings share
    one stand-in: with one group per parameter the replay would otherwise take minutes.
    """
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        for group in schedulers[0].optimizer.param_groups
    ]
    slots: dict[str, int] = {}
    slot_of = [slots.setdefault(repr(sorted(group.items(), key=str)), len(slots)) for group in groups]
    first = [slot_of.index(slot) for slot in range(len(slots))]
    stand_in = SimpleNamespace(
        param_groups=[dict(groups[i]) for i in first], step=schedulers[0].optimizer.step, _global_step=0
    )
    clones = []
    for scheduler in schedulers:
        clone = copy.copy(scheduler)
        clone.optimizer = stand_in
        clone.base_values = [scheduler.base_values[i] for i in first]
        clones.append(clone)
    for _ in range(steps):
        for clone in clones:
            clone.step()
    states = []
    for clone in clones:
        state = clone.state_dict()
        for key in ("base_values", "_last_value"):
            state[key] = [state[key][slot] for slot in slot_of]
        states.append(state)
    names = {name for s in schedulers for name in (s.param_name, f"initial_{s.param_name}")}
    return states, [{name: stand_in.param_groups[slot][name] for name in names} for slot in slot_of]
