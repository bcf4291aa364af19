"""Hook: what MMEngine's checkpoints lack for a bit-exact resume."""

from __future__ import annotations

from typing import Any

from mmengine.dist import all_gather_object, get_dist_info
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from vsrq.engine import rng
from vsrq.registry import HOOKS

KEY = "vsrq_resume"


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Save the random state of every process and the data position; hand them to the loop on resume.

    MMEngine restores parameters, optimizer, schedulers and iteration. This hook adds the rest, under the
    key ``vsrq_resume`` of the checkpoint. The loop must be vsrq's ``IterBasedTrainLoop``.
    """

    def __init__(self) -> None:
        self._random: list[dict[str, Any]] | None = None
        self._loaded: dict[str, Any] | None = None

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Gather the random states of all processes where a checkpoint may follow."""
        # Saving happens on the first process only, too late to ask the others; and a best checkpoint is
        # written during validation, which must not leave its traces in the state.
        self._random = all_gather_object(rng.capture()) if _may_save(runner) else None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the random states and the data position."""
        if hasattr(runner.train_loop, "data_state"):
            random = self._random if self._random is not None else [rng.capture()]
            checkpoint[KEY] = {"random": random, "data": runner.train_loop.data_state()}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember what was saved until it is known whether this is a resume."""
        self._loaded = checkpoint.get(KEY)

    def before_train(self, runner: Runner) -> None:
        """On resume, hand data position and this process's random state to the loop."""
        if runner.iter == 0 or not hasattr(runner.train_loop, "resume_from"):
            return
        if self._loaded is None:
            runner.logger.warning(
                "The checkpoint has no random state (it was not written by vsrq): training continues, but not "
                "exactly as it would have without the interruption."
            )
            return
        rank, world_size = get_dist_info()
        states = self._loaded["random"]
        if len(states) != world_size:
            runner.logger.warning(
                f"The checkpoint was written by {len(states)} process(es), now there are {world_size}: training "
                "continues at the same sample, but not bit for bit."
            )
        runner.train_loop.resume_from(self._loaded["data"], states[rank % len(states)])


def _may_save(runner: Runner) -> bool:
    step = runner.iter + 1
    intervals = [h.interval for h in runner.hooks if isinstance(h, CheckpointHook) and not h.by_epoch]
    if runner.val_loop is not None:
        intervals.append(runner.val_interval)
    return step == runner.max_iters or any(i > 0 and step % i == 0 for i in intervals)
